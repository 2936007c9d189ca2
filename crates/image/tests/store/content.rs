//! Uploads in pieces, manifests that are kept as they came, and the ways out.

use crate::bed::*;
use api::{
    registry::{Code, Runs},
    view::ArchiveFormat,
};
use driver::{Content as _, Images as _, Uploads as _};
use image::ContentStore;
use std::{
    fs,
    io::{self, Read},
    time::{Duration, UNIX_EPOCH},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn push_blob(store: &ContentStore, bytes: &[u8]) {
    let upload = store.begin().unwrap();
    store.append(&upload, None, &mut &bytes[..]).unwrap();
    store.finish(&upload, &sha(bytes)).unwrap();
}

/// Everything of an image but its manifest.
fn push_parts(store: &ContentStore, blobs: &Blobs, manifest: &str) {
    for (_, bytes) in blobs.0.iter().filter(|(digest, _)| *digest != manifest) {
        push_blob(store, bytes);
    }
}

#[test]
fn an_upload_is_taken_up_where_it_broke_off_and_by_another_process() {
    let Bed { store, dir } = bed();
    let upload = store.begin().unwrap();
    assert_eq!(store.append(&upload, Some(0), &mut &b"hello, "[..]), Ok(7));
    let refused = store.append(&upload, Some(3), &mut &b"x"[..]).unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (Code::BlobUploadInvalid, "the piece begins at byte 3, but the next one is 7")
    );
    /// Gives something and breaks.
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            into[..3].copy_from_slice(b"wor");
            Ok(3)
        }
    }
    assert_eq!(store.append(&upload, Some(7), &mut Broken(false)).unwrap_err().code, Code::BlobUploadInvalid);
    assert_eq!(store.received(&upload), Ok(10));
    drop(store);
    let store = ContentStore::open(options(&dir.path().join("images"))).unwrap();
    assert_eq!(store.received(&upload), Ok(10));
    assert_eq!(store.append(&upload, Some(10), &mut &b"ld"[..]), Ok(12));
    store.finish(&upload, &sha(b"hello, world")).unwrap();
    assert_eq!(store.size(&sha(b"hello, world")), Some(12));
    assert_eq!(store.received(&upload).unwrap_err().code, Code::BlobUploadUnknown);
    for wrong in ["", "x", "../../etc/passwd", &"0".repeat(32)] {
        assert_eq!(store.received(wrong).unwrap_err().code, Code::BlobUploadUnknown, "{wrong}");
    }
}

#[test]
fn a_flipped_bit_is_refused_and_leaves_nothing() {
    let bed = bed();
    let before = bed.files();
    let upload = bed.store.begin().unwrap();
    bed.store.append(&upload, None, &mut &b"hellp"[..]).unwrap();
    let refused = bed.store.finish(&upload, &sha(b"hello")).unwrap_err();
    assert_eq!(refused.code, Code::DigestInvalid);
    assert!(refused.message.starts_with("the 5 bytes that came have another digest than sha256:2cf24d"), "{refused}");
    assert_eq!(bed.store.finish("0", "sha512:00").unwrap_err().code, Code::DigestInvalid);
    assert_eq!(bed.files(), before);
}

#[test]
fn a_pushed_image_is_run_from_what_was_pushed() {
    let bed = bed();
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[small_root(), Tar::new().file("more", b"more").done()]);
    let manifest = blobs.0[&digest].clone();
    let refused = bed.store.hold(&manifest, MANIFEST).unwrap_err();
    assert_eq!(refused.code, Code::ManifestBlobUnknown);
    push_parts(&bed.store, &blobs, &digest);
    assert_eq!(bed.store.hold(&manifest, INDEX).unwrap_err().code, Code::ManifestInvalid);
    let held = bed.store.hold(&manifest, MANIFEST).unwrap();
    assert_eq!((held.digest.as_str(), held.size), (digest.as_str(), manifest.len() as u64));
    let Runs::Image { digest: runs, config, .. } = held.runs else { panic!("{held:?}") };
    assert_eq!((runs.as_str(), config.command.as_slice()), (digest.as_str(), &["/bin/run".to_owned()][..]));
    // Nobody else is asked.
    let image = bed.store.ensure(&digest, &Blobs::default(), &quiet).unwrap();
    assert_eq!(fs::read(top(&image, "more")).unwrap(), b"more");
    // It outlives the process, and what keeps it is its name only.
    bed.settled();
    let Bed { store, dir } = bed;
    drop(store);
    let store = ContentStore::open(options(&dir.path().join("images"))).unwrap();
    assert_eq!((store.held(), store.list().unwrap().len()), (vec![digest.clone()], 1));
    assert_eq!(store.discard(&sha(&manifest)).unwrap_err().code, Code::Denied);
    store.prune(std::slice::from_ref(&digest)).unwrap().discard().unwrap();
    assert_eq!(store.held(), vec![digest.clone()]);
    assert!(store.prune(&[]).unwrap().discard().unwrap() > 0);
    assert!(store.held().is_empty() && store.list().unwrap().is_empty() && store.size(&digest).is_none());
}

