//! Inputs to begin with, made rather than kept: archives and compressed layers are no text, and digests are long.
//!
//! What can be read as text lies in `seeds/`, and the catalogue's own files are seeds as they are.

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::{env, fs, io, io::Write as _, path::PathBuf};
use tar::{Builder, EntryType, Header};

/// The directory that seeds are written to, if it is set.
const DIRECTORY: &str = "FUZZ_SEEDS";

/// Writes the seeds that `made` makes, one file each, named by their number. Before libFuzzer looks into the directory.
pub fn write(made: fn() -> io::Result<Vec<Vec<u8>>>) {
    let Some(directory) = env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let written = made().and_then(|seeds| {
        fs::create_dir_all(&directory)?;
        seeds.iter().enumerate().try_for_each(|(number, seed)| fs::write(directory.join(number.to_string()), seed))
    });
    if let Err(error) = written {
        panic!("cannot write seeds to {}: {error}", directory.display());
    }
}

/// Every form that the walker knows, and what must be refused.
pub fn archives() -> io::Result<Vec<Vec<u8>>> {
    Ok(vec![plain()?, long_names()?, pax()?, links()?, whiteouts()?, devices()?, sparse(), climbing()?, Vec::new()])
}

/// The same archives, compressed each way; some of them twice, which is no archive.
pub fn layers() -> io::Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for archive in [plain()?, pax()?, vec![0; 1 << 20]] {
        let gzip = gzip(&archive)?;
        seeds.push([&gzip[..], &gzip[..]].concat());
        seeds.push(zstd::encode_all(&gzip[..], 1)?);
        seeds.push(gzip);
        seeds.push(zstd::encode_all(&archive[..], 3)?);
    }
    seeds.extend([plain()?, b"\xfd7zXZ\0".to_vec(), b"BZh9".to_vec()]);
    Ok(seeds)
}

/// Manifests, indexes and configurations as OCI's and Docker's tools write them.
pub fn manifests() -> io::Result<Vec<Vec<u8>>> {
    let digest = |digit: char| format!("sha256:{}", digit.to_string().repeat(64));
    let descriptor = |kind: &str, digit: char| json!({"mediaType": kind, "digest": digest(digit), "size": 7});
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let config = descriptor("application/vnd.oci.image.config.v1+json", '0');
    let platform = |architecture: &str| {
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", '3');
        entry["platform"] = json!({"architecture": architecture, "os": "linux", "variant": "v8"});
        entry
    };
    let documents: [Value; 7] = [
        json!({"schemaVersion": 2, "config": config, "layers": [descriptor(layer, '1'), descriptor(layer, '2')]}),
        json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": descriptor("application/vnd.docker.container.image.v1+json", 'a'),
            "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", 'b')], "annotations": null}),
        json!({"schemaVersion": 2, "manifests": [platform("amd64"), platform("arm64")], "annotations": {"a": "b"}}),
        json!({"schemaVersion": 2, "manifests": [descriptor("x", '4')]}),
        json!({"schemaVersion": 2, "config": config, "layers": null, "artifactType": "a/b",
            "subject": descriptor("application/vnd.oci.image.manifest.v1+json", '5')}),
        json!({"architecture": "amd64", "os": "linux", "config": {"User": "1000:1000", "ExposedPorts": {"80/tcp": {}},
            "Env": ["PATH=/bin", "A="], "Entrypoint": ["/a"], "Cmd": ["b"], "Volumes": {"/data": {}}, "WorkingDir": "/srv",
            "Labels": {"roost.kind": "system"}, "StopSignal": "SIGQUIT"},
            "rootfs": {"type": "layers", "diff_ids": [digest('6')]}, "history": [{"created_by": "x", "empty_layer": true}]}),
        json!({"config": {"Env": null, "Cmd": null, "Labels": null}, "rootfs": {"type": "layers", "diff_ids": null}}),
    ];
    documents.iter().map(|document| serde_json::to_vec(document).map_err(io::Error::other)).collect()
}

