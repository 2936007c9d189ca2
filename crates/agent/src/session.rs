//! The session with the manager: says hello, follows assignments, sends reports and heartbeats, and begins again.

use crate::{Options, engine::Engine};
use api::{
    assignment::Assignment,
    error::{Error, Kind, Result},
    path::{AGENT_ASSIGNMENT, AGENT_HELLO, AGENT_REPORT},
    report::Report,
};
use base::backoff::Backoff;
use http::Method;
use serde::de::IgnoredAny;
use std::time::Duration;
use wire::{
    client::{Client, Lines},
    heartbeat::{HEADER, Key, Sender},
};

/// First and longest pause before the manager is tried again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A session that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(2);
/// Changes are gathered for so long before they are reported.
const GATHER: Duration = Duration::from_millis(3);
/// A report is sent at least this often, changed or not.
const REPORT_PERIOD: Duration = Duration::from_secs(5);
/// The manager has so long to take a report, or it is taken for gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A manager that says for so long that this server is no member means it.
const REFUSED: Duration = Duration::from_secs(3);

/// Everything a session needs.
pub struct Session {
    /// Whom to speak with, as whom.
    pub options: Options,
    /// What makes it true.
    pub engine: Engine,
}

impl Session {
    /// Session after session, for ever.
    pub async fn run(self) -> std::result::Result<(), String> {
        let client = Client::tls(self.options.manager, &self.options.identity).map_err(|error| error.message)?.within(PATIENCE);
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        // Kept between sessions: a stumble of the API is no death of the server.
        let mut heartbeat = None;
        let (mut refused, mut said) = (None, String::new());
        loop {
            let begun = base::env::timer();
            let Err(error) = self.once(&client, &mut heartbeat).await;
            let now = base::env::timer();
            if error.message != said {
                tracing::warn!(%error, "session with the manager ended");
                said.clone_from(&error.message);
            }
            // One refusal may be the slip of a manager that has just started.
            let since = *refused.get_or_insert(now);
            if error.kind != Kind::NotAllowed {
                refused = None;
            } else if self.options.forget_on_refusal && now.saturating_duration_since(since) >= REFUSED {
                self.engine.forget().await?;
            }
            if now.saturating_duration_since(begun) >= GOOD {
                backoff.reset();
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn once(&self, client: &Client, heartbeat: &mut Option<Sender>) -> Result<std::convert::Infallible> {
        let _: IgnoredAny = client.send(Method::POST, AGENT_HELLO, &self.options.facts).await?;
        let key = Key::random();
        let path = format!("{AGENT_ASSIGNMENT}?generation={}", self.engine.generation());
        let headers = [(HEADER, key.to_hex())];
        let asked = client.lines::<Assignment>(Method::GET, &path, None, &headers);
        let lines = tokio::time::timeout(PATIENCE, asked).await;
        let lines = lines.map_err(|_| Error::unreachable("the manager does not begin to tell assignments"))??;
        *heartbeat = Some(Sender::start(self.options.server.clone(), self.options.manager, key));
        tracing::info!(manager = %self.options.manager, "session with the manager");
        tokio::select! {
            ended = follow(&self.engine, lines) => ended,
            failed = report(&self.engine, client) => failed,
        }
    }
}

/// Takes assignments as they come.
async fn follow(engine: &Engine, mut lines: Lines<Assignment>) -> Result<std::convert::Infallible> {
    while let Some(told) = lines.next().await {
        // A refusal is in the report for people to see; the next assignment may be better.
        if let Err(refused) = engine.assign(told?).await {
            tracing::warn!(%refused, "assignment");
        }
    }
    Err(Error::unreachable("the manager ended the stream of assignments"))
}

/// Sends the whole report at once, then whenever it differs, one at a time.
async fn report(engine: &Engine, client: &Client) -> Result<std::convert::Infallible> {
    let mut wakes = engine.reports();
    let mut last: Option<Report> = None;
    let mut due = base::env::timer();
    loop {
        wakes.mark_unchanged();
        let report = engine.report();
        let now = base::env::timer();
        if last.as_ref() != Some(&report) || now >= due {
            let _: IgnoredAny = client.send(Method::POST, AGENT_REPORT, &report).await?;
            last = Some(report);
            due = now + REPORT_PERIOD;
        }
        tokio::select! {
            changed = wakes.changed() => {
                changed.map_err(|_| Error::failed("the engine is gone"))?;
                tokio::time::sleep(GATHER).await;
            }
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

#[cfg(test)]
mod tests;
