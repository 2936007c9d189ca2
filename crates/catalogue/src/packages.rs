//! Apps made from a distribution's packages, for machines that reach nothing but its mirror: packages, files, steps.
//!
//! What is made of it is a recipe as `roost build` reads it, on top of a base of packages. Pure.

use crate::app::{Check, Port};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt::Write as _};

/// Characters of an image's tag.
const TAG: usize = 12;

/// The table `[packages]` of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packages {
    /// Names of packages, beside the smallest system there is.
    pub install: Vec<String>,
    /// Files by their absolute paths. What begins as a script does can be run.
    pub files: BTreeMap<String, String>,
    /// Commands of a shell, run once while the image is made, after the files are there. They reach no network.
    pub run: Vec<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// What asks it to stop; SIGTERM when absent.
    pub stop_signal: Option<String>,
    /// Instead of the app's own.
    pub web: Option<u16>,
    /// Instead of the app's own.
    pub ports: Option<Vec<Port>>,
    /// Instead of the app's own.
    pub volumes: Option<Vec<String>>,
    /// Instead of the app's own.
    pub check: Option<Check>,
}

impl Packages {
    /// Whose packages.
    pub const DISTRIBUTION: &str = "debian";
    /// Of which release.
    pub const RELEASE: &str = "bookworm";
    /// Directory of the files in what the recipe copies from.
    const FILES: &str = "files";

    /// Names of the base with the packages, and of the image made on it. Other packages or files give other names.
    pub fn images(&self, app: &str) -> (String, String) {
        let base = tag(&[&[Self::DISTRIBUTION, Self::RELEASE].map(str::to_owned), self.install.as_slice()].concat());
        let files = self.files.iter().flat_map(|(path, content)| [path.clone(), content.clone()]);
        let image = tag(&[self.recipe(&base)].into_iter().chain(files).collect::<Vec<_>>());
        (format!("packages/{app}:{base}"), format!("app/{app}:{image}"))
    }

    /// The recipe that makes the image, on a base with the packages.
    pub fn recipe(&self, base: &str) -> String {
        let mut text = format!("FROM {base}\n");
        for (path, content) in &self.files {
            let mode = if content.starts_with("#!") { 755 } else { 644 };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "COPY --chmod={mode} {}{path} {path}", Self::FILES);
        }
        for line in &self.run {
            let _ = writeln!(text, "RUN {line}");
        }
        if let Some(signal) = &self.stop_signal {
            let _ = writeln!(text, "STOPSIGNAL {signal}");
        }
        let words: Vec<String> = self.command.iter().map(|word| format!("{word:?}")).collect();
        let _ = writeln!(text, "CMD [{}]", words.join(", "));
        text
    }

    /// What the recipe copies from: relative paths and contents.
    pub fn context(&self) -> Vec<(String, Vec<u8>)> {
        let file = |(path, content): (&String, &String)| (format!("{}{path}", Self::FILES), content.clone().into_bytes());
        self.files.iter().map(file).collect()
    }
}

/// The first digits of a digest of these texts.
fn tag(texts: &[String]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_be_bytes());
        hash.update(text.as_bytes());
    }
    hex::encode(hash.finalize()).chars().take(TAG).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_as_it_is_built() {
        let packages = Packages {
            install: vec!["nginx-light".into()],
            files: [("/etc/a.conf".to_owned(), "a\n".to_owned()), ("/bin/start".to_owned(), "#!/bin/sh\n".to_owned())].into(),
            run: vec!["echo \"hi\" > /x".into()],
            command: vec!["/bin/start".into(), "a \"b\"".into()],
            stop_signal: Some("SIGINT".into()),
            web: None,
            ports: None,
            volumes: None,
            check: None,
        };
        assert_eq!(
            packages.recipe("base:1"),
            "FROM base:1\nCOPY --chmod=755 files/bin/start /bin/start\nCOPY --chmod=644 files/etc/a.conf /etc/a.conf\n\
             RUN echo \"hi\" > /x\nSTOPSIGNAL SIGINT\nCMD [\"/bin/start\", \"a \\\"b\\\"\"]\n"
        );
        let (base, image) = packages.images("x");
        assert!(base.starts_with("packages/x:") && image.starts_with("app/x:") && image.len() == "app/x:".len() + TAG);
        let other = Packages { files: BTreeMap::new(), ..packages.clone() };
        assert!(other.images("x").0 == base && other.images("x").1 != image);
        let names: Vec<String> = packages.context().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["files/bin/start", "files/etc/a.conf"]);
    }
}
