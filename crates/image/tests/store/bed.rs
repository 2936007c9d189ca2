//! A store in a temporary directory, and small archives.

use api::image::{ImageProgress, LocalImage};
use driver::{Images as _, image::BlobSource};
use flate2::{Compression, write::GzEncoder};
use image::{ContentStore, Options};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

pub struct Bed {
    pub store: ContentStore,
    pub dir: TempDir,
}

pub fn options(dir: &Path) -> Options {
    Options::new(dir, vec![env!("CARGO_BIN_EXE_image-unpack").into()])
}

pub fn bed() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    Bed { store: ContentStore::open(options(&dir.path().join("images"))).unwrap(), dir }
}

pub fn quiet(_: ImageProgress) {}

impl Bed {
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    pub fn import(&self, bytes: &[u8]) -> Result<LocalImage, String> {
        self.store.import(&mut &bytes[..], "the archive", &quiet).map_err(|e| e.message)
    }

    /// Waits until every image is on the disk for good.
    pub fn settled(&self) {
        let marked = |entry: fs::DirEntry| fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("\"boot\""));
        for _ in 0..1000 {
            let staged = fs::read_dir(self.root().join("staging")).unwrap().count();
            if staged == 0 && !fs::read_dir(self.root().join("images")).unwrap().any(|entry| marked(entry.unwrap())) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("images do not settle");
    }

    /// Everything below the store, apart from empty directories: what a failed call must not have changed.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.settled();
        let mut found = BTreeSet::new();
        walk(&self.root(), &mut found);
        found
    }
}

fn walk(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            walk(&path, found);
        }
        found.insert(path);
    }
}

/// The path of a name in the image's only, or topmost, layer.
pub fn top(image: &LocalImage, name: &str) -> PathBuf {
    image.layers.last().unwrap().join(name)
}

pub fn sha(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive in the making; names go in as they are, wicked ones too.
pub struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub fn entry(mut self, kind: EntryType, name: &str, link: &str, data: &[u8], mode: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_gid(5678);
        header.set_mtime(1_600_000_000);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", data, 0o644)
    }

    pub fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"", 0o755)
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, name, to, b"", 0o777)
    }

    pub fn hard(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Link, name, to, b"", 0o644)
    }

    pub fn device(mut self, kind: EntryType, name: &str, major: u32, minor: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        header.set_size(0);
        header.set_mode(0o666);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    pub fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(key, value)]).unwrap();
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A small root file system: a program and a file.
pub fn small_root() -> Vec<u8> {
    Tar::new().dir("bin/").file("bin/sh", b"#!shell").dir("etc/").file("etc/motd", b"hello").done()
}

/// A manifest, its configuration and layers, as blobs by digest.
#[derive(Default, Clone)]
pub struct Blobs(pub std::collections::BTreeMap<String, Vec<u8>>);

impl Blobs {
    pub fn add(&mut self, bytes: &[u8]) -> String {
        let digest = sha(bytes);
        self.0.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// An image of these layers (uncompressed archives, stored with gzip). Gives the digest of its manifest.
    pub fn image(&mut self, layers: &[Vec<u8>]) -> String {
        let diff_ids: Vec<_> = layers.iter().map(|l| sha(l)).collect();
        let blobs: Vec<_> = layers.iter().map(|l| gzip(l)).collect();
        self.image_of(&blobs, &diff_ids)
    }

    pub fn image_of(&mut self, blobs: &[Vec<u8>], diff_ids: &[String]) -> String {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["A=1"], "Cmd": ["/bin/run"], "Entrypoint": null, "ExposedPorts": {"80/tcp": {}}, "WorkingDir": "/srv"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let layers: Vec<_> = blobs
            .iter()
            .map(|b| serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": self.add(b), "size": b.len()}))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.add(&config), "size": config.len()},
            "layers": layers,
        });
        self.add(&serde_json::to_vec(&manifest).unwrap())
    }

    /// As the archive of an OCI layout with this manifest.
    pub fn layout(&self, manifest: &str) -> Vec<u8> {
        let size = self.0[manifest].len();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let index =
            serde_json::json!({"schemaVersion": 2, "manifests": [{"mediaType": media_type, "digest": manifest, "size": size}]});
        let mut tar = Tar::new().dir("blobs/").dir("blobs/sha256/");
        for (digest, bytes) in &self.0 {
            tar = tar.file(&format!("blobs/sha256/{}", &digest[7..]), bytes);
        }
        tar.file("index.json", &serde_json::to_vec(&index).unwrap())
            .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
            .done()
    }
}

impl BlobSource for Blobs {
    fn open(&self, digest: &str) -> driver::Result<Box<dyn Read + Send>> {
        match self.0.get(digest) {
            Some(bytes) => Ok(Box::new(std::io::Cursor::new(bytes.clone()))),
            None => Err(driver::DriverError::fatal(format!("server s2 does not have {digest}"))),
        }
    }
}

/// Another store as a source, as agents use it.
pub struct Peer<'a>(pub &'a ContentStore);

impl BlobSource for Peer<'_> {
    fn open(&self, digest: &str) -> driver::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.0.blob(digest)?))
    }
}

/// An extended attribute, if it is there.
pub fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = std::ffi::CString::new(name).unwrap();
    let mut value = vec![0u8; 256];
    let n = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    usize::try_from(n).ok().map(|n| value[..n].to_vec())
}

/// Runs a tool to its end.
pub fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
