//! Instructions as values: understood, but with their variables not yet expanded.

use crate::text::heredoc::Heredoc;
use serde::{Deserialize, Serialize};

/// An instruction, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Number of its first line, from 1.
    pub first: u32,
    /// Number of its last line.
    pub last: u32,
    /// As written, with comments, continuation lines and heredocs.
    pub text: String,
    /// What it says.
    pub verb: Verb,
}

/// What an instruction says. Texts are as written, with quotes and variables in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Files from the context, archives of it unpacked, or from elsewhere.
    Add(Adding),
    /// Variables of the build.
    Arg(Vec<Argument>),
    /// What runs when nothing else is said.
    Cmd(CommandLine),
    /// Files from the context, a stage or an image.
    Copy(Copying),
    /// What runs.
    Entrypoint(CommandLine),
    /// Variables that stay in the image.
    Env(Vec<Pair>),
    /// Ports it listens on.
    Expose(Vec<String>),
    /// How its health is found out.
    Healthcheck(Healthcheck),
    /// Labels.
    Label(Vec<Pair>),
    /// Who made it.
    Maintainer(String),
    /// An instruction for those who build on the image.
    Onbuild(String),
    /// A command whose changes become a layer.
    Run(Running),
    /// What runs commands that are no JSON list.
    Shell(Vec<String>),
    /// What asks it to stop.
    StopSignal(String),
    /// Whom later commands run as.
    User(String),
    /// Directories that outlive the container.
    Volume(Vec<String>),
    /// Where later commands run.
    Workdir(String),
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Left of the `=`.
    pub name: String,
    /// Right of it.
    pub value: String,
    /// Written as `ENV name value`, without a `=`.
    pub legacy: bool,
}

/// A variable of the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it is when nobody says otherwise.
    pub default: Option<String>,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandLine {
    /// Words, run as they are.
    Exec(Vec<String>),
    /// Text for the shell.
    Shell(String),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// What runs.
    pub line: CommandLine,
    /// Text below it.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, as written; see [`crate::mount`].
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Network,
}

/// What a command can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// What the builder gives to every command.
    #[default]
    Default,
    /// Nothing.
    None,
    /// The server's own network.
    Host,
}

/// What `COPY` and `ADD` have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Paths and patterns, in order; for `ADD` also URLs.
    pub sources: Vec<String>,
    /// Files that stand below the instruction. They come after the sources.
    pub inline: Vec<Heredoc>,
    /// Where to.
    pub to: String,
    /// `--chown`.
    pub owner: Option<String>,
    /// `--chmod`.
    pub mode: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, each.
    pub excludes: Vec<String>,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copying {
    /// What and where to.
    pub files: Files,
    /// `--from`: a stage or an image, instead of the context.
    pub from: Option<String>,
    /// `--parents`: directories of the sources are kept.
    pub parents: bool,
}

/// `ADD`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adding {
    /// What and where to.
    pub files: Files,
    /// `--checksum` of the one URL.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`: archives are unpacked; local ones are unless it says no, others are not unless it says yes.
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Healthcheck {
    /// Whatever the base said, there is none.
    None,
    /// A command that exits with 0 when all is well.
    Command {
        /// What runs.
        line: CommandLine,
        /// How often, and how long.
        times: Times,
    },
}

/// How often a check is made, and how long it may take, in nanoseconds as image configurations have it; 0 where nothing was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Between two checks.
    pub interval: u64,
    /// Of one check.
    pub timeout: u64,
    /// After the start, in which failures do not count.
    pub start_period: u64,
    /// Between two checks in that time.
    pub start_interval: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}
