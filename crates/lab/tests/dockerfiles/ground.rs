//! Where both build: a sandbox for ours, and for buildah a store below the sandbox's files.

use crate::{case::Case, image::Image};
use lab::{Background, Lab, Output, Root, Typed, eventually};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// What buildah says when its copy of itself in memory could not be sealed, which happens to it now and then and has nothing to do
/// with what it builds.
const BUSY: &str = "sealing memfd copy: Device or resource busy";
/// Builds that may end so before it is no chance any more.
const BUSY_TRIES: u32 = 4;
/// Longer than any build takes on a loaded machine.
const LONG: Duration = Duration::from_secs(60);
/// Longer than a web server takes to start.
const SOON: Duration = Duration::from_secs(20);
/// The image that most cases begin with, as both know it.
const BASE: &str = "FROM scratch\nADD root.tar /\nENV PATH=/bin BASE=base\nCMD [\"/bin/sh\"]\n";

/// One way of calling either.
pub struct Request<'a> {
    /// The case it is for: stage and secrets.
    pub case: &'a Case,
    /// The context.
    pub context: PathBuf,
    /// The file in it.
    pub file: &'a str,
    /// Name of the image.
    pub name: &'a str,
    /// Build arguments.
    pub args: &'a [String],
    /// As if there were no cache.
    pub no_cache: bool,
}

impl Request<'_> {
    /// The words that both take.
    fn words(&self, ground: &Ground) -> Vec<String> {
        let mut words = vec!["-t".to_owned(), self.name.to_owned(), "-f".to_owned(), display(&self.context.join(self.file))];
        words.extend(self.args.iter().flat_map(|arg| ["--build-arg".to_owned(), arg.clone()]));
        words.extend(self.case.target.iter().flat_map(|stage| ["--target".to_owned(), stage.clone()]));
        words.extend(self.case.web.then(|| format!("--build-arg=WEB={}", ground.web)));
        let secrets = ground.secrets(self.case);
        for id in self.case.secrets.keys() {
            words.extend(["--secret".to_owned(), format!("id={id},src={}", secrets.join(id).display())]);
        }
        words.extend(self.no_cache.then(|| "--no-cache".to_owned()));
        words.push(display(&self.context));
        words
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

/// Both builders, with the base image.
pub struct Ground {
    lab: Lab,
    /// Address of the web server, on the machine itself: that is where the servers of a sandbox have the world.
    web: String,
    _server: Background,
}

impl Ground {
    /// A sandbox of one server, files on the web, and the base image on both sides.
    pub fn new() -> Self {
        let lab = Lab::up(1);
        let (pages, base) = (lab.files().join("web"), lab.files().join("base"));
        fs::create_dir_all(&pages).unwrap();
        fs::create_dir_all(&base).unwrap();
        fs::write(pages.join("page.txt"), "from the web\n").unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = free.local_addr().unwrap().to_string();
        drop(free);
        let mut command = Command::new("busybox");
        command.args(["httpd", "-f", "-p", &web, "-h", &display(&pages)]);
        let server = Typed::new(command).start();
        eventually(SOON, "the web server answers", || TcpStream::connect(&web).is_ok());
        let ground = Self { lab, web, _server: server };
        // What buildah mounts over is there, so that it leaves nothing in the cases that are not about that.
        let root =
            Root::tiny().folder("run").folder("root").file("etc/hosts", "").file("etc/hostname", "").file("etc/resolv.conf", "");
        root.write(&base.join("root.tar"));
        fs::write(base.join("Dockerfile"), BASE).unwrap();
        ground.share(&base);
        ground
    }

    /// Makes the base image with buildah, and imports that very image.
    fn share(&self, folder: &Path) {
        let archive = self.lab.files().join("base.tar");
        self.buildah(&["build", "--format", "docker", "--identity-label=false", "--quiet", "-t", "base", &display(folder)])
            .must(0);
        self.buildah(&["push", "--quiet", "base", &format!("oci-archive:{}:base", archive.display())]).must(0);
        self.lab.ok(&["image", "import", &display(&archive), "--name", "base"]);
    }

    /// A folder for a case.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.lab.files().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A case's secrets, as files.
    fn secrets(&self, case: &Case) -> PathBuf {
        let folder = self.folder(&format!("{}/secrets", case.name));
        for (id, secret) in &case.secrets {
            fs::write(folder.join(id), secret).unwrap();
        }
        folder
    }

    fn buildah(&self, words: &[&str]) -> Output {
        let store = self.lab.files().join("buildah");
        let (root, runs) = (display(&store.join("root")), display(&store.join("run")));
        // Directories of its cache mounts lie below its temporary ones: another run of the tests must not find them.
        let temporary = store.join("tmp");
        fs::create_dir_all(&temporary).unwrap();
        let mut command = Command::new("buildah");
        command.args(["--root", &root, "--runroot", &runs, "--storage-driver", "overlay"]).args(words);
        Typed::new(command).env("TMPDIR", &display(&temporary)).limit(LONG).run()
    }

    /// `buildah build`. In Docker's format, since OCI's has no health checks, triggers and shells. In one layer, which takes
    /// it a third of the time, unless the case is about layers or the cache.
    pub fn build_theirs(&self, request: &Request<'_>) -> Output {
        let words = request.words(self);
        let layers = format!("--layers={}", request.case.layers || !request.case.then.is_empty());
        let fixed = [
            "build",
            "--isolation",
            "chroot",
            "--pull-never",
            "--force-rm",
            &layers,
            "--format",
            "docker",
            "--identity-label=false",
        ];
        let words: Vec<&str> = fixed.into_iter().chain(words.iter().map(String::as_str)).collect();
        let mut tries = (0..BUSY_TRIES).map(|_| self.buildah(&words)).skip_while(|out| out.stderr.contains(BUSY));
        tries.next().unwrap_or_else(|| self.buildah(&words))
    }

    /// `roost build`.
    pub fn build_ours(&self, request: &Request<'_>) -> Output {
        let words = request.words(self);
        let words: Vec<&str> = ["build"].into_iter().chain(words.iter().map(String::as_str)).collect();
        self.lab.typed(&words).limit(LONG).run()
    }

    /// An image as buildah made it. Files below `folder` are overwritten.
    pub fn theirs(&self, name: &str, folder: &Path) -> Image {
        let folder = fresh(folder, "theirs");
        self.buildah(&["push", "--quiet", "--disable-compression", name, &format!("dir:{}", folder.display())]).must(0);
        Image::of_folder(&folder)
    }

    /// An image as we made it.
    pub fn ours(&self, name: &str, folder: &Path) -> Image {
        let folder = fresh(folder, "ours");
        let archive = folder.join("image.tar");
        self.lab.ok(&["image", "export", name, &display(&archive)]);
        Image::of_archive(&archive, &folder)
    }

    /// The digest of an image of ours, if there is one of that name.
    pub fn digest(&self, name: &str) -> Option<String> {
        let images = self.lab.json(&["image", "list"]);
        let all = images.as_array().unwrap();
        let found =
            all.iter().find(|image| image["name"].as_str().is_some_and(|full| full == name || full == format!("{name}:latest")));
        found.map(|image| image["digest"].as_str().unwrap().to_owned())
    }
}

impl Drop for Ground {
    /// Where a build broke off, buildah leaves what it was made in mounted, and the lab's files could not go.
    fn drop(&mut self) {
        drop(self.buildah(&["rm", "--all"]));
    }
}

fn fresh(folder: &Path, name: &str) -> PathBuf {
    let folder = folder.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}
