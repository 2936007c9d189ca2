//! Whole files: what they come to, step by step, and what is said about wrong ones.

mod awkward;
mod laws;
mod old;
mod refused;
mod stages;
mod steps;

use crate::{
    Base, Config, Dockerfile, Effect, Options, Plan, Platform, StageId, StageState,
    effect::{Added, Copied, Destination, Inline, Mount, Origin, Run, Source, Workdir},
    mode::Mode,
    parse,
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

/// Options for an ordinary build.
pub fn options() -> Options {
    Options::new(Platform::linux("amd64"))
}

/// What an image's configuration is, in these tests.
pub fn base_of(image: &str) -> Config {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match image {
        "php:latest" => Config {
            env: list(&["PATH=/php:/bin", "PHP_VERSION=8.4"]),
            entrypoint: list(&["docker-php-entrypoint"]),
            cmd: list(&["php", "-a"]),
            working_dir: "/var/www".to_owned(),
            user: "www".to_owned(),
            ..Config::default()
        },
        "onbuild:latest" => Config { on_build: list(&["COPY . /app", "RUN make -C /app"]), ..Config::default() },
        _ => Config { env: list(&["PATH=/bin"]), ..Config::default() },
    }
}

/// A file, built: every stage with its steps, and the configuration of the last. Or what is said about it.
pub fn show(text: &str) -> String {
    show_with(text, &options())
}

/// The same, with options.
pub fn show_with(text: &str, options: &Options) -> String {
    match parse(text) {
        Ok(file) => show_file(&file, options),
        Err(error) => error.to_string(),
    }
}

/// The same, of a file that has been read.
pub fn show_file(file: &Dockerfile, options: &Options) -> String {
    build(file, options).unwrap_or_else(|error| error.to_string())
}

fn build(file: &Dockerfile, options: &Options) -> Result<String, crate::Error> {
    let plan = Plan::of(file, options)?;
    let mut text = String::new();
    let mut complete: BTreeMap<StageId, StageState> = BTreeMap::new();
    for stage in &plan.stages {
        let mut state = match &stage.base {
            Base::Image(name) => StageState::begin(&plan, stage, base_of(name))?,
            Base::Scratch => StageState::begin(&plan, stage, Config::default())?,
            Base::Stage(base) => StageState::begin_on(&plan, stage, complete.get(base).unwrap())?,
        };
        if plan.stages.len() > 1 {
            writeln!(text, "{}: {:?}", stage.id, stage.base).unwrap();
        }
        for instruction in state.instructions() {
            let effect = state.step(&instruction)?;
            if effect != Effect::Metadata {
                writeln!(text, "{}", Shown(&effect)).unwrap();
            }
            assert_eq!(effect.cache_text().is_none(), effect == Effect::Metadata);
        }
        complete.insert(stage.id, state);
    }
    let state = complete.get(&plan.target).unwrap();
    writeln!(text, "{}", serde_json::to_string(state.config()).unwrap()).unwrap();
    if let Some(author) = state.author() {
        writeln!(text, "by {author}").unwrap();
    }
    Ok(text)
}

/// An effect in one line, as far as it is not what one expects anyway.
struct Shown<'a>(&'a Effect);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Effect::Run(run) => shown_run(run, f),
            Effect::Copy(Copied { from, sources, inline, to }) => {
                write!(f, "copy")?;
                if *from != Origin::Context {
                    write!(f, " from {from:?}")?;
                }
                shown_files(sources, inline, to, f)
            }
            Effect::Add(added) => shown_add(added, f),
            Effect::Workdir(Workdir { path, owner }) if owner.is_empty() => write!(f, "workdir {path}"),
            Effect::Workdir(Workdir { path, owner }) => write!(f, "workdir {path} of {owner}"),
            Effect::Metadata => write!(f, "metadata"),
        }
    }
}

fn shown_run(run: &Run, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "run {}", serde_json::to_string(&run.argv).unwrap())?;
    for (what, value) in [("as", &run.user), ("in", &run.workdir)] {
        if !value.is_empty() && value != "/" {
            write!(f, " {what} {value}")?;
        }
    }
    let env: Vec<&str> = run.env.iter().map(String::as_str).filter(|entry| !entry.starts_with("PATH=")).collect();
    for (what, list) in [("with", &env), ("proxies", &run.proxies.iter().map(String::as_str).collect())] {
        if !list.is_empty() {
            write!(f, " {what} {}", list.join(" "))?;
        }
    }
    if run.network != crate::instruction::Network::Default {
        write!(f, " network {:?}", run.network)?;
    }
    for mount in &run.mounts {
        match mount {
            Mount::Secret { mode, .. } | Mount::Cache { mode, .. } => write!(f, "\n  {mode:o} {mount:?}")?,
            mount => write!(f, "\n  {mount:?}")?,
        }
    }
    run.files.iter().try_for_each(|file| write!(f, "\n  {file:?}"))
}

fn shown_files(sources: &[Source], inline: &[Inline], to: &Destination, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for Source { path, keep_below } in sources {
        match keep_below {
            Some(below) => write!(f, " {path} below {below}")?,
            None => write!(f, " {path}")?,
        }
    }
    for Inline { name, content } in inline {
        write!(f, " {name}={content:?}")?;
    }
    write!(f, " -> {}", to.path)?;
    if let Some(owner) = &to.owner {
        write!(f, " owner {owner}")?;
    }
    match &to.mode {
        Some(Mode::Octal(bits)) => write!(f, " mode {bits:o}")?,
        Some(mode) => write!(f, " mode 644 to {:o}", mode.apply(0o644, false))?,
        None => {}
    }
    if to.link {
        write!(f, " link")?;
    }
    if to.excludes.is_empty() { Ok(()) } else { write!(f, " without {}", to.excludes.join(" ")) }
}

fn shown_add(added: &Added, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "add")?;
    if !added.sources.is_empty() {
        write!(f, "{}", if added.unpack { " unpacked" } else { " packed" })?;
    }
    for url in &added.urls {
        write!(f, " {url:?}")?;
    }
    for repository in &added.repositories {
        write!(f, " {repository:?}")?;
    }
    shown_files(&added.sources, &added.inline, &added.to, f)
}
