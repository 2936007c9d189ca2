//! Health: what a check's results amount to (pure), and the checks themselves.

use crate::{engine::Inner, worker};
use api::{
    name::{InstanceId, Name},
    report::Health,
    spec::{HealthCheck, PodTemplate, Probe},
    stream::ExecRequest,
};
use base::supervise::Scope;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest status line of an answer that is read.
const STATUS_LINE_MAX: usize = 1024;

/// One check of one container and what its results amount to so far.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// Which container.
    pub container: Name,
    /// What is tried, and how often.
    pub check: HealthCheck,
    /// Verdict.
    pub state: Health,
    /// Why the last try failed.
    pub error: Option<String>,
    /// The container's last lines of output, while tries fail.
    pub lines: Vec<String>,
    failures: u32,
    ever: bool,
}

impl Tracker {
    /// Before the first try; `healthy`: a former agent saw it pass.
    pub const fn new(container: Name, check: HealthCheck, healthy: bool) -> Self {
        let state = if healthy { Health::Healthy } else { Health::Starting };
        Self { container, check, state, error: None, lines: Vec::new(), failures: 0, ever: healthy }
    }

    /// Takes one result, so long after the start. True when the verdict changed.
    ///
    /// Tries of a container that was never healthy come much more often than `interval`, so it is given the time that
    /// `retries` tries at that interval would take, after its start period, before it is called unhealthy.
    pub fn record(&mut self, result: Result<(), String>, since_start: Duration) -> bool {
        let before = self.state;
        match result {
            Ok(()) => {
                (self.ever, self.failures, self.state, self.error) = (true, 0, Health::Healthy, None);
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                self.error = Some(why);
                if self.failures >= self.check.retries && (self.ever || since_start >= self.patience()) {
                    self.state = Health::Unhealthy;
                }
            }
        }
        self.state != before
    }

    /// Time until the next try.
    pub fn pause(&self) -> Duration {
        if self.ever {
            self.check.interval.duration()
        } else {
            HealthCheck::STARTING_INTERVAL.duration().min(self.check.interval.duration())
        }
    }

    const fn patience(&self) -> Duration {
        let tries = self.check.interval.0.saturating_mul(self.check.retries as u64);
        Duration::from_millis(self.check.start_period.0.saturating_add(tries))
    }
}

/// A tracker for each check of a pod.
pub fn trackers(template: &PodTemplate, healthy: bool) -> Vec<Tracker> {
    let checked = template.containers.iter().filter_map(|c| c.health.clone().map(|check| (c.name.clone(), check)));
    checked.map(|(name, check)| Tracker::new(name, check, healthy)).collect()
}

/// The verdict on a pod that runs: the worst of its checks; healthy without any.
pub fn verdict(trackers: &[Tracker]) -> Health {
    let any = |state| trackers.iter().any(|tracker| tracker.state == state);
    match () {
        () if any(Health::Unhealthy) => Health::Unhealthy,
        () if any(Health::Starting) => Health::Starting,
        () => Health::Healthy,
    }
}

/// Output is looked at this often while tries fail: most containers fail their first ones, and nobody wants to know.
const LINES_PERIOD: Duration = Duration::from_secs(1);

/// Tries one check of one run of a pod for as long as that run lasts.
pub async fn watch(inner: Arc<Inner>, id: InstanceId, run: u64, index: usize) {
    let mut failing = None;
    while let Some(round) = inner.check_round(id, run, index) {
        if let Some(target) = round.target {
            let result = attempt(&inner, id, &target).await;
            let now = base::env::timer();
            let since = if result.is_ok() { None } else { Some(*failing.get_or_insert(now)) };
            let lines = match since {
                Some(since) if now.saturating_duration_since(since) >= LINES_PERIOD => {
                    failing = Some(now);
                    Some(last_lines(&inner, id, target.container).await)
                }
                Some(_) => None,
                None => {
                    failing = None;
                    Some(Vec::new())
                }
            };
            inner.check_done(id, run, index, (result, lines));
        }
        let pause = inner.check_round(id, run, index).map_or(round.pause, |next| next.pause);
        tokio::time::sleep(pause).await;
    }
}

async fn last_lines(inner: &Arc<Inner>, id: InstanceId, container: Name) -> Vec<String> {
    let inner = Arc::clone(inner);
    Scope::blocking(move || worker::last_lines(&inner, id, Some(container))).await.unwrap_or_default()
}

/// What came of a try: why it failed, and the last lines of output when they were looked at.
pub type Tried = (Result<(), String>, Option<Vec<String>>);

/// What a try needs to know.
pub struct Round {
    /// What to try; None while the pod is held still.
    pub target: Option<Target>,
    /// Time until the next.
    pub pause: Duration,
}

/// Whom to try how.
pub struct Target {
    /// Where the pod is.
    pub address: Ipv4Addr,
    /// Which container.
    pub container: Name,
    /// What is tried.
    pub check: HealthCheck,
}

