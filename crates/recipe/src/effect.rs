//! What a step does, with everything known: what an executor carries out.

use crate::{instruction::Network, mode::Mode, mount::Sharing, plan::StageId};
use serde::{Deserialize, Serialize};

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A command runs, and its changes become a layer.
    Run(Run),
    /// Files are copied, and become a layer.
    Copy(Copied),
    /// Files are copied or fetched, and become a layer.
    Add(Added),
    /// A directory is made if it is missing, with its parents, and becomes a layer.
    Workdir(Workdir),
    /// Only the configuration has changed.
    Metadata,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Program and words.
    pub argv: Vec<String>,
    /// `NAME=value`: of the image, and the arguments of the build.
    pub env: Vec<String>,
    /// Proxies that were passed to the build but not asked for by name. They are not part of what the step is.
    pub proxies: Vec<String>,
    /// Whom it runs as; empty for root.
    pub user: String,
    /// Where it runs, absolute.
    pub workdir: String,
    /// What is only there while it runs, in order.
    pub mounts: Vec<Mount>,
    /// Scripts that stand below the instruction, to be there, and nothing else at their paths, while it runs.
    pub files: Vec<Script>,
    /// What it can reach.
    pub network: Network,
}

/// A file that is only there while a command runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Absolute. It can be executed and read by all, and not written.
    pub path: String,
    /// What is in it.
    pub content: String,
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// What was sent with the build, without what `.dockerignore` hides.
    Context,
    /// A stage of this plan, when it is complete.
    Stage(StageId),
    /// An image, by its normalised name.
    Image(String),
    /// Nothing.
    Scratch,
}

/// What is only there while a command runs. Targets are absolute, sources relative to their origin's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mount {
    /// Files from elsewhere. What is written into it is gone afterwards.
    Bind {
        /// From where.
        from: Origin,
        /// Which; `.` for all.
        source: String,
        /// Where.
        target: String,
        /// Can it be written?
        read_only: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name.
        id: String,
        /// Where.
        target: String,
        /// What it begins with: nothing, when this is [`Origin::Scratch`].
        from: Origin,
        /// Which part of that.
        source: String,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Can it be written?
        read_only: bool,
        /// Permissions, owner and group, when it is made.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Owner's group.
        gid: u32,
    },
    /// A secret.
    Secret {
        /// Its name.
        id: String,
        /// The file it becomes.
        target: Option<String>,
        /// The variable it becomes.
        env: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// Permissions of the file.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Owner's group.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Where.
        target: String,
        /// Most bytes.
        size: Option<u64>,
    },
}

/// Where copied files go, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Absolute. Ends in a slash when it can only be a directory.
    pub path: String,
    /// `user`, `user:group`, by name or number; a group that is missing has the user's number. Nothing: root.
    pub owner: Option<String>,
    /// What becomes of permissions. Nothing: they stay.
    pub mode: Option<Mode>,
    /// The layer does not depend on what lies below: the cache key of the step needs no parent.
    pub link: bool,
    /// Patterns of what is left out; see [`Destination::ignore`].
    pub excludes: Vec<String>,
}

impl Destination {
    /// What is left out. Paths are seen from the directory that is copied; a file that is copied is its name.
    pub fn ignore(&self) -> crate::Ignore {
        // They have been read once already, so none is refused here.
        crate::Ignore::of(&self.excludes).unwrap_or_default()
    }
}

/// What is copied: a path or a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Relative to the origin's root, `.` for all of it. Match it with [`Source::matches`].
    pub path: String,
    /// With `--parents`: the directory below which directories are kept, `.` for the root. Without: nothing.
    pub keep_below: Option<String>,
}

impl Source {
    /// Whether this source means a path, relative to the same root. Of a directory, the content is copied; with `--parents`
    /// `**` reaches over slashes, and directories are kept.
    pub fn matches(&self, path: &str) -> bool {
        let pattern = if self.keep_below.is_some() {
            crate::glob::Pattern::deep(&self.path)
        } else {
            crate::glob::Pattern::flat(&self.path)
        };
        pattern.is_ok_and(|pattern| pattern.matches(path))
    }

