//! Images from everywhere: archives of three kinds, registries, and from server to server only what is missing there.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use lab::{Background, Lab, OUTSIDE, Output, Root, Typed, eventually};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);
/// Bytes of the layer that images share: much more than everything else that goes over the network meanwhile.
const SHARED: usize = 8 << 20;

/// A program of this machine.
#[track_caller]
fn tool(argv: &[&str]) -> Output {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]);
    Typed::new(command).run().must(0)
}

/// Bytes that cannot be compressed.
fn noise(size: usize) -> Vec<u8> {
    std::iter::repeat_with(base::env::random_bytes::<1024>).take(size / 1024).flatten().collect()
}

/// OCI layouts made by `umoci`: images that share their lowest layer.
struct Layouts {
    folder: PathBuf,
}

impl Layouts {
    /// The shared layer: busybox, and noise that makes it large.
    fn new(folder: &Path) -> Self {
        let layouts = Self { folder: folder.to_owned() };
        Root::tiny().file("shared", noise(SHARED)).write(&layouts.file("shared.tar"));
        tool(&["umoci", "init", "--layout", &layouts.path("all")]);
        tool(&["umoci", "new", "--image", &layouts.image("shared")]);
        tool(&["umoci", "raw", "add-layer", "--image", &layouts.image("shared"), &layouts.path("shared.tar")]);
        layouts
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.path("all"))
    }

    /// An image that adds a file with its own name, runs `sleep`, and is in the environment.
    fn add(&self, tag: &str) -> &Self {
        let layer = format!("{tag}.tar");
        Root::empty().file("marker", format!("{tag}\n")).write(&self.file(&layer));
        tool(&["umoci", "raw", "add-layer", "--image", &self.image("shared"), "--tag", tag, &self.path(&layer)]);
        let words =
            ["--config.cmd", "/bin/sleep", "--config.cmd", "600", "--config.env", "PATH=/bin", "--config.env", "FROM=umoci"];
        tool(&[&["umoci", "config", "--image", &self.image(tag)], &words[..]].concat());
        self
    }

    /// One image as an archive of a layout.
    fn archive(&self, tag: &str) -> String {
        let (layout, archive) = (self.path(&format!("layout-{tag}")), self.path(&format!("layout-{tag}.tar")));
        tool(&["skopeo", "copy", "--quiet", &format!("oci:{}", self.image(tag)), &format!("oci:{layout}:latest")]);
        tool(&["tar", "-C", &layout, "-cf", &archive, "."]);
        archive
    }

    /// One image as `docker save` writes it.
    fn docker(&self, tag: &str) -> String {
        let archive = self.path(&format!("docker-{tag}.tar"));
        tool(&["skopeo", "copy", "--quiet", &format!("oci:{}", self.image(tag)), &format!("docker-archive:{archive}:{tag}:1")]);
        archive
    }
}

/// Debian's registry on a server of the lab, which ends with this.
struct Registry {
    address: String,
    _process: Background,
}

impl Registry {
    fn start(lab: &Lab, server: &str, address: &str) -> Self {
        let folder = lab.files().join(format!("registry-{server}"));
        let config = lab.files().join(format!("registry-{server}.yml"));
        let root = folder.display();
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: \"{address}\"}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let process = lab.inside(server, &["docker-registry", "serve", &config.display().to_string()]).start();
        let answers =
            || lab.inside(server, &["curl", "-sf", "--max-time", "2", &format!("http://{address}/v2/")]).run().code == 0;
        eventually(SOON, "the registry answers", answers);
        Self { address: address.to_owned(), _process: process }
    }

    /// Pushes an image there with `skopeo`, from the server that it is on.
    fn push(&self, lab: &Lab, (server, from): (&str, &str), name: &str) -> String {
        let reference = format!("{}/{name}", self.address);
        let words =
            ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", &format!("oci:{from}"), &format!("docker://{reference}")];
        lab.inside(server, &words).run().must(0);
        reference
    }
}

fn marker(lab: &Lab, container: &str) -> String {
    lab.ok(&["exec", container, "--", "/bin/cat", "/marker"]).stdout
}

#[test]
fn archives_of_all_kinds() {
    let lab = Lab::up(1);
    let layouts = Layouts::new(lab.files());
    layouts.add("oci").add("docker");
    let root = Root::tiny().file("marker", "root\n");
    root.write(&lab.files().join("root.tar"));
    let plain = lab.files().join("root.tar").display().to_string();
    tool(&["gzip", "--keep", "--fast", &plain]);
    tool(&["zstd", "--quiet", &plain]);
    let kinds = [
        (layouts.archive("oci"), "oci"),
        (layouts.docker("docker"), "docker"),
        (plain.clone(), "root"),
        (format!("{plain}.gz"), "root"),
        (format!("{plain}.zst"), "root"),
    ];
    for (number, (file, expected)) in kinds.iter().enumerate() {
        let (image, container) = (format!("i{number}"), format!("c{number}"));
        lab.ok(&["image", "import", file, "--name", &image]);
        // What an image says of how it is run holds, where it says something.
        let words = if *expected == "root" { vec!["--", "/bin/sleep", "600"] } else { vec![] };
        lab.ok(&[&["run", "-d", &container, &image], &words[..]].concat());
        assert_eq!(marker(&lab, &container), format!("{expected}\n"), "{file}");
        let env = lab.ok(&["exec", &container, "--", "/bin/env"]).stdout;
        assert_eq!(env.contains("FROM=umoci"), *expected != "root", "{env}");
    }
    // By standard input, under the file's own name, and twice the same.
    let bytes = std::fs::read(&plain).unwrap();
    lab.typed(&["image", "import", "-", "--name", "piped"]).stdin(bytes).run().must(0);
    lab.ok(&["image", "import", &plain]);
    let digest = |name: &str| lab.json(&["image", "show", name])["digest"].as_str().map(str::to_owned).unwrap();
    assert_eq!(digest("piped"), digest("root"));
    assert_eq!(digest("i2"), digest("root"));
}

