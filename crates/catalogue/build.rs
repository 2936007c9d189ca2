//! Writes the list of the files in `apps`, so that adding an app is adding a file.

use std::{env, fmt::Write as _, fs, io, path::Path};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=apps");
    let mut files = Vec::new();
    for entry in fs::read_dir("apps")? {
        let path = entry?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        if let (Some("toml"), Some(id)) = (path.extension().and_then(|ending| ending.to_str()), id) {
            files.push((id, fs::canonicalize(&path)?));
        }
    }
    files.sort();
    let mut list = String::from("[\n");
    for (id, path) in files {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "({id:?}, include_str!({path:?})),");
    }
    list.push(']');
    let folder = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo gives build scripts OUT_DIR"))?;
    fs::write(Path::new(&folder).join("apps.rs"), list)
}
