//! `kill -9` of Roost's own processes: containers and their connections live on, and changes arrive afterwards.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use api::view::ContainerView;
use lab::{Lab, OUTSIDE, Place, eventually, start_time};
use nix::sys::signal::Signal;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(30);
/// The containers that must not notice anything, and their ports: one beside the manager, one beside an agent only.
const HELD: [(&str, &str, u16); 2] = [("s1", "one", 7001), ("s2", "two", 7002)];

/// A connection through a published port to a program that says every line back.
struct Held {
    stream: TcpStream,
    said: u32,
}

impl Held {
    fn open(place: &Place, to: SocketAddr) -> Self {
        let stream = place.run(|| TcpStream::connect_timeout(&to, SOON).unwrap());
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream, said: 0 }
    }

    fn still_usable(&mut self) {
        self.said += 1;
        let line = format!("line {}\n", self.said);
        self.stream.write_all(line.as_bytes()).unwrap();
        let mut back = vec![0; line.len()];
        self.stream.read_exact(&mut back).unwrap();
        assert_eq!(String::from_utf8_lossy(&back), line);
    }
}

/// What of a container must stay as it is.
#[derive(Debug, PartialEq, Eq)]
struct Same {
    id: Option<String>,
    pid: Option<u32>,
    started: Option<api::Timestamp>,
    restarts: u32,
    state: String,
}

fn same(view: &ContainerView) -> Same {
    let id = view.id.map(|id| id.to_string());
    Same { id, pid: view.pid, started: view.started, restarts: view.restarts, state: view.state.clone() }
}

/// Numbers and start times of the containers' programs, as the kernel knows them.
fn programs(lab: &Lab) -> Vec<(i32, u64)> {
    let all = ["s1", "s2"].iter().flat_map(|server| lab.processes(server));
    // The listener, and what it has become for the connection that is open.
    all.filter(|process| process.argv.first().is_some_and(|program| program == "/bin/nc" || program == "/bin/cat"))
        .filter_map(|process| Some((process.pid, start_time(process.pid)?)))
        .collect()
}

fn held() -> (Lab, Vec<Held>) {
    let lab = Lab::with_tiny(2);
    let outside = lab.place(OUTSIDE);
    let mut connections = Vec::new();
    for (server, name, port) in HELD {
        let publish = format!("{port}:7");
        let echo = ["--", "/bin/nc", "-ll", "-p", "7", "-e", "/bin/cat"];
        lab.ok(
            &[
                &[
                    "run",
                    "-d",
                    "--stop-timeout",
                    "300ms",
                    "-p",
                    &publish,
                    "--health-tcp",
                    "7",
                    &format!("{server}:{name}"),
                    "tiny",
                ][..],
                &echo,
            ]
            .concat(),
        );
        connections.push(Held::open(&outside, (lab.address(server), port).into()));
    }
    connections.iter_mut().for_each(Held::still_usable);
    (lab, connections)
}

/// Kills these of Roost's processes at once, and looks that nothing else has noticed, then and afterwards.
fn killed(words: &[&str]) {
    let (lab, mut connections) = held();
    let views = || lab.containers().iter().map(same).collect::<Vec<_>>();
    let before = views();
    // A check that is just under way has a program as well, for a moment.
    let mut kernel = Vec::new();
    eventually(SOON, "two listeners with a connection each", || {
        kernel = programs(&lab);
        kernel.len() == 4
    });
    for _ in 0..3 {
        let own: Vec<_> = ["s1", "s2"].iter().flat_map(|server| words.iter().filter_map(|word| lab.own(server, word))).collect();
        assert!(own.len() >= words.len(), "{own:?}");
        own.iter().for_each(|process| process.signal(Signal::SIGKILL));
        connections.iter_mut().for_each(Held::still_usable);
        eventually(SOON, "Roost is back", || {
            ["s1", "s2"].iter().all(|server| lab.own(server, "agent").is_some()) && lab.own("s1", "manager").is_some()
        });
        connections.iter_mut().for_each(Held::still_usable);
        eventually(SOON, "everything is as before", || lab.roost(&["ls", "-q"]).code == 0 && views() == before);
        eventually(SOON, "the same programs, and no others", || programs(&lab) == kernel);
    }
    // They are adopted: what they are told, they do.
    for (_, name, _) in HELD {
        eventually(SOON, "exec gets through", || lab.roost(&["exec", name, "--", "/bin/true"]).code == 0);
    }
    connections.iter_mut().for_each(Held::still_usable);
    assert_eq!(views(), before);
    let outside = lab.place(OUTSIDE);
    for (server, _, port) in HELD {
        Held::open(&outside, (lab.address(server), port).into()).still_usable();
    }
    drop(connections);
    lab.ok(&["rm", "-f", "one", "two"]);
}

#[test]
fn containers_do_not_notice_that_the_agent_was_killed() {
    killed(&["agent"]);
}

#[test]
fn containers_do_not_notice_that_the_manager_was_killed() {
    killed(&["manager"]);
}

#[test]
fn containers_do_not_notice_that_both_were_killed() {
    killed(&["agent", "manager"]);
}

#[test]
fn a_change_made_while_an_agent_was_away_arrives_when_it_is_back() {
    let lab = Lab::with_tiny(2);
    lab.ok(&["run", "-d", "--stop-timeout", "1s", "s2:old", "tiny", "--", "/bin/sleep", "600"]);
    lab.ok(&["addjob", "tiny", "2", "--name", "job", "--stop-timeout", "1s", "-s", "spread", "--", "/bin/sleep", "600"]);
    let (daemon, agent) = (lab.own("s2", "daemon").unwrap(), lab.own("s2", "agent").unwrap());
    // Who would start it again is held, so that the agent stays away for as long as it takes.
    daemon.signal(Signal::SIGSTOP);
    agent.signal(Signal::SIGKILL);
    eventually(SOON, "the agent is gone", || !agent.alive());
    let away = base::env::instant();
    lab.ok(&["stop", "--detach", "s2:old"]);
    lab.ok(&["scalejob", "job", "4", "--detach"]);
    // Three seconds without it: the time is the point, and nothing can be true before.
    while away.elapsed() < Duration::from_secs(3) {
        assert!(lab.own("s2", "agent").is_none());
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon.signal(Signal::SIGCONT);
    eventually(SOON, "old is stopped", || lab.container("old").state == "stopped");
    eventually(SOON, "4 of job", || {
        let job = lab.job("job");
        job.running == 4 && job.instances.len() == 4
    });
    let still =
        lab.processes("s2").iter().filter(|process| process.argv.first().is_some_and(|program| program == "/bin/sleep")).count();
    assert_eq!(still, lab.instances_on("job", "s2").len(), "what runs on s2 is what is said to");
}
