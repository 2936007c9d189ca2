//! Apps made from a distribution's packages, for machines that reach nothing but its mirror: packages, files, steps.
//!
//! What is made of it is a recipe as `roost build` reads it, on top of a small system that all of them share. Pure.

use crate::app::{Check, Port};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt::Write as _};

/// Characters of an image's tag.
const TAG: usize = 12;

/// Installs what follows. Lists and archives of packages are kept beside the images, for the next app. No package starts a service while
/// it is installed (invoke-rc.d(8), `policy-rc.d`), and none waits for the disk: the image is made to last once it is whole.
const INSTALL: &str = "RUN --mount=type=cache,id=apt-lists,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=cache,id=apt-archives,target=/var/cache/apt,sharing=locked \
    printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d && \
    apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    apt-get install -qy --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Options::=--force-unsafe-io";

/// The table `[packages]` of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packages {
    /// Names of packages, beside the base.
    pub install: Vec<String>,
    /// Files by their absolute paths. What begins as a script does can be run.
    pub files: BTreeMap<String, String>,
    /// Commands of a shell, run once while the image is made, after the files are there. They need no network.
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

    /// Name of the base: the smallest system there is of the release, with its package manager.
    pub const BASE: &str = "packages/debian:bookworm";

    /// Name of the image that the recipe makes. Other packages or files give another name.
    pub fn image(&self, app: &str) -> String {
        let files = self.files.iter().flat_map(|(path, content)| [path.clone(), content.clone()]);
        let image = tag(&[self.recipe()].into_iter().chain(files).collect::<Vec<_>>());
        format!("app/{app}:{image}")
    }

    /// The recipe that makes the image.
    pub fn recipe(&self) -> String {
        let mut text = format!("FROM {}\n{INSTALL} {}\n", Self::BASE, self.install.join(" "));
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
            packages.recipe(),
            format!(
                "FROM packages/debian:bookworm\n{INSTALL} nginx-light\nCOPY --chmod=755 files/bin/start /bin/start\n\
                 COPY --chmod=644 files/etc/a.conf /etc/a.conf\nRUN echo \"hi\" > /x\nSTOPSIGNAL SIGINT\n\
                 CMD [\"/bin/start\", \"a \\\"b\\\"\"]\n"
            )
        );
        let image = packages.image("x");
        assert!(image.starts_with("app/x:") && image.len() == "app/x:".len() + TAG);
        for other in [
            Packages { files: BTreeMap::new(), ..packages.clone() },
            Packages { install: vec!["nginx".into()], ..packages.clone() },
        ] {
            assert_ne!(other.image("x"), image);
        }
        let names: Vec<String> = packages.context().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["files/bin/start", "files/etc/a.conf"]);
    }
}