    /// Whether it may mean several paths, or none, without that being wrong.
    pub fn is_pattern(&self) -> bool {
        crate::glob::is_pattern(&self.path)
    }
}

/// A file that stands below the instruction, with permissions 644.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inline {
    /// Its name, without directories.
    pub name: String,
    /// What is in it.
    pub content: String,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// From where.
    pub from: Origin,
    /// What, in order.
    pub sources: Vec<Source>,
    /// Files that stand below the instruction, after the sources.
    pub inline: Vec<Inline>,
    /// Where to.
    pub to: Destination,
}

/// `ADD`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// What of the context, in order.
    pub sources: Vec<Source>,
    /// Whether sources that are archives are unpacked instead of copied.
    pub unpack: bool,
    /// What is fetched.
    pub urls: Vec<Url>,
    /// Repositories that are cloned.
    pub repositories: Vec<Repository>,
    /// Files that stand below the instruction.
    pub inline: Vec<Inline>,
    /// Where to.
    pub to: Destination,
}

/// A file that is fetched, with permissions 600 unless the destination says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Url {
    /// `http://…` or `https://…`.
    pub url: String,
    /// What it is called in a directory.
    pub name: String,
    /// `sha256:…` it must have.
    pub checksum: Option<String>,
    /// Whether it is unpacked if it is an archive.
    pub unpack: bool,
}

/// A repository of git.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// As git takes it.
    pub url: String,
    /// Branch, tag or commit; the default branch when nothing is said.
    pub reference: Option<String>,
    /// Only this directory of it.
    pub directory: Option<String>,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// The commit it must be.
    pub checksum: Option<String>,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workdir {
    /// Absolute.
    pub path: String,
    /// Whose it is if it is made; empty for root.
    pub owner: String,
}

