//! A whole agent over fakes, with a tiny manager on loopback.

use super::*;
use crate::testing::{
    self,
    bed::{Bed, ONE, told},
};
use api::{report::Phase, server::ServerFacts};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::HeaderMap,
    routing::{get, post},
};
use base::supervise::Scope;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::sync::watch;
use wire::{
    heartbeat::Listener,
    identity::{Authority, Subject, Who},
};

/// What the manager tells and hears. Survives the manager.
struct Office {
    authority: Authority,
    told: watch::Sender<Option<Assignment>>,
    heard: Mutex<Heard>,
    wake: base::supervise::Signal,
    beats: Listener,
    refuse: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Heard {
    facts: Vec<ServerFacts>,
    generations: Vec<u64>,
    reports: Vec<Report>,
}

type Shared = State<Arc<Office>>;

impl Office {
    async fn new() -> Arc<Self> {
        Arc::new(Self {
            authority: Authority::create("test").unwrap(),
            told: watch::Sender::new(None),
            heard: Mutex::default(),
            wake: base::supervise::Signal::new(),
            beats: Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap(),
            refuse: false.into(),
        })
    }

    /// Opens at an address; closed by stopping the scope.
    async fn open(self: &Arc<Self>, address: SocketAddr) -> (SocketAddr, Scope) {
        let router = Router::new()
            .route(AGENT_HELLO, post(hello))
            .route(AGENT_ASSIGNMENT, get(assignment))
            .route(AGENT_REPORT, post(report))
            .with_state(Arc::clone(self));
        let listener = wire::server::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let identity = self.authority.issue(&Subject::Server(testing::name("m")), Duration::from_secs(3600), &[]).unwrap();
        let scope = Scope::new();
        let serve = wire::server::serve_tls_on(router, listener, identity, scope.clone());
        scope.job(async move { serve.await.unwrap() });
        (address, scope)
    }

    fn tell(&self, told: Assignment) {
        self.told.send_replace(Some(told));
    }

    /// Waits until something heard is as wanted.
    async fn until<T>(&self, what: &str, wanted: impl Fn(&Heard) -> Option<T>) -> T {
        let mut wakes = self.wake.listen();
        let search = async {
            loop {
                if let Some(found) = wanted(&self.heard.lock().unwrap()) {
                    return found;
                }
                wakes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), search).await.unwrap_or_else(|_| panic!("{what}"))
    }

    async fn phase(&self, phase: Phase) -> Report {
        let last =
            |heard: &Heard| heard.reports.last().filter(|r| r.instances.get(&ONE).is_some_and(|i| i.phase == phase)).cloned();
        self.until(&format!("{phase:?}"), last).await
    }
}

async fn hello(
    State(office): Shared,
    who: Who,
    Json(facts): Json<ServerFacts>,
) -> axum::response::Result<(), wire::server::ApiError> {
    assert!(matches!(who, Who::Server { name, .. } if name == testing::name("s1")));
    if office.refuse.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Error::not_allowed("server s1 is not in this cluster").into());
    }
    office.heard.lock().unwrap().facts.push(facts);
    office.wake.wake();
    Ok(())
}

async fn assignment(
    State(office): Shared,
    headers: HeaderMap,
    Query(query): Query<BTreeMap<String, u64>>,
) -> axum::response::Response {
    let key = Key::from_hex(headers[HEADER].to_str().unwrap()).unwrap();
    office.beats.set_key(&testing::name("s1"), key);
    office.heard.lock().unwrap().generations.push(query["generation"]);
    let receiver = office.told.subscribe();
    let lines = futures_util::stream::unfold((receiver, true), |(mut receiver, first)| async move {
        loop {
            if !first || receiver.borrow().is_none() {
                receiver.changed().await.ok()?;
            }
            let told = receiver.borrow_and_update().clone();
            if let Some(told) = told {
                return Some((told, (receiver, false)));
            }
        }
    });
    wire::server::ndjson(lines)
}

async fn report(State(office): Shared, Json(report): Json<Report>) {
    office.heard.lock().unwrap().reports.push(report);
    office.wake.wake();
}

/// Starts an agent on the bed; it ends with its scope.
fn agent(bed: &Bed, office: &Office, manager: SocketAddr, forget: bool) -> Scope {
    let scope = Scope::new();
    let (callback, changed) = crate::changed();
    bed.runtime.set_changed(callback);
    let identity = office.authority.issue(&Subject::Server(testing::name("s1")), Duration::from_secs(3600), &[]).unwrap();
    let options = Options {
        server: testing::name("s1"),
        manager,
        identity,
        state_dir: bed.directory.path().to_owned(),
        run_dir: bed.directory.path().join("run"),
        listen: "127.0.0.1:0".parse().unwrap(),
        parallel: 4,
        facts: ServerFacts { arch: "x86_64".to_owned(), ..ServerFacts::default() },
        tunnel_socket: Some(bed.directory.path().join("api.sock")),
        forget_on_refusal: forget,
    };
    let (drivers, own) = (bed.drivers(), scope.clone());
    scope.component("agent", async move { crate::run(options, drivers, changed, own).await.map_err(|e| e.to_string()) });
    scope
}