async fn attempt(inner: &Arc<Inner>, id: InstanceId, target: &Target) -> Result<(), String> {
    let _permit = inner.probes.acquire().await;
    let most = target.check.timeout.duration();
    match &target.check.probe {
        Probe::Tcp(port) => limited(most, tcp(target.address, *port)).await,
        Probe::Http { port, path, host } => {
            let host = host.clone().unwrap_or_else(|| target.address.to_string());
            limited(most, http(target.address, *port, path, &host)).await
        }
        Probe::Command(argv) => {
            let request = ExecRequest {
                container: Some(target.container.clone()),
                command: argv.clone(),
                env: Vec::new(),
                user: None,
                workdir: None,
                terminal: None,
                stdin: false,
            };
            crate::exec::run_to_end(inner, id, request, most).await
        }
    }
}

async fn limited(most: Duration, attempt: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    timeout(most, attempt).await.unwrap_or_else(|_| Err(format!("no answer within {} ms", most.as_millis())))
}

async fn connect(address: Ipv4Addr, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((address, port)).await.map_err(|error| format!("tcp {address}:{port}: {error}"))
}

async fn tcp(address: Ipv4Addr, port: u16) -> Result<(), String> {
    connect(address, port).await.map(drop)
}

async fn http(address: Ipv4Addr, port: u16, path: &str, host: &str) -> Result<(), String> {
    let mut stream = connect(address, port).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: roost\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    let failed = |error: std::io::Error| format!("http {address}:{port}{path}: {error}");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 256];
    while answer.len() < STATUS_LINE_MAX && !answer.contains(&b'\n') {
        match stream.read(&mut chunk).await.map_err(failed)? {
            0 => break,
            n => answer.extend_from_slice(&chunk[..n]),
        }
    }
    status(&answer).map_err(|why| format!("http {address}:{port}{path}: {why}"))
}

/// Healthy on 200 to 399, as [`Probe::Http`] says.
fn status(answer: &[u8]) -> Result<(), String> {
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\n').next().unwrap_or_default()).trim().to_owned();
    let code = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.parse::<u16>().ok());
    match code {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("status {code}")),
        None => Err(format!("answered {:?}, which is not HTTP", line.chars().take(60).collect::<String>())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use api::quantity::Span;

    fn tracker(healthy: bool) -> Tracker {
        let check = HealthCheck { start_period: Span::seconds(2), ..HealthCheck::new(Probe::Tcp(80)) };
        Tracker::new(testing::name("main"), check, healthy)
    }

    fn failed() -> Result<(), String> {
        Err("refused".to_owned())
    }

    #[test]
    fn while_never_healthy_tries_come_fast_and_patience_is_the_start_period_and_the_retries() {
        let mut tracker = tracker(false);
        assert_eq!(tracker.pause(), Duration::from_millis(50));
        for _ in 0..10 {
            assert!(!tracker.record(failed(), Duration::from_secs(16)));
        }
        assert_eq!(tracker.state, Health::Starting);
        assert!(tracker.record(failed(), Duration::from_secs(17)));
        assert_eq!(tracker.state, Health::Unhealthy);
        assert_eq!(tracker.pause(), Duration::from_millis(50));
        assert!(tracker.record(Ok(()), Duration::from_secs(18)));
        assert_eq!((tracker.state, tracker.error.clone()), (Health::Healthy, None));
        assert_eq!(tracker.pause(), Duration::from_secs(5));
    }

    #[test]
    fn once_healthy_so_many_failures_in_a_row_count() {
        let mut tracker = tracker(true);
        let results = [failed(), failed(), Ok(()), failed(), failed(), failed()];
        let changes: Vec<_> = results.into_iter().map(|result| tracker.record(result, Duration::from_secs(60))).collect();
        assert_eq!(changes, [false, false, false, false, false, true]);
    }

    #[test]
    fn a_pod_is_as_healthy_as_its_worst_check() {
        let with = |state| Tracker { state, ..tracker(false) };
        let table = [
            (vec![], Health::Healthy),
            (vec![Health::Healthy, Health::Healthy], Health::Healthy),
            (vec![Health::Healthy, Health::Starting], Health::Starting),
            (vec![Health::Starting, Health::Unhealthy], Health::Unhealthy),
        ];
        for (states, want) in table {
            assert_eq!(verdict(&states.into_iter().map(with).collect::<Vec<_>>()), want);
        }
    }

    #[test]
    fn status_lines() {
        let table: [(&[u8], bool); 7] = [
            (b"HTTP/1.1 200 OK\r\n", true),
            (b"HTTP/1.0 399 \r\n", true),
            (b"HTTP/1.1 302 Found\r\nx", true),
            (b"HTTP/1.1 404 Not Found\r\n", false),
            (b"HTTP/1.1 500\r\n", false),
            (b"SSH-2.0-OpenSSH\r\n", false),
            (b"", false),
        ];
        for (answer, want) in table {
            assert_eq!(status(answer).is_ok(), want, "{:?}", String::from_utf8_lossy(answer));
        }
    }

    #[tokio::test]
    async fn a_tcp_and_an_http_probe_against_a_listener_and_against_nobody() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        };
        let address = Ipv4Addr::LOCALHOST;
        let ask = async {
            tcp(address, port).await.unwrap();
            http(address, port, "/", "web").await.unwrap();
        };
        tokio::join!(serve, ask);
        drop(listener);
        assert!(tcp(address, port).await.unwrap_err().contains("refused"));
    }
}
