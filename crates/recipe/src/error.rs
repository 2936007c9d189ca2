//! What can be wrong with a file, one sentence each: where, what, and what would be right.

use crate::kind::Kind;
use std::fmt;
use thiserror::Error as ThisError;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{place}: {}", api::error::sentence(problem.to_string()))]
pub struct Error {
    /// Where.
    pub place: Place,
    /// What, and what would be right.
    pub problem: Problem,
}

/// Where something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a line, counted from 1, of a file of this kind.
    Line(Kind, u32),
    /// In the file as a whole.
    Whole(Kind),
    /// In a line of `.dockerignore`.
    Ignore(u32),
}

impl Place {
    /// That this is wrong here.
    pub const fn problem(self, problem: Problem) -> Error {
        Error { place: self, problem }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(kind, line) => write!(f, "{kind} line {line}"),
            Self::Whole(kind) => write!(f, "{kind}"),
            Self::Ignore(line) => write!(f, ".dockerignore line {line}"),
        }
    }
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        Self::usage(error.to_string())
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[allow(missing_docs, reason = "each is its sentence")]
pub enum Problem {
    // The text.
    #[error("it has {size} bytes, and a file may have {max}")]
    FileTooLarge { size: usize, max: usize },
    #[error("a NUL byte stands here, which no text has")]
    Nul,
    #[error("escape={value} is not possible: write escape=\\ or escape=`")]
    BadEscape { value: String },
    #[error("the directive {name} stands here a second time: remove one")]
    RepeatedDirective { name: String },
    #[error("the heredoc {name} never ends: write {name} alone on a line below it")]
    OpenHeredoc { name: String },
    #[error("the JSON list holds {found}, which is no text: write each word in double quotes")]
    ListOfText { found: String },

