//! `RUN`: the command, what surrounds it, and its mounts.

use super::StageState;
use crate::{
    effect::{Effect, Mount, Origin, Run, Script},
    error::Problem,
    expand,
    instruction::{CommandLine, Running, Verb},
    mount::{self, Asked, Type},
    path,
    plan::PROXIES,
    text::heredoc,
};
use std::cell::Cell;

/// Where scripts that stand below an instruction are while it runs; the same place as Docker's, for they can see it.
const SCRIPTS: &str = "/dev/pipes";
const CACHE_MODE: u32 = 0o755;
const SECRET_MODE: u32 = 0o400;
const SECRETS: &str = "/run/secrets";

impl StageState {
    pub(super) fn run(&mut self, running: &Running) -> Result<Effect, Problem> {
        let (argv, files) = self.command(running);
        let mounts = running.mounts.iter().map(|text| self.mount(text)).collect::<Result<_, _>>()?;
        Ok(Effect::Run(Run {
            argv,
            env: self.environment(),
            proxies: self.proxies(),
            user: self.config.user.clone(),
            workdir: self.config.working_dir.clone(),
            mounts,
            files,
            network: running.network,
        }))
    }

    /// A heredoc that is the whole command is a script, or text for the shell; others are left to the shell.
    fn command(&self, running: &Running) -> (Vec<String>, Vec<Script>) {
        let CommandLine::Shell(line) = &running.line else { return (self.argv(&running.line), Vec::new()) };
        match running.heredocs.as_slice() {
            [] => (self.in_shell(line), Vec::new()),
            [first, ..] if heredoc::announced(line).is_some() => {
                let content = first.chomped();
                if !content.starts_with("#!") {
                    return (self.in_shell(&content), Vec::new());
                }
                let name = if first.name.contains('/') { "script" } else { &first.name };
                let path = format!("{SCRIPTS}/{name}");
                (vec![path.clone()], vec![Script { path, content }])
            }
            several => {
                let mut text = line.clone();
                for heredoc in several {
                    text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
                }
                (self.in_shell(&text), Vec::new())
            }
        }
    }

    /// Variables of the image, then arguments that no variable of the image hides.
    fn environment(&self) -> Vec<String> {
        let argument = |(name, value): (&String, &Option<String>)| {
            let value = value.as_ref().filter(|_| !self.variables.contains_key(name))?;
            Some(format!("{name}={value}"))
        };
        self.config.env.iter().cloned().chain(self.arguments.iter().filter_map(argument)).collect()
    }

    /// Proxies that were passed and that nothing declares. Programs look for either spelling, so both are set.
    fn proxies(&self) -> Vec<String> {
        let one = |name: &&str| {
            if self.variables.contains_key(*name) || self.arguments.contains_key(*name) {
                return None;
            }
            let other = if name.ends_with('Y') { name.to_ascii_lowercase() } else { name.to_ascii_uppercase() };
            let value = self.scope.passed.get(*name).or_else(|| self.scope.passed.get(&other))?;
            Some(format!("{name}={value}"))
        };
        PROXIES.iter().filter_map(one).collect()
    }

    /// What a command or a copy takes files from.
    pub(super) fn origins(&self, verb: &Verb) -> Result<Vec<Origin>, Problem> {
        match verb {
            Verb::Copy(copying) => copying.from.iter().map(|name| self.scope.origin("COPY --from", name)).collect(),
            Verb::Run(running) => {
                let names = running.mounts.iter().map(|text| mount::from(text)).collect::<Result<Vec<_>, _>>()?;
                names.iter().flatten().map(|name| self.scope.origin("RUN --mount from", name)).collect()
            }
            _ => Ok(Vec::new()),
        }
    }

    fn mount(&mut self, text: &str) -> Result<Mount, Problem> {
        let spent = Cell::new(0);
        let expand = |value: &str| {
            let value = expand::word(value, self.scope.escape, &|name| self.variable(name))?;
            spent.set(spent.get() + value.len());
            Ok(value)
        };
        let asked = mount::read(text, &expand)?;
        self.spend(spent.get())?;
        let from = match (&asked.from, asked.kind) {
            (Some(name), _) => self.scope.origin("RUN --mount from", name)?,
            (None, Type::Cache) => Origin::Scratch,
            (None, _) => Origin::Context,
        };
        match asked.kind {
            Type::Bind => {
                let (source, target, read_only) = (source(&from, &asked)?, self.mount_target(&asked)?, asked.read_only);
                Ok(Mount::Bind { from, source, target, read_only })
            }
            Type::Cache => self.cache(from, asked),
            Type::Tmpfs => Ok(Mount::Tmpfs { target: self.mount_target(&asked)?, size: asked.size }),
            Type::Secret => Ok(self.secret(asked)),
        }
    }

    fn cache(&self, from: Origin, asked: Asked) -> Result<Mount, Problem> {
        let target = self.mount_target(&asked)?;
        Ok(Mount::Cache {
            source: source(&from, &asked)?,
            target,
            from,
            id: asked.id.unwrap_or_else(|| path::clean(asked.target.as_deref().unwrap_or_default())),
            sharing: asked.sharing,
            read_only: asked.read_only,
            mode: asked.mode.unwrap_or(CACHE_MODE),
            uid: asked.uid.unwrap_or_default(),
            gid: asked.gid.unwrap_or_default(),
        })
    }

    fn secret(&self, asked: Asked) -> Mount {
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let id = asked.id.or(asked.source).unwrap_or_else(|| last(asked.target.as_deref().unwrap_or_default()));
        let default = || asked.env.is_none().then(|| format!("{SECRETS}/{}", last(&id)));
        let target =
            asked.target.or_else(default).map(|target| path::clean(&path::from_directory(&self.config.working_dir, &target)));
        Mount::Secret {
            target,
            env: asked.env,
            required: asked.required,
            mode: asked.mode.unwrap_or(SECRET_MODE),
            uid: asked.uid.unwrap_or_default(),
            gid: asked.gid.unwrap_or_default(),
            id,
        }
    }

    fn mount_target(&self, asked: &Asked) -> Result<String, Problem> {
        let target = path::clean(&path::from_directory(&self.config.working_dir, asked.target.as_deref().unwrap_or_default()));
        if target == "/" { Err(Problem::MountRoot) } else { Ok(target) }
    }
}

/// The source below its origin's root; in a stage or an image nothing can climb above it, as nothing can there.
fn source(from: &Origin, asked: &Asked) -> Result<String, Problem> {
    let text = asked.source.as_deref().unwrap_or_default();
    match from {
        Origin::Context => crate::parse::files::in_context("RUN --mount source", text),
        _ => Ok(path::rooted(text)),
    }
}