/// Bytes that a server has received on the underlay.
fn received(lab: &Lab, server: &str) -> usize {
    let out = lab.inside(server, &["cat", "/sys/class/net/eth0/statistics/rx_bytes"]).run().must(0);
    out.text().parse().unwrap()
}

#[test]
fn another_server_fetches_only_what_it_misses() {
    let lab = Lab::up(2);
    let layouts = Layouts::new(lab.files());
    layouts.add("first").add("second");
    // Here an image also gets its second copy in the background, while a container is made of it: what both need comes once.
    let cost = |image: &str, container: &str, import: bool| {
        let (before, archive) = (received(&lab, "s2"), layouts.archive(image));
        if import {
            lab.ok(&["image", "import", &archive, "--name", image, "--server", "s1"]);
        }
        lab.ok(&["run", "-d", &format!("s2:{container}"), image]);
        assert_eq!(marker(&lab, container), format!("{image}\n"));
        received(&lab, "s2") - before
    };
    let whole = cost("first", "c1", true);
    assert!((SHARED..SHARED + SHARED / 2).contains(&whole), "{whole} bytes for everything");
    let rest = cost("second", "c2", true);
    assert!(rest < SHARED / 8, "{rest} bytes for one small layer");
    let nothing = cost("second", "c3", false);
    assert!(nothing < SHARED / 8, "{nothing} bytes for what is there");
}

#[test]
fn pulls_from_registries() {
    let lab = Lab::up(2);
    let layouts = Layouts::new(lab.files());
    layouts.add("web");
    let (near, far) = (Registry::start(&lab, "s1", "127.0.0.1:5000"), Registry::start(&lab, OUTSIDE, "10.200.0.254:5000"));
    let local = near.push(&lab, ("s1", &layouts.image("web")), "team/web:1");
    let remote = far.push(&lab, (OUTSIDE, &layouts.image("web")), "web:2");
    // On loopback plain HTTP needs no word; elsewhere it does.
    lab.ok(&["image", "pull", &local]);
    let out = lab.refused(&["image", "pull", &remote], 1);
    assert!(out.stderr.contains("registry 10.200.0.254:5000"), "{out}");
    lab.ok(&["image", "pull", "--insecure", "--server", "s2", &remote]);
    let digest = |name: &str| lab.json(&["image", "show", name])["digest"].as_str().map(str::to_owned).unwrap();
    assert_eq!(digest(&local), digest(&remote));
    for (container, image) in [("s2:c1", &local), ("s1:c2", &remote)] {
        lab.ok(&["run", "-d", container, image]);
        assert_eq!(marker(&lab, container), "web\n");
    }
    // What is not there is said in a sentence, and leaves nothing.
    let images = || lab.json(&["image", "list"]).as_array().map(Vec::len);
    let before = images();
    for missing in ["127.0.0.1:5000/team/web:9", "127.0.0.1:5000/nothing:1"] {
        let out = lab.refused(&["image", "pull", missing], 1);
        assert!(out.stderr.contains("no image ") && out.stderr.contains("in registry 127.0.0.1:5000"), "{out}");
    }
    assert_eq!(images(), before);
}

#[test]
fn what_is_to_be_run_is_pulled_first() {
    let lab = Lab::up(2);
    let layouts = Layouts::new(lab.files());
    layouts.add("web").add("newer");
    let registry = Registry::start(&lab, "s1", "127.0.0.1:5000");
    let web = registry.push(&lab, ("s1", &layouts.image("web")), "web:1");
    let newer = registry.push(&lab, ("s1", &layouts.image("newer")), "web:2");
    lab.ok(&["run", "-d", "s2:c1", &web]);
    assert_eq!(marker(&lab, "c1"), "web\n");
    lab.ok(&["rm", "-f", "c1"]);
    lab.ok(&["image", "delete", &web]);
    lab.ok(&["addjob", &web, "2", "--name", "web", "-s", "spread", "--stop-timeout", "0"]);
    assert_eq!((marker(&lab, "web/1"), marker(&lab, "web/2")), ("web\n".to_owned(), "web\n".to_owned()));
    lab.ok(&["upgradejob", "web", "--image", &newer]);
    assert_eq!((marker(&lab, "web/1"), marker(&lab, "web/2")), ("newer\n".to_owned(), "newer\n".to_owned()));
}

