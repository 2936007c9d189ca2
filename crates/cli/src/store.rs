//! The catalogue of this machine: what is compiled in, and root's own files beside it.

use api::{Error, Result};
use catalogue::{Catalogue, Problems};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where a machine's own apps are, a file each.
const FOLDER: &str = "/etc/roost/apps";
/// Largest file that is read: more is refused by the catalogue itself.
const FILE_MAX: u64 = 128 * 1024;

/// Every app there is on this machine.
pub fn catalogue() -> Result<Catalogue> {
    load(Path::new(FOLDER))
}

fn load(folder: &Path) -> Result<Catalogue> {
    let ours = Catalogue::compiled()?;
    let files = files(folder)?;
    if files.is_empty() {
        return Ok(ours);
    }
    let named: Vec<(&str, &str)> = files.iter().map(|(id, _, text)| (id.as_str(), text.as_str())).collect();
    ours.extended(named).map_err(|problems| placed(problems, &files).into())
}

/// Complaints name the files as they are on this machine.
fn placed(Problems(mut complaints): Problems, files: &[(String, PathBuf, String)]) -> Problems {
    for complaint in &mut complaints {
        if let Some((_, path, _)) = files.iter().find(|(id, _, _)| catalogue::file_name(id) == complaint.file) {
            complaint.file = path.display().to_string();
        }
    }
    Problems(complaints)
}

/// Name, path and text of each file, by name.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf, String)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::failed(format!("cannot list {}: {error}", folder.display()))),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Result<(String, PathBuf, String)> {
    let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let size = fs::metadata(&path).map(|found| found.len());
    if size.is_ok_and(|size| size > FILE_MAX) {
        return Err(Error::usage(format!("{} is too large for an app's file", path.display())));
    }
    match fs::read_to_string(&path) {
        Ok(text) => Ok((id, path, text)),
        Err(error) => Err(Error::usage(format!("{} cannot be read as text: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "title = \"Mine\"\nsummary = \"Mine\"\ncategory = \"Mine\"\nhome = \"https://mine.example.org\"\nlicence = \"MIT\"\n\
        image = \"docker.io/example/mine:1\"\nports = [\"80\"]\nknown = \"me\"\n";

    #[test]
    fn own_files_stand_beside_ours() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap(), Catalogue::compiled().unwrap());
        assert_eq!(load(&folder.path().join("none")).unwrap(), Catalogue::compiled().unwrap());
        fs::write(folder.path().join("mine.toml"), APP).unwrap();
        fs::write(folder.path().join("README"), "no app").unwrap();
        assert!(load(folder.path()).unwrap().get("mine").is_some());
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        fs::write(&path, APP.replace("80", "70000")).unwrap();
        let error = load(folder.path()).unwrap_err();
        assert_eq!(error.kind, api::Kind::Usage);
        assert_eq!(error.message, format!("{}, line 7: port 70000 is not a port: 1 to 65535", path.display()));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(load(folder.path()).unwrap_err().message.contains("cannot be read as text"));
    }
}