const ANY: &str = "127.0.0.1:0";

#[tokio::test]
async fn an_assignment_goes_in_and_reports_come_out() {
    let (bed, office) = (Bed::new(), Office::new().await);
    let (address, manager) = office.open(ANY.parse().unwrap()).await;
    let agent = agent(&bed, &office, address, false);
    office.tell(told(1, |_| ()));
    let report = office.phase(Phase::Running).await;
    assert_eq!((report.generation, report.instances[&ONE].pid), (1, bed.runtime.pid(ONE)));
    office.tell(told(2, |told| told.pods.clear()));
    office.until("gone", |heard| heard.reports.last().filter(|r| r.generation == 2 && r.instances.is_empty()).map(|_| ())).await;
    {
        let heard = office.heard.lock().unwrap();
        assert_eq!((heard.facts[0].arch.as_str(), &heard.generations[..]), ("x86_64", &[0][..]));
    }
    assert!(bed.directory.path().join("api.sock").exists());
    agent.stop();
    manager.stop();
    agent.ended().await.unwrap();
}

#[tokio::test]
async fn heartbeats_arrive_at_the_managers_port() {
    let (bed, office) = (Bed::new(), Office::new().await);
    // Beats go to the UDP port of the same number as the API's: take the listener's.
    let (address, manager) = office.open(office.beats.address().unwrap()).await;
    let agent = agent(&bed, &office, address, false);
    for _ in 0..3 {
        let beat = tokio::time::timeout(Duration::from_secs(10), office.beats.next()).await.unwrap().unwrap();
        assert_eq!(beat, testing::name("s1"));
    }
    agent.stop();
    manager.stop();
}

#[tokio::test]
async fn cut_off_from_the_manager_pods_live_on_and_what_changed_meanwhile_arrives() {
    let (bed, office) = (Bed::new(), Office::new().await);
    let (address, manager) = office.open(ANY.parse().unwrap()).await;
    let agent = agent(&bed, &office, address, false);
    office.tell(told(1, |_| ()));
    let pid = office.phase(Phase::Running).await.instances[&ONE].pid;
    manager.stop();
    manager.ended().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bed.runtime.pid(ONE), pid);
    let both = |told: &mut Assignment| {
        told.pods.insert(api::InstanceId(2), testing::pod("c2", 6));
    };
    office.tell(told(2, both));
    let (_, manager) = office.open(address).await;
    let running = |heard: &Heard| {
        let report = heard.reports.last()?;
        let second = report.instances.get(&api::InstanceId(2))?;
        (second.phase == Phase::Running).then(|| report.instances[&ONE].pid)
    };
    assert_eq!(office.until("both run", running).await, pid);
    assert_eq!(office.heard.lock().unwrap().generations.last(), Some(&1));
    agent.stop();
    manager.stop();
}

#[tokio::test]
async fn without_a_manager_the_ledger_is_lived_by() {
    let (bed, office) = (Bed::new(), Office::new().await);
    let (address, manager) = office.open(ANY.parse().unwrap()).await;
    let first = agent(&bed, &office, address, false);
    office.tell(told(1, |told| {
        let template = told.templates.get_mut("t1").unwrap();
        Arc::make_mut(template).containers[0].restart = api::spec::Restart::Always;
    }));
    let pid = office.phase(Phase::Running).await.instances[&ONE].pid;
    first.stop();
    manager.stop();
    first.ended().await.unwrap();
    manager.ended().await.unwrap();
    let next = agent(&bed, &office, address, false);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bed.runtime.pid(ONE), pid, "adopted");
    bed.runtime.end(ONE, Some(1));
    let again = async {
        while bed.runtime.pid(ONE).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
    next.stop();
}

/// Whether anything runs here a while after the manager began to refuse this server.
async fn runs_after_refusal(forget: bool) -> bool {
    let (bed, office) = (Bed::new(), Office::new().await);
    let (address, manager) = office.open(ANY.parse().unwrap()).await;
    let agent = agent(&bed, &office, address, forget);
    office.tell(told(1, |_| ()));
    office.phase(Phase::Running).await;
    manager.stop();
    manager.ended().await.unwrap();
    office.refuse.store(true, std::sync::atomic::Ordering::Relaxed);
    let (_, manager) = office.open(address).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(bed.runtime.pods().len(), 1, "one refusal may be a slip");
    tokio::time::sleep(REFUSED + Duration::from_secs(1)).await;
    agent.stop();
    manager.stop();
    !bed.runtime.pods().is_empty()
}

#[tokio::test]
async fn a_server_that_is_refused_for_good_forgets_everything() {
    assert!(!runs_after_refusal(true).await);
}

#[tokio::test]
async fn unless_it_was_not_told_to() {
    assert!(runs_after_refusal(false).await);
}