#[test]
fn a_full_disk_while_pulling() {
    let lab = Lab::up(2);
    let layouts = Layouts::new(lab.files());
    layouts.add("web");
    let registry = Registry::start(&lab, OUTSIDE, "10.200.0.254:5000");
    let image = registry.push(&lab, (OUTSIDE, &layouts.image("web")), "web:1");
    let store = "/var/lib/roost/images";
    let folders = ["blobs", "images", "layers", "staging"].map(|name| format!("{store}/{name}")).join(" ");
    let script = format!("mount -t tmpfs -o size=4m none {store} && mkdir {folders} && touch {store}/lock");
    lab.inside("s2", &["/bin/sh", "-c", &script]).run().must(0);
    let used = || lab.inside("s2", &["du", "-sk", store]).run().must(0).stdout;
    let before = used();
    let pull = ["image", "pull", "--insecure", "--server", "s2", image.as_str()];
    let out = lab.refused(&pull, 1);
    assert!(out.stderr.contains("no space left"), "{out}");
    assert_eq!((used(), lab.json(&["image", "list"]).as_array().map(Vec::len)), (before, Some(0)));
    lab.inside("s2", &["umount", store]).run().must(0);
    lab.ok(&pull);
}

#[test]
fn an_image_in_use_is_not_deleted_and_then_goes_everywhere() {
    let lab = Lab::up(2);
    let layouts = Layouts::new(lab.files());
    layouts.add("web");
    lab.ok(&["image", "import", &layouts.archive("web"), "--name", "web"]);
    lab.ok(&["run", "-d", "s2:c1", "web"]);
    lab.ok(&["addjob", "web", "1", "--name", "job", "--on", "s1", "--stop-timeout", "0"]);
    let out = lab.refused(&["image", "delete", "web"], 4);
    assert!(out.stderr.contains("image web:latest is used by container c1"), "{out}");
    lab.ok(&["rm", "-f", "c1"]);
    let out = lab.refused(&["image", "delete", "web"], 4);
    assert!(out.stderr.contains("image web:latest is used by job job"), "{out}");
    assert_eq!(marker(&lab, "job/1"), "web\n");
    lab.ok(&["deljob", "job"]);
    lab.ok(&["image", "delete", "web"]);
    assert_eq!(lab.json(&["image", "list"]).as_array().map(Vec::len), Some(0));
    // Its content goes from every server that had it.
    let size = |server: &str| {
        let out = lab.inside(server, &["du", "-sm", "/var/lib/roost/images"]).run().must(0);
        out.stdout.split('\t').next().and_then(|text| text.parse::<usize>().ok()).unwrap()
    };
    eventually(SOON, "the content is gone", || lab.servers().iter().all(|server| size(server) < SHARED >> 20));
    lab.refused(&["image", "show", "web"], 3);
}

#[test]
fn a_tag_is_another_name() {
    let lab = Lab::with_tiny(2);
    let digests = || -> Vec<(String, String)> {
        let images = lab.json(&["image", "list"]);
        let text = |image: &serde_json::Value, key: &str| image[key].as_str().unwrap().to_owned();
        images.as_array().unwrap().iter().map(|image| (text(image, "name"), text(image, "digest"))).collect()
    };
    let [(_, tiny)] = &digests()[..] else { panic!("{:?}", digests()) };
    lab.ok(&["image", "tag", "tiny", "team/web:2"]);
    lab.ok(&["image", "tag", "tiny", "team/web:2"]);
    assert_eq!(digests(), [("team/web:2".to_owned(), tiny.clone()), ("tiny:latest".to_owned(), tiny.clone())]);
    lab.ok(&["run", "-d", "--stop-timeout", "0", "s2:c1", "team/web:2", "--", "/bin/sleep", "600"]);
    lab.ok(&["image", "delete", "tiny"]);
    lab.refused(&["image", "delete", "team/web:2"], 4);
    // It leads elsewhere from now on, and what runs stays as it is.
    lab.ok(&["exec", "c1", "--", "/bin/sh", "-c", "echo more >/srv/more"]);
    lab.ok(&["commit", "c1", "more"]);
    let before = lab.container("c1");
    lab.ok(&["image", "tag", "more", "team/web:2"]);
    let after = digests();
    assert!(after.len() == 2 && after[0].1 == after[1].1 && after[0].1 != *tiny, "{after:?}");
    assert_eq!((lab.container("c1").pid, lab.container("c1").started), (before.pid, before.started));
    lab.ok(&["image", "prune"]);
    lab.ok(&["restart", "c1"]);
    lab.refused(&["image", "tag", "nothing", "x"], 3);
    lab.refused(&["image", "tag", "more", "/x"], 2);
    lab.refused(&["image", "tag", "more", &format!("x@{tiny}")], 2);
    lab.refused(&["image", "tag", "more"], 2);
    assert_eq!(digests(), after);
}
