//! Waiting until a change is true, with progress on standard error.

use api::{
    Error, Kind, Name, Result, path,
    plan::{RolloutState, Wanted},
    report::{Health, Phase},
    view::{ContainerView, JobView, Settled},
};
use http::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;
use wire::client::Client;

/// Where a watched thing stands.
pub enum Standing {
    /// Not there yet; how many of how many, and a word.
    Under { done: u32, of: u32, word: String },
    /// True.
    True,
    /// It will not become true.
    Never(Error),
}

/// A progress line, shown only on a terminal.
pub struct Line {
    bar: ProgressBar,
    started: std::time::Instant,
}

impl Line {
    /// Begins one.
    pub fn new(name: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix}   {msg} {bar:30.green/dim} {elapsed}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.set_prefix(name.to_owned());
        Self { bar, started: base::env::instant() }
    }

    /// Shows where it stands.
    pub fn set(&self, done: u64, of: u64, word: &str) {
        self.bar.set_length(of.max(1));
        self.bar.set_position(done);
        self.bar.set_message(word.to_owned());
    }

    /// Says something above it.
    pub fn note(&self, line: &str) {
        self.bar.suspend(|| crate::say::note(line));
    }

    /// Ends it, and says how long it took.
    pub fn end(&self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }
}

/// Follows something until it is true, will not be, or the time is over. Ctrl-C ends the watching, not the change.
pub async fn follow<T>(
    client: &Client,
    path: &str,
    (name, timeout): (&str, Duration),
    judge: impl Fn(&T) -> Standing,
) -> Result<(Option<T>, Duration)>
where
    T: serde::de::DeserializeOwned,
{
    let line = Line::new(name);
    let last = std::cell::RefCell::new(String::new());
    let watched = async {
        let mut lines = client.lines::<T>(Method::GET, path, None, &[]).await?;
        while let Some(view) = lines.next().await {
            let view = view?;
            match judge(&view) {
                Standing::True => return Ok(Some(view)),
                Standing::Never(error) => return Err(error),
                Standing::Under { done, of, word } => {
                    line.set(done.into(), of.into(), &word);
                    last.replace(word);
                }
            }
        }
        Ok(None)
    };
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(timeout, watched) => outcome.unwrap_or_else(|_| Err(late(name, timeout, last.take()))),
        _ = tokio::signal::ctrl_c() => Err(Error::failed(format!("stopped watching {name}; the change itself goes on")).hint(format!("see: roost why {name}"))),
    };
    let took = line.end();
    outcome.map(|view| (view, took))
}

/// Waits until names and routes follow what has become true, so that the next command finds it there. A server that is slow to
/// follow is named; it fails nothing, for the change itself is true.
pub async fn settled(client: &Client) {
    match client.get::<Settled>(path::SETTLED).await {
        Ok(Settled { behind }) if behind.is_empty() => {}
        Ok(Settled { behind }) => {
            let names: Vec<&str> = behind.iter().map(Name::as_str).collect();
            crate::say::note(&format!("  {} has not followed yet with names and ports", names.join(", ")));
        }
        Err(error) => crate::say::note(&format!("  whether names and ports have followed is not known: {error}")),
    }
}

/// It took too long; where it stands is part of why.
fn late(name: &str, timeout: Duration, last: String) -> Error {
    let error = Error::not_placed(format!("{name} was not there after {} s; the change itself goes on", timeout.as_secs()));
    let error = if last.is_empty() { error } else { error.detail(format!("so far: {last}")) };
    error.hint(format!("see: roost why {name}"))
}

/// Is the job as asked for?
pub fn job(view: &JobView) -> Standing {
    let count = view.spec.count;
    let rollout = view.rollout.as_ref().filter(|rollout| rollout.to == view.spec.revision);
    if let Some(rollout) = rollout {
        match rollout.state {
            RolloutState::RolledBack => {
                let why = rollout.message.clone().unwrap_or_else(|| "new instances were not healthy".to_owned());
                return Standing::Never(rolled_back(view, rollout.from, &why));
            }
            RolloutState::RollingBack => {
                return Standing::Under { done: view.running, of: count, word: "rolling back".to_owned() };
            }
            RolloutState::Running | RolloutState::Done => {}
        }
    }
    let current = |v: &&ContainerView| v.wanted == Some(Wanted::Run) && v.revision == view.spec.revision;
    let ready = view.instances.iter().filter(current).filter(|v| serves(v)).count();
    let ready = u32::try_from(ready).unwrap_or(u32::MAX);
    // After an upgrade the old instances may still be ending: nothing leads to them any more, so nobody has to wait for them.
    let settled = match rollout {
        Some(rollout) => rollout.state == RolloutState::Done,
        None => view.instances.len() == count as usize,
    };
    if ready == count && settled {
        return Standing::True;
    }
    if let (Some(waiting), true) = (view.waiting.first(), rollout.is_none()) {
        let mut error =
            Error::not_placed(format!("cannot place {} of {count} instances of {}", view.waiting.len(), view.spec.name));
        error.details.clone_from(&waiting.reasons);
        return Standing::Never(error.hint(format!("see: roost why {}/{}", view.spec.name, waiting.slot)));
    }
    if rollout.is_none()
        && let Some(failed) = view.instances.iter().find(|v| v.phase == Some(Phase::Failed))
    {
        return Standing::Never(failure(failed));
    }
    Standing::Under { done: ready.min(count), of: count, word: format!("{}/{count} healthy", ready.min(count)) }
}

fn rolled_back(view: &JobView, from: u32, why: &str) -> Error {
    let name = &view.spec.name;
    let mut error =
        Error::new(Kind::RolledBack, format!("{name} revision {}: {}", view.spec.revision, why.lines().next().unwrap_or(why)));
    error.details = why.lines().skip(1).map(str::to_owned).collect();
    error.details.push(format!("rolled back to revision {from}, {}/{} healthy", view.running, view.spec.count));
    error
}

fn serves(view: &ContainerView) -> bool {
    view.phase == Some(Phase::Running) && view.health == Some(Health::Healthy)
}

fn failure(view: &ContainerView) -> Error {
    let why = view.message.clone().unwrap_or_else(|| "it could not be started".to_owned());
    let mut error = Error::not_placed(format!("{} failed: {why}", view.name));
    if !view.last_lines.is_empty() {
        error.details.push(format!("{} last lines:", view.name));
        error.details.extend(view.last_lines.iter().map(|line| format!("  {line}")));
    }
    error.hint(format!("see: roost why {}", view.name))
}

/// Does the container run?
pub fn running(view: &ContainerView) -> Standing {
    match (view.phase, view.health) {
        (Some(Phase::Running), Some(Health::Healthy)) => Standing::True,
        (Some(Phase::Exited), _) if view.exit_code == Some(0) => Standing::True,
        (Some(Phase::Failed), _) => Standing::Never(failure(view)),
        (Some(Phase::Exited | Phase::BackOff), _) => {
            let code = view.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
            Standing::Never(Error { kind: Kind::Failed, message: format!("{} ended{code}", view.name), ..failure(view) })
        }
        (Some(Phase::Running), Some(Health::Unhealthy)) => Standing::Never(failure(view)),
        _ => Standing::Under { done: 0, of: 1, word: view.message.clone().unwrap_or_else(|| view.state.clone()) },
    }
}

/// Is the container stopped?
pub fn stopped(view: &ContainerView) -> Standing {
    match view.phase {
        Some(Phase::Exited | Phase::Failed) => Standing::True,
        None if view.state == "stopped" => Standing::True,
        _ => Standing::Under { done: 0, of: 1, word: view.state.clone() },
    }
}