    // Words and flags.
    #[error("unknown instruction {word}{hint}")]
    UnknownInstruction { word: String, hint: String },
    #[error("{instruction} says nothing: write {example}")]
    Nothing { instruction: &'static str, example: &'static str },
    #[error("{instruction} has no flags, but --{flag} stands here")]
    NoFlags { instruction: &'static str, flag: String },
    #[error("{instruction} has no flag --{flag}{hint}")]
    UnknownFlag { instruction: &'static str, flag: String, hint: String },
    #[error("{instruction} has --{flag} twice: remove one")]
    RepeatedFlag { instruction: &'static str, flag: &'static str },
    #[error("--{flag} needs a value: write --{flag}=…")]
    FlagValue { flag: &'static str },
    #[error("--{flag}={value} is neither true nor false")]
    FlagSwitch { flag: &'static str, value: String },
    #[error("{what} {value} is unknown{hint}")]
    UnknownValue { what: &'static str, value: String, hint: String },

    // Single instructions.
    #[error("FROM {rest} is not understood: write FROM image, or FROM image AS name")]
    FromWords { rest: String },
    #[error("{name} cannot be the name of a stage: begin with a letter, then letters, digits, -, _ and .")]
    StageName { name: String },
    #[error("a stage cannot be called scratch, which means no base at all: give it another name")]
    StageCalledScratch,
    #[error("{instruction} {name} has no value: write {example}")]
    NoValue { instruction: &'static str, name: String, example: &'static str },
    #[error("{instruction} {word} has no =: write every name with its value, as in A=b, and values with blanks in quotes")]
    NoEquals { instruction: &'static str, word: String },
    #[error("{instruction} {word} has no name: write it before the =")]
    NoName { instruction: &'static str, word: String },
    #[error("SHELL takes a JSON list only: write SHELL [\"/bin/bash\", \"-c\"]")]
    ShellForm,
    #[error("--security=insecure would give a build rights over the server, which Roost does not do: remove it")]
    Insecure,
    #[error("HEALTHCHECK NONE stands alone, but {rest} follows: remove it, or write HEALTHCHECK CMD {rest}")]
    HealthcheckNone { rest: String },
    #[error("--{flag}={text} is no duration: write a number with its unit, as in 30s or 1m30s")]
    Duration { flag: &'static str, text: String },
    #[error("--{flag}={text} is less than a millisecond: write 1ms or more, or 0s for the default")]
    ShortDuration { flag: &'static str, text: String },
    #[error("--retries={text} is no number: write how many failures in a row make it unhealthy, as in 3")]
    Retries { text: String },
    #[error("{word} is no port: write a number from 1 to 65535, as in 80 or 53/udp, or a range, as in 8000-8010")]
    Port { word: String },
    #[error("{text} is no signal: write a number from 1 to 64, or a name, as in SIG{near}")]
    Signal { text: String, near: &'static str },
    #[error("{text} are no permissions: write octal digits up to 7777, as in 755, or symbols, as in u=rwX,go=rX")]
    Mode { text: String },
    #[error("the ONBUILD trigger {text:?} cannot be used: {problem}")]
    Trigger { text: String, problem: Box<Problem> },
    #[error("it has to be one instruction")]
    OneTrigger,
    #[error("{word} is not possible in one")]
    NoTrigger { word: &'static str },

    // COPY and ADD.
    #[error("{instruction} {rest} has no destination: write {instruction} source destination")]
    NoDestination { instruction: &'static str, rest: String },
    #[error("{instruction} has a heredoc as its destination: write the destination last, and the heredoc before it")]
    HeredocDestination { instruction: &'static str },
    #[error("{instruction} has a heredoc whose name is not one plain word: write it like <<file.txt")]
    HeredocName { instruction: &'static str },
    #[error("COPY does not fetch {url}: write ADD {url}")]
    CopyUrl { url: String },
    #[error("{instruction} {path} leaves the build context: copy only what lies in it, or build from a directory above")]
    OutsideContext { instruction: &'static str, path: String },
    #[error("{instruction} has several sources, and {to} may be a file: write {to}/")]
    SeveralSources { instruction: &'static str, to: String },
    #[error("--checksum belongs to one URL: write one source that is a URL")]
    ChecksumSource,
    #[error("{text} is no checksum: write sha256: and 64 hexadecimal digits")]
    Checksum { text: String },

    #[error("{text} is no commit: write its hexadecimal digits")]
    Commit { text: String },

    // Mounts.
    #[error("--mount has no key {key}{hint}")]
    MountUnknownKey { key: String, text: String, hint: String },
    #[error("--mount has {key} twice: remove one")]
    MountTwice { key: &'static str },
    #[error("--mount: {key} needs a value: write {key}=…")]
    MountValue { key: &'static str },
    #[error("--mount: {key}={value} is wrong: write {right}")]
    MountNumber { key: &'static str, value: String, right: &'static str },
    #[error("--mount=type={kind} does not take {key}")]
    MountKey { key: &'static str, kind: &'static str },
    #[error("--mount cannot be at / itself: write target=/…")]
    MountRoot,
    #[error("--mount=type=secret does not say which: add id=…")]
    SecretNameless,
    #[error("--mount=type=secret has id and source, which mean the same: remove one")]
    SecretTwice,
    #[error(
        "--mount=type=ssh hands on somebody's SSH agent, which Roost does not do: mount a key as a secret, or fetch before the build"
    )]
    NoSsh,

    // Stages.
    #[error("there are more than {max} instructions")]
    TooManyInstructions { max: usize },
    #[error("there are more than {max} stages")]
    TooManySections { max: usize },
    #[error(
        "an ONBUILD trigger of the base needs the stage {name}, which is not built before: plan again with the base's triggers"
    )]
    TriggerStage { name: String },
    #[error("it has no FROM: begin with FROM and an image, or FROM scratch")]
    NoFrom,
    #[error("{word} stands before the first FROM, where only ARG may: write FROM and an image above it")]
    BeforeFrom { word: String },
    #[error("{word} stands before FROM: write FROM and an image above it")]
    RecipeBeforeFrom { word: String },
    #[error("the stage {name} stands in line {line} already: give this one another name")]
    DuplicateStage { name: String, line: u32 },
    #[error(
        "FROM {text} names no image, because a variable in it is empty: give it a default with ARG above, or pass --build-arg"
    )]
    EmptyBase { text: String },
    #[error("FROM {text} is no image: {why}")]
    BaseName { text: String, why: String },
    #[error("{text:?} is no platform: write it like linux/amd64 or linux/arm64")]
    Platform { text: String },
    #[error("{text:?} is a platform Roost does not build for: use linux/…")]
    NotLinux { text: String },
    #[error("{what}={name} is neither a stage above nor the name of an image{hint}")]
    UnknownFrom { what: &'static str, name: String, hint: String },
    #[error("{what}={number} is no stage: they are numbered from 0, and there are {count}")]
    StageNumber { what: &'static str, number: String, count: usize },
    #[error("{what} is empty: name a stage or an image")]
    EmptyFrom { what: &'static str },
    #[error("{what}={value} depends on a variable, which decides too late: write FROM {value} AS name above, and use the name")]
    VariableFrom { what: &'static str, value: String },
    #[error("the stage {name} is needed here, but stands below, in line {line}: move it above")]
    StageBelow { name: String, line: u32 },
    #[error("the stage {name} needs itself: {chain}")]
    Circle { name: String, chain: String },
    #[error("there is no stage {name}{hint}")]
    NoTarget { name: String, hint: String },

    // Expansion.
    #[error("{0}")]
    Expand(#[from] crate::expand::ExpandError),
    #[error("{instruction} {text} is empty once its variables are known: give them values")]
    EmptyValue { instruction: &'static str, text: String },
    #[error("{what} has {size} bytes once its variables are known, and may have {max}")]
    TooLong { what: &'static str, size: usize, max: usize },
    #[error("all texts up to here are longer than {max} bytes once their variables are known: make them shorter")]
    TogetherTooLong { max: usize },
    #[error("there are more than {max} variables")]
    TooManyVariables { max: usize },

    // Patterns.
    #[error("{pattern} is no pattern: {why}")]
    Pattern { pattern: String, why: &'static str },
    #[error("there are more than {max} patterns")]
    TooManyPatterns { max: usize },

    // Recipes.
    #[error("a recipe has one FROM, and another stands in line {line}: remove one")]
    SecondFrom { line: u32 },
    #[error("{word} stands here a second time, first in line {line}: remove one")]
    Twice { word: &'static str, line: u32 },
    #[error("a recipe does not say {word}: write {instead}")]
    DockerWord { word: String, instead: &'static str },
    #[error("{word} {text} is not understood: write {example}")]
    RecipeWords { word: &'static str, text: String, example: &'static str },
    #[error("CHECK {text} does not say which port, and there is no PORT: write CHECK http 8080 /path")]
    CheckPort { text: String },
    #[error("a recipe has no stages: remove AS and the name")]
    NoStages,
    #[error("the limit {name} stands here a second time: remove one")]
    LimitTwice { name: String },
    #[error("the service {name} stands here a second time: give this port another name")]
    ServiceTwice { name: String },
    #[error("{sentence}")]
    Value { sentence: String },
    #[error("START is for apps, and a system starts its own init: remove it, or enable a service with RUN")]
    StartOfSystem,
}
