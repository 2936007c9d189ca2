//! `roost build`: Dockerfiles and recipes become images that run, step by step and from a cache; what fails leaves nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use lab::{Lab, OUTSIDE, Output, Root, Typed, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// A folder to build in.
struct Folder(PathBuf);

impl Folder {
    fn new(lab: &Lab, name: &str) -> Self {
        let path = lab.files().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// `roost build` of it.
    #[track_caller]
    fn build(&self, lab: &Lab, words: &[&str]) -> Output {
        lab.ok(&[&["build", &self.path()], words].concat())
    }

    /// The same, which must be refused.
    #[track_caller]
    fn refused(&self, lab: &Lab, words: &[&str], code: i32) -> Output {
        lab.refused(&[&["build", &self.path()], words].concat(), code)
    }
}

/// What a program prints in a container of an image.
#[track_caller]
fn says(lab: &Lab, image: &str, words: &[&str]) -> String {
    lab.ok(&[&["run", "--rm", image, "--"], words].concat()).stdout
}

/// The files and the configuration of an image, as others see them.
struct Unpacked {
    folder: PathBuf,
    layers: Vec<PathBuf>,
    config: Value,
}

impl Unpacked {
    fn of(lab: &Lab, image: &str) -> Self {
        let (archive, folder) = (lab.files().join(format!("{image}.tar")), lab.files().join(format!("{image}-layout")));
        lab.ok(&["image", "export", image, &archive.display().to_string()]);
        fs::create_dir(&folder).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["-xf", &archive.display().to_string(), "-C", &folder.display().to_string()]);
        Typed::new(tar).run().must(0);
        let json = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
        let blob = |digest: &Value| folder.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
        let manifest = json(&blob(&json(&folder.join("index.json"))["manifests"][0]["digest"]));
        let config = json(&blob(&manifest["config"]["digest"]));
        let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| blob(&layer["digest"])).collect();
        Self { layers, config, folder }
    }

    /// Names in a layer.
    fn names(&self, index: usize) -> Vec<String> {
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "-tf", &self.layers[index].display().to_string()]);
        Typed::new(tar).run().must(0).stdout.lines().map(str::to_owned).collect()
    }

    /// Whether any file of it has these bytes in it.
    fn holds(&self, text: &str) -> bool {
        self.layers.iter().any(|layer| {
            let mut zstd = Command::new("zstd");
            zstd.args(["-dcq", &layer.display().to_string()]);
            Typed::new(zstd).run().must(0).stdout.contains(text)
        }) || self.config.to_string().contains(text)
            || !self.folder.is_dir()
    }
}

