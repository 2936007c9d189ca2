//! Whether a server is there, from the signs of life that reached the control plane.

use api::{Span, Timestamp, server::Liveness};

/// No heartbeat for this long is silence. Heartbeats come every 200 ms: at 5 % loss, nine in a row are lost once in 5·10¹¹.
pub const SILENT: Span = Span::millis(1_800);
/// After this much silence the control plane tries a TCP connection to the agent's port: any answer, also a refusal, proves
/// that the machine is there. Half of [`SILENT`], so that the answer is back before the decision falls.
pub const PROBE_AFTER: Span = Span::millis(900);
/// While the silence lasts, the machine is tried again this often: three tries per [`SILENT`], so that one lost packet
/// does not make it lost.
pub const PROBE_EVERY: Span = Span::millis(500);
/// How long an agent may be silent on a machine that answers: an upgrade or crash of the agent leaves its containers running.
pub const AWAY_GRACE: Span = Span::seconds(30);
/// How long after its own start the control plane decides nothing about servers it has not heard of: agents reconnect
/// within a second, slow ones within five.
pub const START_GRACE: Span = Span::seconds(5);

/// What is known about one server's signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// The time.
    pub now: Timestamp,
    /// When the control plane started.
    pub started: Timestamp,
    /// The last heartbeat.
    pub last_beat: Option<Timestamp>,
    /// When the machine was last tried.
    pub last_probe: Option<Timestamp>,
    /// When the machine last answered a try, with an accepted or a refused connection.
    pub last_answer: Option<Timestamp>,
    /// What was decided before; [`Liveness::Unknown`] at first.
    pub current: Liveness,
}

impl Signs {
    /// Time since the agent was last heard of, counted from the start when it never was.
    fn silence(&self) -> Span {
        self.now.since(self.last_beat.unwrap_or(self.started))
    }

    fn machine_answers(&self) -> bool {
        self.last_answer.is_some_and(|at| self.now.since(at) <= SILENT)
    }
}

/// Decides whether the server is there.
pub fn decide(signs: Signs) -> Liveness {
    if signs.last_beat.is_some() && signs.silence() <= SILENT {
        return Liveness::Alive;
    }
    if signs.last_beat.is_none() && signs.current == Liveness::Unknown && signs.silence() <= START_GRACE {
        return Liveness::Unknown;
    }
    // Once lost, only its agent brings it back: its instances have been replaced, whatever the machine answers.
    let away = signs.current != Liveness::Lost && signs.silence() <= AWAY_GRACE && signs.machine_answers();
    if away { Liveness::AgentAway } else { Liveness::Lost }
}

/// Is it time to try whether the machine answers?
pub fn probe_due(signs: Signs) -> bool {
    let tried = signs.last_probe.is_some_and(|at| signs.now.since(at) < PROBE_EVERY);
    signs.current != Liveness::Lost && signs.silence() >= PROBE_AFTER && !tried
}