#[test]
fn blobs_wait_an_hour_for_their_manifest() {
    let bed = bed();
    push_blob(&bed.store, b"early");
    bed.store.prune(&[]).unwrap().discard().unwrap();
    assert_eq!(bed.store.size(&sha(b"early")), Some(5));
    let note = bed.root().join("arrived").join(&sha(b"early")[7..]);
    let long_ago = UNIX_EPOCH + Duration::from_millis(base::env::now_millis()) - Duration::from_secs(3700);
    fs::File::options().write(true).open(&note).unwrap().set_modified(long_ago).unwrap();
    // Whoever asks counts on it from now on.
    assert_eq!(bed.store.size(&sha(b"early")), Some(5));
    bed.store.prune(&[]).unwrap().discard().unwrap();
    assert_eq!(bed.store.size(&sha(b"early")), Some(5));
    fs::File::options().write(true).open(&note).unwrap().set_modified(long_ago).unwrap();
    bed.store.prune(&[]).unwrap().discard().unwrap();
    assert_eq!(bed.store.size(&sha(b"early")), None);
    // An upload that nobody touches goes with the next one.
    let upload = bed.store.begin().unwrap();
    let file = bed.root().join("uploads").join(&upload);
    fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
    bed.store.begin().unwrap();
    assert_eq!(bed.store.received(&upload).unwrap_err().code, Code::BlobUploadUnknown);
}

/// An image for a machine of this architecture.
fn for_machine(blobs: &mut Blobs, architecture: &str) -> (String, serde_json::Value) {
    let layer = Tar::new().file("machine", architecture.as_bytes()).done();
    let digest = blobs.image(std::slice::from_ref(&layer));
    let mut manifest: serde_json::Value = serde_json::from_slice(&blobs.0[&digest]).unwrap();
    blobs.0.remove(&digest);
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let text = String::from_utf8(blobs.0.remove(&config).unwrap()).unwrap();
    let text = text.replace("\"amd64\"", &format!("\"{architecture}\""));
    manifest["config"]["digest"] = blobs.add(text.as_bytes()).into();
    manifest["config"]["size"] = text.len().into();
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = blobs.add(&bytes);
    let platform = serde_json::json!({"architecture": architecture, "os": "linux"});
    let descriptor = serde_json::json!({"mediaType": MANIFEST, "digest": digest, "size": bytes.len(), "platform": platform});
    (digest, descriptor)
}