#[test]
fn a_dockerfile_becomes_an_image_that_runs() {
    let lab = Lab::with_tiny(1);
    let folder = Folder::new(&lab, "site").file("page", "hello\n").file("sub/deep", "deep\n").file(
        "Dockerfile",
        "# a comment\nARG BASE=tiny\nFROM ${BASE}\nARG GREETING=hi\nENV WORD=$GREETING PATH=/bin\nWORKDIR /srv/app\n\
         COPY page sub/ ./\nRUN echo \"$WORD from $(pwd)\" > said && test -f deep && test -f page\nRUN <<EOF\n\
         echo one > lines\necho two >> lines\nEOF\nCOPY <<-'TEXT' /etc/motd\n\twelcome $nobody\n\tTEXT\n\
         LABEL a=b\nEXPOSE 80/tcp\nVOLUME /data\nUSER user\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s CMD true\n\
         SHELL [\"/bin/sh\", \"-c\"]\nONBUILD RUN echo triggered > /triggered\nENTRYPOINT [\"/bin/cat\"]\nCMD [\"said\"]\n",
    );
    let out = folder.build(&lab, &["-t", "site", "--build-arg", "GREETING=hello"]);
    assert!(out.stderr.contains("RUN echo") && out.stderr.contains("site:latest@sha256:"), "{out}");
    assert_eq!(lab.ok(&["run", "--rm", "site"]).stdout, "hello from /srv/app\n");
    let image = Unpacked::of(&lab, "site");
    let config = &image.config["config"];
    assert_eq!(config["Env"], serde_json::json!(["PATH=/bin", "WORD=hello"]), "{config}");
    assert_eq!((&config["User"], &config["WorkingDir"]), (&"user".into(), &"/srv/app".into()));
    assert_eq!((&config["StopSignal"], &config["Labels"]["a"]), (&"SIGINT".into(), &"b".into()));
    assert!(config["ExposedPorts"]["80/tcp"].is_object() && config["Volumes"]["/data"].is_object());
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD-SHELL", "true"]));
    assert_eq!(config["OnBuild"], serde_json::json!(["RUN echo triggered > /triggered"]));
    assert_eq!(config["Shell"], serde_json::json!(["/bin/sh", "-c"]));
    let history = image.config["history"].as_array().unwrap();
    assert_eq!(history.iter().filter(|line| line["empty_layer"] != Value::Bool(true)).count(), image.layers.len());
    // A command's own mounts leave nothing in its layer.
    assert_eq!(image.names(3), ["srv/", "srv/app/", "srv/app/said"]);
    assert_eq!(says(&lab, "site", &["/srv/app/lines", "/etc/motd"]), "one\ntwo\nwelcome $nobody\n");
    // Who builds on it gets what it says to be done.
    let upon = Folder::new(&lab, "upon").file("Dockerfile", "FROM site\nUSER root\nRUN cat /triggered > /again\n");
    let out = upon.refused(&lab, &[], 1);
    assert!(out.stderr.contains("Permission denied") || out.stderr.contains("can't create"), "the trigger runs as user\n{out}");
}

#[test]
fn a_step_that_was_done_is_not_done_again() {
    let lab = Lab::with_tiny(1);
    let folder = Folder::new(&lab, "cached").file("a", "1").file(
        "Dockerfile",
        "FROM tiny AS one\nRUN cat /proc/sys/kernel/random/uuid > /one\nFROM tiny\nCOPY a /a\n\
         RUN cat /proc/sys/kernel/random/uuid > /two\nCOPY --from=one /one /one\nENV A=b\nCMD [\"/bin/cat\", \"/one\", \"/two\"]\n",
    );
    folder.build(&lab, &[]);
    let (first, digest) = (lab.ok(&["run", "--rm", "cached"]).stdout, lab.json(&["image", "show", "cached"]));
    let began = base::env::instant();
    let out = folder.build(&lab, &[]);
    let took = began.elapsed();
    assert_eq!(out.stderr.matches("(cached)").count(), 4, "{out}");
    assert!(took < Duration::from_secs(1), "a build without change took {took:?}");
    assert_eq!(lab.json(&["image", "show", "cached"])["digest"], digest["digest"], "the same image");
    // Touched is not changed; what follows a change is done again, what does not depend on it is not.
    fs::File::options().write(true).open(folder.0.join("a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(folder.build(&lab, &[]).stderr.matches("(cached)").count(), 4);
    let folder = folder.file("a", "2");
    folder.build(&lab, &[]);
    let second = lab.ok(&["run", "--rm", "cached"]).stdout;
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&first)[0], lines(&second)[0]);
    assert_ne!(lines(&first)[1], lines(&second)[1]);
    let out = folder.build(&lab, &["--no-cache"]);
    assert!(!out.stderr.contains("(cached)"), "{out}");
    assert_ne!(lines(&second)[0], lines(&lab.ok(&["run", "--rm", "cached"]).stdout)[0]);
    // The cache knows images that are gone by now: then it is done again, and works.
    lab.ok(&["image", "delete", "cached"]);
    lab.ok(&["image", "prune"]);
    let out = folder.build(&lab, &[]);
    assert!(!out.stderr.contains("(cached)"), "{out}");
}

