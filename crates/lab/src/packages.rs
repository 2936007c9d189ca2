//! Base systems are made from packages once and kept below the target directory, so that tests which need one are quick and do not
//! all depend on a mirror. A script in mmdebstrap's place, first in the servers' `PATH`, does it: all else is as it really is.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Keyed by what is asked for: every argument but the files that hold package sources. Kept for two weeks.
const SCRIPT: &str = r#"#!/bin/sh
set -eu
kept=@KEPT@
key=$(printf '%s\n' "$@" | grep -v '^/' | sha256sum | cut -c 1-16)
if [ -z "$(find "$kept/$key.tar.zst" -mtime -14 2>/dev/null)" ]; then
    new=$(mktemp "$kept/$key.XXXXXX")
    trap 'rm -f "$new"' EXIT
    /usr/bin/mmdebstrap "$@" > "$new"
    zstd --quiet --fast --force "$new" -o "$new.zst"
    mv "$new.zst" "$kept/$key.tar.zst"
fi
echo "I: from $kept/$key.tar.zst" >&2
exec zstd --quiet --decompress --stdout "$kept/$key.tar.zst"
"#;

/// Where archives are kept: `lab-images` beside the directory of the binaries under test.
fn kept() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.ancestors().nth(3)?.join("lab-images"))
}

/// The `PATH` that servers of a lab are to have. Without a place to keep archives it is the test's own.
pub fn path() -> OsString {
    let own = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    match kept().and_then(|kept| script(&kept).ok()) {
        Some(mut path) => {
            path.push(":");
            path.push(own);
            path
        }
        None => own,
    }
}

/// Writes the script; gives its directory.
fn script(kept: &Path) -> std::io::Result<OsString> {
    let programs = kept.join("bin");
    fs::create_dir_all(&programs)?;
    let new = programs.join(format!("mmdebstrap.{}", std::process::id()));
    fs::write(&new, SCRIPT.replace("@KEPT@", &kept.display().to_string()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    // Other tests may be running it.
    fs::rename(&new, programs.join("mmdebstrap"))?;
    Ok(programs.into_os_string())
}