#[test]
fn an_index_is_kept_whole_and_this_machines_image_of_it_runs() {
    let (here, there) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", "arm64"),
        _ => ("arm64", "amd64"),
    };
    let bed = bed();
    let mut blobs = Blobs::default();
    let (own, ours) = for_machine(&mut blobs, here);
    let (other, theirs) = for_machine(&mut blobs, there);
    for digest in [&own, &other] {
        let manifest = blobs.0.remove(digest).unwrap();
        push_parts(&bed.store, &blobs, "");
        bed.store.hold(&manifest, MANIFEST).unwrap();
    }
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [theirs, ours]});
    let index = serde_json::to_vec(&index).unwrap();
    let held = bed.store.hold(&index, INDEX).unwrap();
    assert_eq!((held.digest, held.manifests), (sha(&index), vec![other.clone(), own.clone()]));
    let Runs::Image { digest, .. } = held.runs else { panic!("nothing runs") };
    assert_eq!(digest, own);
    let error = bed.store.ensure(&other, &Blobs::default(), &quiet).unwrap_err();
    assert_eq!(error.message, format!("the image is for linux on {there}, and this server is linux on {here}"));
    // Whoever keeps the index keeps all of it.
    bed.store.prune(&[sha(&index)]).unwrap().discard().unwrap();
    assert!(bed.store.size(&other).is_some() && bed.store.size(&own).is_some());
    let mut archive = Vec::new();
    bed.store.export(&sha(&index), "web:1", ArchiveFormat::Oci, &mut archive).unwrap();
    let text = String::from_utf8_lossy(&archive);
    assert!(text.contains(&other[7..]) && text.contains(&own[7..]) && text.contains("web:1"));
    let alone =
        serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [held_descriptor(&bed.store, &other, there)]});
    let held = bed.store.hold(&serde_json::to_vec(&alone).unwrap(), INDEX).unwrap();
    assert_eq!(held.runs, Runs::Nothing(format!("it has no image for linux on {here}, only for {there}")));
}

fn held_descriptor(store: &ContentStore, digest: &str, architecture: &str) -> serde_json::Value {
    let platform = serde_json::json!({"architecture": architecture, "os": "linux"});
    serde_json::json!({"mediaType": MANIFEST, "digest": digest, "size": store.size(digest).unwrap(), "platform": platform})
}

#[test]
fn what_is_no_image_is_kept_and_does_not_run() {
    let bed = bed();
    push_blob(&bed.store, b"{}");
    push_blob(&bed.store, b"a signature");
    let subject = serde_json::json!({"mediaType": MANIFEST, "digest": sha(b"of something"), "size": 12});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.signature", "subject": subject,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha(b"{}"), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": sha(b"a signature"), "size": 11}],
        "annotations": {"by": "me"},
    });
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let held = bed.store.hold(&bytes, MANIFEST).unwrap();
    assert_eq!(held.artifact_type.as_deref(), Some("application/x.signature"));
    assert_eq!(held.subject, Some(sha(b"of something")));
    assert_eq!(held.annotations["by"], "me");
    assert_eq!(held.runs, Runs::Nothing("it is no image, but of type \"application/x.signature\"".to_owned()));
    for (bad, code) in [(&b"x"[..], Code::ManifestInvalid), (b"{\"schemaVersion\": 1}", Code::ManifestInvalid)] {
        assert_eq!(bed.store.hold(bad, MANIFEST).unwrap_err().code, code);
    }
}

#[test]
fn archives_go_out_and_come_in_again() {
    let bed = bed();
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[small_root(), Tar::new().file("more", &[7; 100_000]).done()]);
    let image = bed.import(&blobs.layout(&digest)).unwrap();
    for format in [ArchiveFormat::Oci, ArchiveFormat::DockerArchive] {
        let mut archive = Vec::new();
        bed.store.export(&image.digest, "team/web:1", format, &mut archive).unwrap();
        let other = crate::bed::bed();
        let again = other.import(&archive).unwrap();
        assert_eq!((again.config.clone(), again.layers.len()), (image.config.clone(), 2));
        assert_eq!(fs::read(top(&again, "more")).unwrap(), [7; 100_000]);
        // A layout keeps every byte; a docker archive has its layers plain, so that others are made of them.
        assert_eq!(again.digest == image.digest, format == ArchiveFormat::Oci);
        let file = other.dir.path().join("out.tar");
        fs::write(&file, &archive).unwrap();
        let kind = if format == ArchiveFormat::Oci { "oci-archive" } else { "docker-archive" };
        let told = tool("skopeo", &["--insecure-policy", "inspect", &format!("{kind}:{}", file.display())]);
        assert!(told.contains("amd64"), "{told}");
    }
    let missing = bed.store.export(&sha(b"x"), "x", ArchiveFormat::Oci, &mut Vec::new()).unwrap_err();
    assert!(missing.message.contains("is not complete in this server's image store"), "{missing}");
}
