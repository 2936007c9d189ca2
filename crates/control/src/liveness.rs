//! Who is there: heartbeats in, liveness out. The rule itself is [`plan::liveness::decide`].

use crate::{Control, ControlError};
use api::{
    Name, Timestamp,
    event::Noun,
    path,
    quantity::Span,
    server::{Liveness, ServerSpec},
};
use std::{
    collections::HashMap,
    io::ErrorKind,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use wire::heartbeat::{Key, Listener};

/// How often the rule is applied: a small part of the silence that makes a server lost.
const PERIOD: Duration = Duration::from_millis(50);
/// How long a probe waits for any sign of the machine.
const PROBE_TIMEOUT: Duration = Duration::from_millis(700);

/// Signs of life by server.
#[derive(Default)]
pub struct Beats {
    signs: Mutex<HashMap<Name, Seen>>,
    keys: Mutex<HashMap<Name, Key>>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    beat: Option<Timestamp>,
    probe: Option<Timestamp>,
    answer: Option<Timestamp>,
    probing: bool,
}

impl Beats {
    fn with<T>(&self, server: &Name, change: impl FnOnce(&mut Seen) -> T) -> T {
        let mut signs = self.signs.lock().unwrap_or_else(PoisonError::into_inner);
        change(signs.entry(server.clone()).or_default())
    }

    /// A sign of life that came another way: a session or report over mTLS.
    pub fn sign(&self, server: &Name) {
        let now = now();
        self.with(server, |signs| signs.beat = Some(now));
    }

    /// The key of a server's new session, for the listener to pick up.
    pub fn key(&self, server: &Name, key: Key) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(server.clone(), key);
    }

    fn take_keys(&self) -> HashMap<Name, Key> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn now() -> Timestamp {
    Timestamp(base::env::now_millis())
}

/// Listens for heartbeats and applies the rule.
pub fn start(control: &Control, listener: Listener) {
    let listening = control.clone();
    control.scope.component("heartbeats", async move {
        loop {
            for (server, key) in listening.beats.take_keys() {
                listener.set_key(&server, key);
            }
            match tokio::time::timeout(PERIOD, listener.next()).await {
                Ok(Ok(server)) => listening.beats.sign(&server),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => {}
            }
        }
    });
    let deciding = control.clone();
    control.scope.component("liveness", async move {
        let started = now();
        loop {
            look(&deciding, started);
            tokio::time::sleep(PERIOD).await;
        }
    });
}

fn look(control: &Control, started: Timestamp) {
    let world = control.world.now();
    for (name, server) in &world.snapshot.servers {
        let now = now();
        let signs = control.beats.with(name, |signs| *signs);
        let current = world.snapshot.liveness(name);
        let input = plan::liveness::Signs {
            now,
            started,
            last_beat: signs.beat,
            last_probe: signs.probe,
            last_answer: signs.answer,
            current,
        };
        if !signs.probing && plan::liveness::probe_due(input) {
            probe(control, server);
        }
        let decided = plan::liveness::decide(input);
        if decided != current && control.world.liveness(name, decided) {
            tell(control, name, decided, signs.beat.map(|beat| now.since(beat)));
            control.look.wake();
        }
    }
}

fn tell(control: &Control, server: &Name, liveness: Liveness, silence: Option<Span>) {
    let silence = silence.map_or_else(|| "since this manager started".to_owned(), |span| format!("for {span}"));
    let message = match liveness {
        Liveness::Alive => "is there".to_owned(),
        Liveness::AgentAway => format!("its agent is silent {silence}, its machine answers: containers are left alone"),
        Liveness::Lost => format!("lost: no sign {silence}"),
        Liveness::Unknown => return,
    };
    control.events.note(Noun::Server, server.as_str(), message);
}

/// Asks the machine for any answer on the agent's port. A refusal is an answer: the kernel is there, the agent is not.
fn probe(control: &Control, server: &ServerSpec) {
    let (control_task, name) = (control.clone(), server.name.clone());
    let address = SocketAddr::new(server.address, path::AGENT_PORT);
    control.beats.with(&name, |signs| {
        signs.probing = true;
        signs.probe = Some(now());
    });
    control.scope.job(async move {
        let asked = tokio::time::timeout(PROBE_TIMEOUT, tokio::net::TcpStream::connect(address)).await;
        let answered = match asked {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset),
            Err(_) => false,
        };
        control_task.beats.with(&name, |signs| {
            signs.probing = false;
            if answered {
                signs.answer = Some(now());
            }
        });
    });
}

/// Waits until nothing is unknown, so that a request that came right after a start is not judged blindly.
pub async fn settled(control: &Control) -> Result<(), ControlError> {
    let mut listen = control.world.listen();
    let known = listen.wait_for(|world| {
        let snapshot = &world.snapshot;
        snapshot.servers.keys().all(|name| snapshot.liveness(name) != Liveness::Unknown)
    });
    let _ = tokio::time::timeout(Duration::from_secs(6), known).await;
    Ok(())
}