/// Names and paths, right and wrong.
pub fn references() -> io::Result<Vec<Vec<u8>>> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let with = |before: &str| format!("{before}{digest}");
    let texts = [
        "web".to_owned(),
        "debian/bookworm".to_owned(),
        "127.0.0.1:5000/team/nginx:1.29".to_owned(),
        "[::1]:5000/a__b/c-d.e:Latest_1".to_owned(),
        "x:y:z".to_owned(),
        "../x//y".to_owned(),
        with("registry.example.com/web@"),
        with("web:1@"),
        "/v2/_catalog".to_owned(),
        "team/web/tags/list".to_owned(),
        "team/web/manifests/1.0".to_owned(),
        with("team/web/manifests/").replace(':', "%3A"),
        with("web/blobs/"),
        "web/blobs/uploads/".to_owned(),
        "web/blobs/uploads/00ff".to_owned(),
        with("web/referrers/"),
    ];
    Ok(texts.into_iter().map(String::into_bytes).collect())
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1_700_000_000);
    header
}

type Archive = Builder<Vec<u8>>;

fn made(make: impl FnOnce(&mut Archive) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    make(&mut archive)?;
    archive.into_inner()
}

fn file(archive: &mut Archive, path: &str, data: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(EntryType::Regular, data.len() as u64), path, data)
}

fn plain() -> io::Result<Vec<u8>> {
    made(|archive| {
        archive.append_data(&mut header(EntryType::Directory, 0), "bin/", &b""[..])?;
        file(archive, "bin/tool", b"hello")?;
        file(archive, "bin/more", &[7; 600])?;
        file(archive, "empty", b"")
    })
}

fn long_names() -> io::Result<Vec<u8>> {
    made(|archive| {
        let long = format!("{}/end", "d".repeat(120));
        file(archive, &long, b"x")?;
        archive.append_link(&mut header(EntryType::Symlink, 0), "link", &long)
    })
}

fn pax() -> io::Result<Vec<u8>> {
    made(|archive| {
        let value = &b"\x01\0\0\x02\n"[..];
        archive.append_pax_extensions([
            ("mtime", &b"-12.5"[..]),
            ("path", b"renamed"),
            ("linkpath", b"to"),
            ("uid", b"70000"),
            ("gid", b"70001"),
            ("size", b"3"),
            ("SCHILY.xattr.security.capability", value),
            ("SCHILY.xattr.user.a", b"b"),
        ])?;
        file(archive, "short", b"abc")
    })
}

fn links() -> io::Result<Vec<u8>> {
    made(|archive| {
        file(archive, "usr/a", b"a")?;
        archive.append_link(&mut header(EntryType::Symlink, 0), "lib", "usr/lib")?;
        archive.append_link(&mut header(EntryType::Link, 0), "b", "usr/a")
    })
}

fn whiteouts() -> io::Result<Vec<u8>> {
    made(|archive| ["etc/.wh.passwd", "var/.wh..wh..opq", ".wh..wh.plnk"].iter().try_for_each(|name| file(archive, name, b"")))
}

fn devices() -> io::Result<Vec<u8>> {
    made(|archive| {
        let mut null = header(EntryType::Char, 0);
        null.set_device_major(1)?;
        null.set_device_minor(3)?;
        archive.append_data(&mut null, "dev/null", &b""[..])?;
        archive.append_data(&mut header(EntryType::Fifo, 0), "run/pipe", &b""[..])
    })
}

/// Names that the builder would not write.
fn climbing() -> io::Result<Vec<u8>> {
    made(|archive| {
        for name in [&b"../../etc/passwd"[..], b"/etc/passwd", b"a/./../..", b"./"] {
            let mut raw = header(EntryType::Regular, 1);
            for (to, from) in raw.as_old_mut().name.iter_mut().zip(name) {
                *to = *from;
            }
            raw.set_cksum();
            archive.append(&raw, &b"x"[..])?;
        }
        Ok(())
    })
}

/// A file with a hole in the middle and one at the end.
fn sparse() -> Vec<u8> {
    let mut header = header(EntryType::GNUSparse, 522);
    if let Some(gnu) = header.as_gnu_mut() {
        for (to, from) in gnu.name.iter_mut().zip(b"disk") {
            *to = *from;
        }
        for (piece, (offset, length)) in gnu.sparse.iter_mut().zip([(0u64, 512u64), (1 << 20, 10), (1 << 21, 0)]) {
            piece.set_offset(offset);
            piece.set_length(length);
        }
        gnu.set_real_size(1 << 21);
    }
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.resize(archive.len() + 1024 + 1024, 0);
    archive
}