#[test]
fn files_are_copied_as_docker_copies_them() {
    let lab = Lab::with_tiny(1);
    let folder = Folder::new(&lab, "copies");
    let folder = folder.file("a.txt", "a").file("b.txt", "b").file("b.log", "l").file("dir/x", "x").file("dir/sub/y", "y");
    let folder = folder.file(".dockerignore", "*.log\nsecret\n").file("secret/key", "k");
    fs::set_permissions(folder.0.join("a.txt"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("/etc/passwd", folder.0.join("dir/link")).unwrap();
    fs::hard_link(folder.0.join("dir/x"), folder.0.join("dir/same")).unwrap();
    fs::File::create(folder.0.join("sparse")).unwrap().set_len(50 << 20).unwrap();
    Root::empty().file("in/archive", "tar").link("in/out", "/etc").write(&folder.0.join("files.tar"));
    let folder = folder.file(
        "Dockerfile",
        "FROM tiny AS made\nRUN mkdir /m && echo made > /m/file && chown 1000:1000 /m/file && ln -s / /m/up\n\
         FROM tiny\nRUN ln -s /srv /to && mkdir /d\nCOPY *.txt /all/\nCOPY a.txt /one\nCOPY a.txt /d\nCOPY dir /new\n\
         COPY --chown=user:root --chmod=u=rw,go=r b.txt /to/owned\nCOPY --from=made /m /copied\nCOPY sparse /\n\
         ADD files.tar /unpacked/\nCOPY files.tar /packed.tar\nADD --chown=7:8 files.tar /owned\nCOPY --link b.txt /tmp/linked\n\
         COPY --from=made /m/up/etc/passwd /through\nCOPY --exclude=sub dir /without\nCOPY --parents dir/sub/y /kept/\n",
    );
    folder.build(&lab, &[]);
    let stat = |path: &str| says(&lab, "copies", &["/bin/busybox", "stat", "-c", "%a %u:%g %F %s", path]);
    for (path, wanted) in [
        ("/all/a.txt", "4755 0:0 regular file 1"),
        ("/one", "4755 0:0 regular file 1"),
        ("/d/a.txt", "4755 0:0 regular file 1"),
        ("/new/sub/y", "644 0:0 regular file 1"),
        ("/srv/owned", "644 1000:0 regular file 1"),
        ("/copied/file", "644 1000:1000 regular file 5"),
        ("/unpacked/in/archive", "644 0:0 regular file 3"),
        ("/owned/in/archive", "644 7:8 regular file 3"),
        ("/without/x", "644 0:0 regular file 1"),
        ("/kept/dir/sub/y", "644 0:0 regular file 1"),
        ("/tmp/linked", "644 0:0 regular file 1"),
        ("/tmp", "1777 0:0 directory"),
    ] {
        let said = stat(path);
        let said = said.trim();
        // A directory's size is the file system's business.
        let said = if said.contains("directory") { said.rsplit_once(' ').unwrap().0 } else { said };
        assert_eq!(said, wanted, "{path}");
    }
    let links =
        says(&lab, "copies", &["/bin/sh", "-c", "for f in /new/link /copied/up /unpacked/in/out; do busybox readlink $f; done"]);
    assert_eq!(links, "/etc/passwd\n/\n/etc\n");
    let inodes = says(&lab, "copies", &["/bin/busybox", "stat", "-c", "%h", "/new/x"]);
    assert_eq!(inodes.trim(), "2", "hard links stay");
    let absent = says(&lab, "copies", &["/bin/sh", "-c", "ls /all /without; test ! -e /secret; test -f /packed.tar"]);
    assert!(!absent.contains("log") && !absent.contains("sub"), "{absent}");
    let sizes = says(&lab, "copies", &["/bin/busybox", "du", "-k", "/sparse"]);
    assert!(sizes.split_whitespace().next().unwrap().parse::<u32>().unwrap() < 1024, "holes stay holes: {sizes}");
    assert_eq!(says(&lab, "copies", &["/bin/busybox", "head", "-n", "1", "/through"]), "root:x:0:0::/:/bin/sh\n");
}

#[test]
fn mounts_are_there_while_a_command_runs_and_secrets_nowhere_else() {
    let lab = Lab::with_tiny(1);
    let secret = "correct horse battery staple";
    let folder = Folder::new(&lab, "mounts").file("in/file", "context").file(
        "Dockerfile",
        "FROM tiny AS other\nRUN echo other > /from-other\nFROM tiny\n\
         RUN --mount=type=secret,id=key --mount=type=secret,id=key,env=WORD test \"$(cat /run/secrets/key)\" = \"$WORD\" && \
         wc -c < /run/secrets/key > /length && echo seen\n\
         RUN --mount=type=cache,target=/cache echo x >> /cache/lines && wc -l < /cache/lines > /count\n\
         RUN --mount=type=bind,source=in,target=/in --mount=from=other,target=/o,rw cat /in/file /o/from-other > /bound && \
         echo y > /o/thrown && ! touch /in/no\n\
         RUN --mount=type=tmpfs,target=/t,size=1m touch /t/x && grep ' /t ' /proc/mounts > /tmpfs\n\
         RUN --network=none ip link > /links\n",
    );
    fs::write(lab.files().join("key"), secret).unwrap();
    let argument = format!("id=key,src={}", lab.files().join("key").display());
    let out = folder.refused(&lab, &[], 1);
    assert!(!out.stderr.contains("horse"), "{out}");
    let out = folder.build(&lab, &["--secret", &argument]);
    assert!(!out.stderr.contains("horse") && out.stderr.contains("| seen"), "{out}");
    let read = |path: &str| says(&lab, "mounts", &["/bin/cat", path]);
    assert_eq!((read("/length").trim(), read("/count").trim(), read("/bound").as_str()), ("28", "1", "contextother\n"));
    assert!(read("/tmpfs").contains("tmpfs") && !read("/links").contains("eth0"));
    folder.build(&lab, &["--secret", &argument, "--no-cache"]);
    assert_eq!(read("/count").trim(), "2", "the cache outlives a build");
    let image = Unpacked::of(&lab, "mounts");
    assert!(!image.holds("horse"), "a secret is in the image");
    let all: Vec<String> = (0..image.layers.len()).flat_map(|index| image.names(index)).collect();
    for mounted in ["run/", "cache/", "in/", "o/", "t/"] {
        assert!(!all.iter().any(|name| name == mounted), "{mounted} is in a layer: {all:?}");
    }
    let kept = lab.server_dir("s1");
    let mut grep = Command::new("grep");
    grep.args(["-rlF", secret, &kept.display().to_string()]);
    assert_eq!(Typed::new(grep).run().stdout, "", "a secret was left on the server");
}

#[test]
fn what_fails_says_why_and_leaves_nothing() {
    let lab = Lab::with_tiny(1);
    let before = lab.traces("s1");
    let images = || lab.ok(&["image", "list", "-q"]).stdout;
    let there = images();
    let folder = Folder::new(&lab, "wrong").file("file", "x");
    Root::empty().file("a", "x").link("a/up", "/").write(&folder.0.join("fine.tar"));
    let mut node = tar::Builder::new(fs::File::create(folder.0.join("node.tar")).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Block);
    header.set_size(0);
    header.set_device_major(8).unwrap();
    header.set_device_minor(0).unwrap();
    node.append_data(&mut header, "disk", &[][..]).unwrap();
    node.finish().unwrap();
    let mut climbing = tar::Builder::new(fs::File::create(folder.0.join("climbing.tar")).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.as_old_mut().name[..8].copy_from_slice(b"../../up");
    header.set_cksum();
    climbing.append(&header, &b"x"[..]).unwrap();
    climbing.finish().unwrap();
    for (text, code, sentence) in [
        ("FROM tiny\nRUNN x\n", 2, "Dockerfile line 2: unknown instruction RUNN"),
        ("\nFROM none/such\n", 3, "Dockerfile line 2: no image none/such:latest, and it cannot be pulled: "),
        ("FROM tiny\nCOPY absent /\n", 2, "Dockerfile line 2: there is no absent in the build context"),
        ("FROM tiny\nCOPY ../file /\n", 2, "Dockerfile line 2: COPY ../file leaves the build context"),
        ("FROM tiny\nADD node.tar /\n", 2, "Dockerfile line 2: node.tar: the archive holds the device node disk (8, 0)"),
        ("FROM tiny\nADD climbing.tar /\n", 2, "Dockerfile line 2: climbing.tar: "),
        ("FROM --platform=linux/arm64 tiny\n", 2, "Dockerfile line 1: image tiny:latest is for linux on amd64"),
        ("FROM tiny\nCOPY --chown=nobody file /\n", 2, "Dockerfile line 2: there is no user nobody in the stage's /etc/passwd"),
        ("FROM tiny\nCOPY f* fine.tar /bin/sh\n", 2, "several sources"),
        ("FROM tiny\nRUN --network=host true\n", 2, "Dockerfile line 2: --network=host would give a build"),
        ("FROM tiny\nRUN [\"/no/program\"]\n", 1, "Dockerfile line 2: RUN [\"/no/program\"]"),
        ("FROM tiny\nRUN echo told; echo why >&2; exit 7\n", 1, "ended with exit code 7"),
    ] {
        fs::write(folder.0.join("Dockerfile"), text).unwrap();
        let out = folder.refused(&lab, &[], code);
        assert!(out.stderr.contains(sentence), "{text}\n{out}");
        if text.contains("told") {
            assert!(out.stderr.contains("  told\n") && out.stderr.contains("  why\n"), "the last lines\n{out}");
        }
    }
    before.gone(&lab, "s1", SOON);
    assert_eq!(images(), there);
    assert!(lab.refused(&["build", "/no/such/folder"], 3).stderr.contains("there is no /no/such/folder"));
}

#[test]
fn what_is_fetched_is_checked_and_unpacked_only_when_asked() {
    let lab = Lab::with_tiny(1);
    let shop = Folder::new(&lab, "shop").file("file.txt", "one");
    Root::empty().file("in/archive", "tar").write(&shop.0.join("a.tar"));
    let mut xz = Command::new("xz");
    xz.args(["-k", &shop.0.join("a.tar").display().to_string()]);
    Typed::new(xz).run().must(0);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut httpd = Command::new("/bin/busybox");
    httpd.args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h", &shop.path()]);
    let _server = Typed::new(httpd).start();
    eventually(SOON, "the file server answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("http://127.0.0.1:{port}");
    // Of "one".
    let sum = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    fs::copy(shop.0.join("a.tar.xz"), lab.files().join("a.tar.xz")).unwrap();
    let folder = Folder::new(&lab, "fetching").file(
        "Dockerfile",
        format!(
            "FROM tiny\nADD --checksum=sha256:{sum} --chmod=644 {url}/file.txt /checked\nADD {url}/file.txt /into/\n\
             ADD {url}/a.tar.xz /packed\nADD --unpack=true {url}/a.tar.xz /unpacked/\nADD a.tar.xz /local/\n\
             CMD [\"/bin/sh\", \"-c\", \"cat /checked /into/file.txt /unpacked/in/archive /local/in/archive; ls -l /into /packed\"]\n"
        ),
    );
    fs::copy(shop.0.join("a.tar.xz"), folder.0.join("a.tar.xz")).unwrap();
    folder.build(&lab, &[]);
    let said = lab.ok(&["run", "--rm", "fetching"]).stdout;
    assert!(said.starts_with("oneonetartar") && said.contains("-rw-------"), "{said}");
    assert_eq!(folder.build(&lab, &[]).stderr.matches("(cached)").count(), 5);
    let shop = shop.file("file.txt", "two");
    assert_eq!(folder.build(&lab, &[]).stderr.matches("(cached)").count(), 1, "what is fetched has changed");
    let out = folder.refused(&lab, &["--no-cache"], 2);
    assert!(out.stderr.contains("Dockerfile line 2: ") && out.stderr.contains("is not what its checksum says"), "{out}");
    fs::remove_file(shop.0.join("file.txt")).unwrap();
    let out = folder.refused(&lab, &[], 1);
    assert!(out.stderr.contains("Dockerfile line 3: ") && out.stderr.contains("404"), "{out}");
}

#[test]
fn a_build_nobody_waits_for_ends_and_so_does_one_whose_agent_was_killed() {
    let lab = Lab::with_tiny(1);
    let before = lab.traces("s1");
    let folder = Folder::new(&lab, "long").file("Dockerfile", "FROM tiny\nRUN echo begun && sleep 600\n");
    let begun = |build: &lab::Background| eventually(SOON, "the command runs", || build.stderr().contains("| begun"));
    let build = lab.typed(&["build", &folder.path()]).start();
    begun(&build);
    drop(build);
    before.gone(&lab, "s1", SOON);
    let build = lab.typed(&["build", &folder.path()]).start();
    begun(&build);
    lab.own("s1", "agent").unwrap().signal(Signal::SIGKILL);
    let out = build.wait(SOON);
    assert!(out.code != 0 && out.stderr.contains("error: "), "{out}");
    before.gone(&lab, "s1", SOON);
    let folder = folder.file("Dockerfile", "FROM tiny\nRUN echo fine\n");
    eventually(SOON, "the next agent builds", || lab.roost(&["build", &folder.path()]).code == 0);
}

#[test]
fn outside_of_sandboxes_commands_have_a_network_of_their_own() {
    let lab = Lab::with_tiny(1);
    // As on a machine that is no sandbox: the agent is not told of another network.
    lab.inside("s1", &["umount", api::path::OUTER_NETWORK]).run().must(0);
    lab.inside("s1", &["rm", api::path::OUTER_NETWORK]).run().must(0);
    lab.own("s1", "agent").unwrap().signal(Signal::SIGKILL);
    let before = lab.traces("s1");
    let addresses = lab.inside(OUTSIDE, &["ip", "-brief", "-4", "address"]).run().must(0).stdout;
    let outside = addresses.split_whitespace().find_map(|word| word.strip_suffix("/24").filter(|a| a.starts_with("10.200.")));
    let outside = outside.unwrap_or_else(|| panic!("no address: {addresses}")).to_owned();
    let folder = Folder::new(&lab, "network").file("page", "from outside\n").file(
        "Dockerfile",
        format!(
            "FROM tiny\nENV PATH=/bin\nRUN ip route && wget -q -O /page http://{outside}:8098/page && ! nc -w 1 10.200.0.1 7443 < /dev/null\n\
             CMD [\"/bin/cat\", \"/page\"]\n"
        ),
    );
    let _server = lab.inside(OUTSIDE, &["/bin/busybox", "httpd", "-f", "-p", "8098", "-h", &folder.path()]).start();
    eventually(SOON, "the next agent builds", || lab.roost(&["build", &folder.path(), "--no-cache"]).code == 0);
    let out = folder.build(&lab, &["--no-cache"]);
    assert!(out.stderr.contains("| default via 169.254."), "{out}");
    assert_eq!(lab.ok(&["run", "--rm", "network"]).stdout, "from outside\n");
    before.gone(&lab, "s1", SOON);
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_build() {
    let lab = Lab::with_tiny(1);
    let images = "/var/lib/roost/images";
    // All that is there, and not much room beside it.
    let small = format!(
        "mkdir /run/small && mount -t tmpfs -o size=12m none /run/small && cp -a {images}/. /run/small && mount --bind /run/small {images}"
    );
    lab.inside("s1", &["/bin/sh", "-c", &small]).run().must(0);
    let used = || lab.inside("s1", &["du", "-sk", images]).run().must(0).stdout;
    let state = || (lab.ok(&["image", "list", "-q"]).stdout, used());
    // What cannot be compressed.
    let text = "FROM tiny\nCOPY little /\nRUN busybox head -c 16000000 /dev/urandom > /noise\n";
    let folder = Folder::new(&lab, "large").file("little", "x").file("Dockerfile", text);
    let before = state();
    let out = folder.refused(&lab, &[], 1);
    let sentence = "error: Dockerfile line 3: no space left on the file system of /var/lib/roost/images\n";
    assert!(out.stderr.ends_with(sentence), "{out}");
    let after = state();
    assert_eq!(after.0, before.0);
    // The step before is kept for next time: a few files of a few bytes.
    let kilobytes = |used: &str| used.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    assert!(kilobytes(&after.1) < kilobytes(&before.1) + 200, "{before:?} {after:?}");
    lab.inside("s1", &["mount", "-o", "remount,size=64m", "/run/small"]).run().must(0);
    folder.build(&lab, &[]);
}

#[test]
fn two_builds_of_one_name_and_one_on_another_server() {
    let lab = Lab::with_tiny(2);
    let one = Folder::new(&lab, "one").file("Dockerfile", "FROM tiny\nRUN sleep 1; echo one > /who\n");
    let two = Folder::new(&lab, "two").file("Dockerfile", "FROM tiny\nRUN sleep 1; echo two > /who\n");
    let (one_path, two_path) = (one.path(), two.path());
    let first = lab.typed(&["build", &one_path, "-t", "same"]).start();
    let second = lab.typed(&["build", &two_path, "-t", "same", "--server", "s2"]).start();
    first.wait(SOON).must(0);
    second.wait(SOON).must(0);
    let who = says(&lab, "same", &["/bin/cat", "/who"]);
    assert!(["one\n", "two\n"].contains(&who.as_str()), "{who}");
    // What was built on another server runs on this one.
    two.build(&lab, &["-t", "far", "--server", "s2"]);
    assert_eq!(lab.ok(&["run", "--rm", "s1:here", "far", "--", "/bin/cat", "/who"]).stdout, "two\n");
    assert_eq!(lab.refused(&["build", &one_path, "--server", "s9"], 3).stdout, "");
}

#[test]
fn a_recipe_becomes_an_app_or_a_system() {
    let lab = Lab::with_tiny(1);
    let folder = Folder::new(&lab, "web").file("page", "served\n").file(
        "roost.recipe",
        "FROM tiny\nENV PATH=/bin\nCOPY page /www/index.html\nRUN echo ready > /ready\nPORT 8080\nVOLUME /data\n\
         CHECK tcp 8080\nSTART [\"/bin/httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
    );
    let out = lab.roost(&["build", &folder.path(), "--dry-run"]).must(2);
    assert!(out.stdout.starts_with("build image web:latest in "), "{out}");
    folder.build(&lab, &[]);
    let image = lab.json(&["image", "show", "web"]);
    assert_eq!(image["config"]["kind"], "app");
    assert_eq!(image["config"]["exposed"], serde_json::json!(["8080/tcp"]));
    lab.ok(&["run", "-d", "web1", "web"]);
    assert_eq!(lab.ok(&["exec", "web1", "--", "/bin/cat", "/ready", "/www/index.html"]).stdout, "ready\nserved\n");
    folder.build(&lab, &["-t", "whole", "--type", "system"]);
    assert_eq!(lab.json(&["image", "show", "whole"])["config"]["kind"], "system");
    assert!(fs::metadata(folder.0.join("page")).unwrap().size() > 0);
}
