//! Tests with real processes. SIGTERM is sent to the supervising thread alone, for the test's other threads do not block it.

use super::*;
use std::{sync::mpsc, thread::JoinHandle};

struct Run {
    thread: JoinHandle<Result<(), SupervisorError>>,
    id: Pid,
    dir: tempfile::TempDir,
}

/// A child that runs a script in the directory of the test.
fn shell(name: &'static str, script: &str) -> Child {
    Child { name, argv: ["sh", "-c", script].map(OsString::from).to_vec() }
}

/// Supervises on a thread of its own; `$DIR` in scripts is the test's directory.
fn start(children: Vec<Child>) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let here = |arg: OsString| OsString::from(arg.into_string().unwrap().replace("$DIR", path.to_str().unwrap()));
    let children = children.into_iter().map(|c| Child { argv: c.argv.into_iter().map(here).collect(), ..c }).collect();
    let (tell, told) = mpsc::channel();
    let logs = path.clone();
    let thread = std::thread::spawn(move || {
        tell.send(nix::unistd::gettid()).unwrap();
        supervise(children, &logs)
    });
    Run { thread, id: told.recv().unwrap(), dir }
}

impl Run {
    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    fn lines(&self, file: &str) -> Vec<String> {
        self.read(file).lines().map(ToOwned::to_owned).collect()
    }

    fn wait_lines(&self, file: &str, count: usize) -> Vec<String> {
        for _ in 0..1000 {
            if self.lines(file).len() >= count {
                return self.lines(file);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{file} has {:?} after ten seconds", self.lines(file));
    }

    fn stop(self) -> Result<Duration, SupervisorError> {
        let began = base::env::instant();
        // SAFETY: tgkill(2) takes three numbers.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), self.id.as_raw(), libc::SIGTERM) };
        assert_eq!(sent, 0);
        self.thread.join().unwrap().map(|()| began.elapsed())
    }
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn starts_again_what_dies_and_keeps_what_lives() {
    let run = start(vec![
        shell("frail", "echo $$ >>$DIR/frail; exec sleep 60"),
        shell("steady", "echo $$ >>$DIR/steady; exec sleep 60"),
    ]);
    let first = run.wait_lines("frail", 1)[0].clone();
    run.wait_lines("steady", 1);
    kill(Pid::from_raw(first.parse().unwrap()), Signal::SIGKILL).unwrap();
    let second = run.wait_lines("frail", 2)[1].clone();
    assert!(first != second && lives(&second) && !lives(&first));
    assert_eq!(run.lines("steady").len(), 1);
    let steady = run.lines("steady")[0].clone();
    assert!(lives(&steady));
    assert!(run.stop().unwrap() < Duration::from_secs(2));
    assert!(!lives(&second) && !lives(&steady));
}

#[test]
fn pauses_grow_between_deaths() {
    let run = start(vec![shell("dying", "date +%s%N >>$DIR/times; exit 3")]);
    let times: Vec<u64> = run.wait_lines("times", 6).iter().map(|t| t.parse().unwrap()).collect();
    run.stop().unwrap();
    let pauses: Vec<u64> = times.windows(2).map(|w| (w[1] - w[0]) / 1_000_000).collect();
    // 20, 40, 80, 160, 320 ms, and whatever a process takes to start.
    for (pause, least) in pauses.iter().zip([20, 40, 80, 160, 320]) {
        assert!((least..least + 500).contains(pause), "{pauses:?}");
    }
}

#[test]
fn the_pause_begins_anew_only_after_a_steady_life() {
    let now = base::env::instant();
    let dir = tempfile::tempdir().unwrap();
    let mut slot = Slot::new(shell("a", "exit 0"), dir.path());
    let mut die_after = |life: Duration| {
        let mut running = slot.start(now).unwrap();
        running.process.wait().unwrap();
        slot.state = State::Running(running);
        slot.died("test", now + life);
        match slot.state {
            State::Waiting(until) => until.duration_since(now + life).as_millis(),
            State::Running(_) => panic!("still running"),
        }
    };
    let young = Duration::from_secs(9);
    assert_eq!([die_after(young), die_after(young), die_after(young)], [20, 40, 80]);
    assert_eq!(die_after(STEADY), 20);
    assert_eq!((0..9).map(|_| die_after(young)).max(), Some(2000));
}

#[test]
fn asks_first_and_takes_output() {
    let run =
        start(vec![shell("polite", "trap 'echo bye; exit 0' TERM; echo hello; echo on >$DIR/on; while :; do sleep 0.05; done")]);
    run.wait_lines("on", 1);
    let path = run.dir.path().join("polite.log");
    let keep = tempfile::NamedTempFile::new().unwrap();
    fs::remove_file(keep.path()).unwrap();
    fs::hard_link(&path, keep.path()).unwrap();
    assert!(run.stop().unwrap() < Duration::from_secs(5));
    assert_eq!(fs::read_to_string(keep.path()).unwrap(), "hello\nbye\n");
}

#[test]
fn kills_what_does_not_listen() {
    let run = start(vec![shell("deaf", "trap '' TERM; echo $$ >>$DIR/pid; while :; do sleep 0.2; done")]);
    let pid = run.wait_lines("pid", 1)[0].clone();
    let took = run.stop().unwrap();
    assert!((GRACE..GRACE + DEATH).contains(&took), "{took:?}");
    assert!(!lives(&pid));
}

#[test]
fn children_die_with_a_supervisor_that_is_gone() {
    // The tie is to the thread that starts a child: here it ends without a word.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let mut running =
        std::thread::spawn(move || Slot::new(shell("a", "exec sleep 60"), &path).start(base::env::instant()).unwrap())
            .join()
            .unwrap();
    let status = running.process.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[test]
fn a_program_that_is_not_there_is_tried_again() {
    let run = start(vec![Child { name: "late", argv: vec!["$DIR/late".into()] }]);
    std::thread::sleep(Duration::from_millis(100));
    let program = run.dir.path().join("late");
    fs::write(run.dir.path().join("new"), format!("#!/bin/sh\necho on >>{}/ran\nexec sleep 60\n", run.dir.path().display()))
        .unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(run.dir.path().join("new"), mode).unwrap();
    fs::rename(run.dir.path().join("new"), program).unwrap();
    run.wait_lines("ran", 1);
    run.stop().unwrap();
}

#[test]
fn wrong_input_is_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let marked = dir.path().join("ran");
    let children = vec![shell("a", &format!("echo >{}", marked.display())), Child { name: "b", argv: Vec::new() }];
    assert_eq!(supervise(children, dir.path()).unwrap_err().to_string(), "the command line of b is empty");
    assert!(!marked.exists());
    fs::write(dir.path().join("file"), "").unwrap();
    let error = supervise(vec![shell("a", "true")], &dir.path().join("file/logs")).unwrap_err();
    assert!(matches!(error, SupervisorError::LogDir { .. }));
}

#[test]
fn a_long_log_is_put_aside_while_somebody_writes_to_it() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("a.log");
    let mut writer = File::options().create(true).append(true).open(&log).unwrap();
    writer.set_len(LOG_MAX).unwrap();
    put_aside(&log);
    assert_eq!(fs::metadata(&log).unwrap().len(), LOG_MAX, "not yet too long");
    writer.write_all(b"x").unwrap();
    put_aside(&log);
    writer.write_all(b"next").unwrap();
    assert_eq!(fs::read(&log).unwrap(), b"next");
    assert_eq!(fs::metadata(dir.path().join("a.log.1")).unwrap().len(), LOG_MAX + 1);
}
