//! Pushes into the registry inside and pulls out of it with the tools that people have: podman and docker.

#![allow(clippy::unwrap_used, reason = "a test")]

use lab::{Lab, Output, Root, Typed, eventually};
use std::{fs, path::PathBuf, process::Command, time::Duration};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(60);
/// Where it is on the manager.
const HERE: &str = "127.0.0.1:7445";

/// A cluster, a token that may push and an archive to push.
struct Bed {
    lab: Lab,
    token: String,
    archive: String,
}

impl Bed {
    fn up() -> Self {
        let lab = Lab::up(2);
        let token = lab.ok(&["token", "create", "--registry", "--push"]).text().to_owned();
        let archive = lab.files().join("tiny.tar");
        Root::tiny().file("marker", "pushed\n").write(&archive);
        let archive = archive.display().to_string();
        Self { lab, token, archive }
    }

    /// A directory of the tool's own.
    fn folder(&self, name: &str) -> String {
        let folder = self.lab.files().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder.display().to_string()
    }

    /// What was pushed runs on the server that has no registry.
    fn runs(&self, image: &str) {
        let out = self.lab.ok(&["run", "--rm", "--server", "s2", image, "--", "/bin/cat", "/marker"]);
        assert_eq!(out.stdout, "pushed\n", "{out}");
    }
}

#[test]
fn podman_pushes_and_pulls() {
    let bed = Bed::up();
    let folders = ["root", "run"].map(|name| bed.folder(&format!("podman-{name}")));
    let podman = |args: &[&str]| {
        let own = ["podman", "--root", &folders[0], "--runroot", &folders[1], "--storage-driver", "vfs"];
        bed.lab.inside("s1", &[&own, args].concat()).limit(SOON)
    };
    let creds = format!("token:{}", bed.token);
    let remote = format!("{HERE}/people/podman:1");
    podman(&["import", &bed.archive, "localhost/tiny:1"]).run().must(0);
    let push = |creds: &str| podman(&["push", "--quiet", "--tls-verify=false", "--creds", creds, "localhost/tiny:1", &remote]);
    let refused = push("token:wrong").run();
    assert!(refused.code != 0 && refused.stderr.contains("unauthorized"), "{refused}");
    assert!(bed.lab.ok(&["image", "list", "-q"]).stdout.is_empty());
    push(&creds).run().must(0);
    bed.runs("people/podman:1");

    let own = podman(&["image", "inspect", "--format", "{{.Id}}", "localhost/tiny:1"]).run().must(0);
    podman(&["rmi", "localhost/tiny:1"]).run().must(0);
    let pulled = podman(&["pull", "--quiet", "--tls-verify=false", "--creds", &creds, &remote]).run().must(0);
    assert_eq!(pulled.text(), own.text());
}

/// dockerd in the namespaces of a server, where it goes with all that it started when the server is taken down.
struct Docker<'a> {
    bed: &'a Bed,
    socket: String,
    config: String,
    _daemon: lab::Background,
}

impl<'a> Docker<'a> {
    fn up(bed: &'a Bed) -> Self {
        let [data, exec, config] = ["data", "exec", "config"].map(|name| bed.folder(&format!("docker-{name}")));
        let socket = format!("unix://{exec}/docker.sock");
        let argv =
            ["dockerd", "--host", &socket, "--data-root", &data, "--exec-root", &exec, "--iptables=false", "--bridge=none"];
        let pid = format!("{exec}/docker.pid");
        // It also writes where no option leads: there it sees directories of its own, and leaves nothing.
        let hidden = "mount -t tmpfs none /opt && mount -t tmpfs none /etc/docker && exec \"$@\"";
        let apart = ["unshare", "--mount", "--", "sh", "-c", hidden, "sh"];
        let daemon = bed.lab.inside("s1", &[&apart[..], &argv, &["--pidfile", &pid, "--log-level", "error"]].concat()).start();
        let docker = Self { bed, socket, config, _daemon: daemon };
        eventually(SOON, "dockerd", || docker.typed(&["version"]).run().code == 0);
        docker
    }

    fn typed(&self, args: &[&str]) -> Typed {
        let own = ["docker", "--host", &self.socket, "--config", &self.config];
        self.bed.lab.inside("s1", &[&own, args].concat()).limit(SOON)
    }

    fn ok(&self, args: &[&str]) -> Output {
        self.typed(args).run().must(0)
    }
}

/// Docker is a daemon that runs from then on where it is installed, so the tests do not install it: who has it, tries it.
#[test]
fn docker_pushes_and_pulls() {
    let mut look = Command::new("dockerd");
    look.arg("--version").stdout(std::process::Stdio::null());
    if look.status().is_err() {
        return eprintln!("not tried, for docker is not installed: apt-get install docker.io");
    }
    let bed = Bed::up();
    let docker = Docker::up(&bed);
    let remote = format!("{HERE}/people/docker:1");
    docker.ok(&["import", &bed.archive, &remote]);
    let refused = docker.typed(&["push", "--quiet", &remote]).run();
    assert!(refused.code != 0 && refused.stderr.contains("no basic auth credentials"), "{refused}");
    assert!(bed.lab.ok(&["image", "list", "-q"]).stdout.is_empty());
    let login = docker.typed(&["login", "--username", "token", "--password-stdin", HERE]).stdin(bed.token.clone());
    login.run().must(0);
    docker.ok(&["push", "--quiet", &remote]);
    bed.runs("people/docker:1");

    let own = docker.ok(&["image", "inspect", "--format", "{{.Id}}", &remote]);
    docker.ok(&["rmi", &remote]);
    docker.ok(&["pull", "--quiet", &remote]);
    let pulled = docker.ok(&["image", "inspect", "--format", "{{.Id}}", &remote]);
    assert_eq!(pulled.text(), own.text());
    assert!(PathBuf::from(&docker.config).join("config.json").exists());
}