impl Effect {
    /// A text that is the same for steps that do the same: with the key of what lies below and the digests of what is copied or
    /// mounted, it makes the key of the step. Nothing for a step that makes no layer: it changes no key either.
    ///
    /// Where files come from is not in it, for their digests say more; nor are proxies.
    pub fn cache_text(&self) -> Option<String> {
        let mut known = self.clone();
        match &mut known {
            Self::Metadata => return None,
            Self::Run(run) => {
                run.proxies.clear();
                for mount in &mut run.mounts {
                    if let Mount::Bind { from, .. } | Mount::Cache { from, .. } = mount {
                        *from = Origin::Scratch;
                    }
                }
            }
            Self::Copy(copied) => copied.from = Origin::Scratch,
            Self::Add(_) | Self::Workdir(_) => {}
        }
        // JSON of plain values cannot fail; should it ever, the other text is as good.
        Some(serde_json::to_string(&known).unwrap_or_else(|_| format!("{known:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Options, Plan, Platform, StageState, parse};
    use insta::assert_snapshot;

    /// What the last stage of a file does.
    fn effects(text: &str, passed: &[(&str, &str)]) -> Vec<Effect> {
        let mut options = Options::new(Platform::linux("amd64"));
        options.build_args = passed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let plan = Plan::of(&parse(text).unwrap(), &options).unwrap();
        let mut state = StageState::begin(&plan, plan.stages.last().unwrap(), Config::default()).unwrap();
        state.instructions().iter().map(|instruction| state.step(instruction).unwrap()).collect()
    }

    fn cache_text(text: &str, passed: &[(&str, &str)]) -> String {
        effects(text, passed).pop().and_then(|effect| effect.cache_text()).unwrap()
    }

    #[test]
    fn cache_texts_are_stable() {
        assert_snapshot!(cache_text("FROM x\nENV A=1\nRUN --mount=target=/src make", &[]), @r#"{"run":{"argv":["/bin/sh","-c","make"],"env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=1"],"proxies":[],"user":"","workdir":"/","mounts":[{"bind":{"from":"scratch","source":".","target":"/src","read_only":true}}],"files":[],"network":"default"}}"#);
        assert_snapshot!(cache_text("FROM x\nCOPY --chmod=g+w --exclude=*.md a b /to/", &[]), @r#"{"copy":{"from":"scratch","sources":[{"path":"a","keep_below":null},{"path":"b","keep_below":null}],"inline":[],"to":{"path":"/to/","owner":null,"mode":{"symbolic":[{"who":2,"change":"+","what":"w"}]},"link":false,"excludes":["*.md"]}}}"#);
        assert_snapshot!(cache_text("FROM x\nADD --unpack=false <<E https://example.com/a /to/\n$A\nE\n", &[]), @r#"{"add":{"sources":[],"unpack":false,"urls":[{"url":"https://example.com/a","name":"a","checksum":null,"unpack":false}],"repositories":[],"inline":[{"name":"E","content":"\n"}],"to":{"path":"/to/","owner":null,"mode":null,"link":false,"excludes":[]}}}"#);
        assert_snapshot!(cache_text("FROM x\nWORKDIR /a", &[]), @r#"{"workdir":{"path":"/a","owner":""}}"#);
    }

    #[test]
    fn what_makes_a_step_another() {
        let run = "FROM x\nARG a\nRUN make";
        assert_ne!(cache_text(run, &[("a", "1")]), cache_text(run, &[("a", "2")]), "an argument is an input of commands");
        assert_ne!(cache_text(run, &[]), cache_text("FROM x\nUSER me\nRUN make", &[]));
        assert_ne!(cache_text("FROM x\nCOPY a /b", &[]), cache_text("FROM x\nADD a /b", &[]));
        assert_ne!(cache_text("FROM x\nCOPY a /b", &[]), cache_text("FROM x\nCOPY a /b/", &[]));
    }

    #[test]
    fn what_does_not() {
        let run = "FROM x\nRUN make";
        assert_eq!(cache_text(run, &[]), cache_text(run, &[("HTTP_PROXY", "http://proxy")]), "proxies");
        assert_eq!(cache_text(run, &[]), cache_text("FROM x\nLABEL a=b\nEXPOSE 80\n  run   make", &[]), "metadata, spelling");
        let (from_image, from_stage) = ("FROM a\nCOPY --from=b x /y", "FROM q AS b\nFROM a\nCOPY --from=b x /y");
        assert_eq!(cache_text(from_image, &[]), cache_text(from_stage, &[]), "origins, whose digests say more");
    }

    #[test]
    fn effects_survive_json() {
        let all = effects(
            "FROM x\nWORKDIR /a\nCOPY --chmod=u+x --parents a/./b .\nADD https://example.com/a git@example.com:a <<E /x/\nE\n\
             RUN --mount=type=cache,target=/c --mount=type=secret,id=s --mount=type=tmpfs,target=/t <<E\n#!/bin/sh\nE\nUSER me",
            &[],
        );
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Effect>>(&json).unwrap(), all);
    }

    #[test]
    fn sources_match_paths() {
        let sources = |text: &str| match effects(text, &[]).pop() {
            Some(Effect::Copy(copied)) => (copied.sources, copied.to.ignore()),
            _ => unreachable!("a copy"),
        };
        let (flat, without) = sources("FROM x\nCOPY --exclude=*.md --exclude=!keep.md src/*.c a /to/");
        assert!(flat[0].matches("src/a.c") && !flat[0].matches("src/x/a.c") && flat[0].is_pattern());
        assert!(flat[1].matches("a") && !flat[1].matches("a/b") && !flat[1].is_pattern());
        assert!(without.ignores("a.md") && !without.ignores("keep.md") && !without.ignores("x/a.md"));
        let (deep, _) = sources("FROM x\nCOPY --parents ./src/**/*.c /to/");
        assert!(deep[0].matches("src/a.c") && deep[0].matches("src/x/y/a.c"));
    }
}
