//! Pulls from Debian's docker-registry on loopback.

use crate::bed::*;
use api::view::{PullRequest, PushRequest};
use driver::{Content as _, Images as _};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

pub struct Registry {
    child: Child,
    pub address: String,
    dir: TempDir,
}

impl Registry {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let data = dir.path().join("data");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            data.display()
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, address, dir };
        for _ in 0..200 {
            if TcpStream::connect(&registry.address).is_ok() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the registry does not listen");
    }

    /// Pushes an image of these layers; gives the digest of its manifest.
    pub fn push(&self, name: &str, layers: &[Vec<u8>]) -> String {
        let mut blobs = Blobs::default();
        let digest = blobs.image(layers);
        let archive = self.dir.path().join("push.tar");
        fs::write(&archive, blobs.layout(&digest)).unwrap();
        self.copy(&format!("oci-archive:{}", archive.display()), name, &[]);
        digest
    }

    pub fn copy(&self, from: &str, name: &str, more: &[&str]) {
        let to = format!("docker://{}/{name}", self.address);
        let mut args = vec!["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--src-tls-verify=false"];
        args.extend(more);
        args.extend([from, to.as_str()]);
        tool("skopeo", &args);
    }

    pub fn request(&self, name: &str) -> PullRequest {
        PullRequest { image: format!("{}/{name}", self.address), server: None, insecure: false, login: None }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn pulls_and_says_what_is_not_there() {
    let registry = Registry::start();
    let layers: Vec<_> = (0..6).map(|n| Tar::new().file(&format!("layer{n}"), &vec![n; 200_000]).done()).collect();
    let digest = registry.push("team/web:1", &layers);
    let bed = bed();
    let image = bed.store.pull(&registry.request("team/web:1"), &quiet).unwrap();
    assert_eq!((image.digest.as_str(), image.layers.len()), (digest.as_str(), 6));
    for (n, layer) in image.layers.iter().enumerate() {
        assert_eq!(fs::read(layer.join(format!("layer{n}"))).unwrap().len(), 200_000);
    }
    let by_digest = bed.store.pull(&registry.request(&format!("team/web@{digest}")), &quiet).unwrap();
    assert_eq!(by_digest, image);
    let error = bed.store.pull(&registry.request("team/web:2"), &quiet).unwrap_err();
    assert_eq!(error.message, format!("no image team/web:2 in registry {}", registry.address));
    assert!(!error.retryable);
    let error = bed.store.pull(&registry.request("nobody"), &quiet).unwrap_err();
    assert_eq!(error.message, format!("no image nobody:latest in registry {}", registry.address));
}

#[test]
fn docker_manifests_and_lists_of_several_machines() {
    let registry = Registry::start();
    registry.push("one:1", &[small_root()]);
    registry.copy(&format!("docker://{}/one:1", registry.address), "two:1", &["--format", "v2s2"]);
    let bed = bed();
    let (one, two) = (
        bed.store.pull(&registry.request("one:1"), &quiet).unwrap(),
        bed.store.pull(&registry.request("two:1"), &quiet).unwrap(),
    );
    assert_eq!(one.layers, two.layers);
    assert_ne!(one.digest, two.digest);
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let request = PullRequest { image: format!("127.0.0.1:{port}/web"), server: None, insecure: false, login: None };
    let bed = bed();
    let error = bed.store.pull(&request, &quiet).unwrap_err();
    assert_eq!(error.message, format!("registry 127.0.0.1:{port} does not answer: connection refused"));
    assert!(error.retryable);
    let request = PullRequest { image: "not an image".to_owned(), server: None, insecure: false, login: None };
    assert!(!bed.store.pull(&request, &quiet).unwrap_err().retryable);
}

#[test]
fn damage_in_the_registry_is_noticed() {
    let registry = Registry::start();
    registry.push("web:1", &[small_root()]);
    // The layer is the only blob that is no JSON.
    let blobs = registry.dir.path().join("data/docker/registry/v2/blobs/sha256");
    for dir in fs::read_dir(blobs).unwrap().flat_map(|d| fs::read_dir(d.unwrap().path()).unwrap()) {
        let path = dir.unwrap().path().join("data");
        let mut bytes = fs::read(&path).unwrap();
        if bytes[0] == 0x1f {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let bed = bed();
    let before = bed.files();
    let error = bed.store.pull(&registry.request("web:1"), &quiet).unwrap_err();
    assert!(error.message.contains("damaged"), "{error}");
    assert_eq!(bed.files(), before);
}

#[test]
fn pushes_only_what_is_missing_and_the_digest_stays() {
    let registry = Registry::start();
    let layers: Vec<_> = (0..3).map(|n| Tar::new().file(&format!("layer{n}"), &vec![n; 2_000_000]).done()).collect();
    let bed = bed();
    let mut blobs = Blobs::default();
    let digest = blobs.image(&layers);
    let image = bed.import(&blobs.layout(&digest)).unwrap();
    let to = |name: &str| PushRequest {
        image: image.digest.clone(),
        to: format!("{}/{name}", registry.address),
        insecure: false,
        login: None,
    };
    assert_eq!(bed.store.push(&to("out/web:1"), &quiet).unwrap(), digest);
    assert_eq!(bed.store.push(&to("out/web:2"), &quiet).unwrap(), digest);
    let told = tool("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{}/out/web:2", registry.address)]);
    assert!(told.contains(&digest), "{told}");
    let other = crate::bed::bed();
    assert_eq!(other.store.pull(&registry.request("out/web:1"), &quiet).unwrap().digest, digest);
    let by_digest = bed.store.push(&to(&format!("web@{digest}")), &quiet).unwrap_err();
    assert!(by_digest.message.ends_with("names a digest: an image is pushed to a tag"), "{by_digest}");
    let nobody = PushRequest { to: "127.0.0.1:1/web:1".to_owned(), ..to("web:1") };
    assert_eq!(bed.store.push(&nobody, &quiet).unwrap_err().message, "registry 127.0.0.1:1 does not answer: connection refused");
}
