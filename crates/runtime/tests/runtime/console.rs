//! Consoles: what programs say comes out as it is, what is typed goes in, and nobody has to wait for a slow one.

use crate::bed::{Bed, NO_GRACE, PATIENCE, until};
use api::{
    InstanceId,
    stream::{FrameKind, LogLine},
};
use driver::runtime::{Console, Inspect as _, PodRun, PodState};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// A console, and all that came from it.
pub struct Talk {
    stream: UnixStream,
    console: (bool, bool),
    bytes: Vec<u8>,
    out: Vec<u8>,
    err: Vec<u8>,
    missed: u64,
    exit: Option<(i32, String)>,
}

impl Talk {
    pub fn with(bed: &Bed, id: InstanceId, whole: bool) -> Self {
        let Console { stream, terminal, input, .. } = bed.inspector().attach(id, None, whole).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (bytes, out, err) = (Vec::new(), Vec::new(), Vec::new());
        Self { stream, console: (terminal, input), bytes, out, err, missed: 0, exit: None }
    }

    fn say(&mut self, kind: FrameKind, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        self.stream.write_all(&[&[kind as u8][..], &length, bytes].concat()).unwrap();
    }

    pub fn typed(&mut self, text: &str) {
        self.say(FrameKind::Stdin, text.as_bytes());
    }

    /// Reads once. False: nothing follows.
    fn listen(&mut self) -> bool {
        let mut buffer = vec![0; 100_000];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
        while let Some(header) = self.bytes.first_chunk::<5>().copied() {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            if self.bytes.len() < 5 + length {
                break;
            }
            let payload: Vec<u8> = self.bytes.drain(..5 + length).skip(5).collect();
            match FrameKind::from_byte(header[0]).unwrap() {
                FrameKind::Stdout => self.out.extend(payload),
                FrameKind::Stderr => self.err.extend(payload),
                FrameKind::Missed => self.missed += u64::from_be_bytes(payload[..].try_into().unwrap()),
                FrameKind::Exit => {
                    let (code, why) = payload.split_first_chunk::<4>().unwrap();
                    self.exit = Some((i32::from_be_bytes(*code), String::from_utf8(why.to_vec()).unwrap()));
                }
                other => panic!("{other:?}"),
            }
        }
        true
    }

    fn until(&mut self, what: &str) {
        let begin = Instant::now();
        while !self.text().contains(what) {
            assert!(self.listen() && begin.elapsed() < PATIENCE, "not in time: {what:?} in {:?}", self.text());
        }
    }

    fn run_out(&mut self) -> i32 {
        let begin = Instant::now();
        while self.listen() {
            assert!(begin.elapsed() < PATIENCE, "it does not end: {:?}", self.text());
        }
        self.exit.as_ref().unwrap_or_else(|| panic!("no exit code: {:?}", self.text())).0
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

fn with_stdin(bed: &Bed, script: &str) -> PodRun {
    let mut pod = bed.pod(script);
    pod.containers[0].stdin = true;
    pod
}

fn with_terminal(bed: &Bed, script: &str) -> PodRun {
    let mut pod = bed.pod(script);
    pod.containers[0].terminal = true;
    pod
}

fn awaited(bed: &Bed, script: &str) -> PodRun {
    let mut pod = with_stdin(bed, script);
    pod.containers[0].awaited = true;
    pod
}

#[test]
fn a_terminal_shows_its_prompt_takes_keys_and_has_a_size() {
    let bed = Bed::app();
    let mut pod = with_terminal(
        &bed,
        "tty; stty size; printf 'name? '; read line; echo got $line; stty size; trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.05; done",
    );
    pod.containers[0].size = Some((91, 27));
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "27 91");
    assert!(bed.log(pod.id, "main").contains(&"/dev/pts/0".to_owned()));
    let mut talk = Talk::with(&bed, pod.id, false);
    assert_eq!(talk.console, (true, true));
    talk.until("name? ");
    assert_eq!(talk.text(), "name? ", "it begins with the line that is being written");
    talk.say(FrameKind::Resize, &[0, 100, 0, 40]);
    talk.typed("word\n");
    talk.until("got word\r\n40 100\r\n");
    talk.until("ready");
    let mut other = Talk::with(&bed, pod.id, false);
    talk.typed("\u{3}");
    talk.until("^C");
    other.until("caught");
    assert_eq!((talk.run_out(), other.run_out()), (4, 4));
    bed.until_stopped(pod.id);
    let log = bed.log(pod.id, "main");
    assert!(log.contains(&"name? word".to_owned()) && log.contains(&"got word".to_owned()), "{log:?}");
    assert!(bed.inspector().attach(pod.id, None, false).is_err());
}

#[test]
fn standard_input_stays_open_whoever_comes_and_goes_until_its_end_is_told() {
    let bed = Bed::app();
    let pod = with_stdin(&bed, "printf '> '; while read line; do echo got $line; done; echo done; exit 6");
    bed.rt().ensure(&pod).unwrap();
    for word in ["one", "two"] {
        let mut talk = Talk::with(&bed, pod.id, false);
        assert_eq!(talk.console, (false, true));
        talk.typed(&format!("{word}\n"));
        talk.until(&format!("got {word}\n"));
    }
    assert_eq!(bed.status(pod.id).state, PodState::Running);
    let mut talk = Talk::with(&bed, pod.id, false);
    talk.typed("thr");
    talk.typed("ee\n");
    talk.say(FrameKind::Stdin, b"");
    assert_eq!(talk.run_out(), 6);
    assert_eq!(talk.text(), "got three\ndone\n");
    let pod = bed.pod("cat; echo nothing to read");
    assert_eq!(bed.run(&pod).0, Some(0));
}

#[test]
fn input_that_is_not_read_waits_and_none_of_it_is_lost() {
    let bed = Bed::app();
    let pod = with_stdin(&bed, "while [ ! -e /go ]; do sleep 0.05; done; md5sum; wc -c < /dev/null");
    let pid = bed.rt().ensure(&pod).unwrap().pid.unwrap();
    let mut talk = Talk::with(&bed, pod.id, false);
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 253) as u8).collect();
    let sums = std::thread::scope(|scope| {
        let (mut to, sent) = (talk.stream.try_clone().unwrap(), &much);
        let sender = scope.spawn(move || {
            for chunk in sent.chunks(50_000) {
                let length = u32::try_from(chunk.len()).unwrap().to_be_bytes();
                to.write_all(&[&[0][..], &length, chunk].concat()).unwrap();
            }
            to.write_all(&[0; 5]).unwrap();
        });
        // Meanwhile the shim hears everybody else.
        until("the shim answers while its program does not read", || bed.status(pod.id).state == PodState::Running);
        std::fs::write(format!("/proc/{pid}/root/go"), "").unwrap();
        sender.join().unwrap();
        talk.run_out();
        talk.text()
    });
    std::fs::write(bed.dir.path().join("much"), &much).unwrap();
    let own = std::process::Command::new("md5sum").arg(bed.dir.path().join("much")).output().unwrap();
    assert_eq!(sums[..32], String::from_utf8(own.stdout).unwrap()[..32]);
}

#[test]
fn who_is_awaited_gets_every_byte_as_it_was() {
    let bed = Bed::app();
    let pod = awaited(&bed, "cat; echo no >&2; head -c 3000000 /dev/zero; printf '\\377end'; exit 3");
    bed.rt().ensure(&pod).unwrap();
    let mut talk = Talk::with(&bed, pod.id, true);
    talk.say(FrameKind::Stdin, b"in\r\xfe");
    talk.say(FrameKind::Stdin, b"");
    // Slower than the program, but it reads.
    while talk.exit.is_none() && talk.listen() {
        std::thread::sleep(Duration::from_millis(3));
    }
    assert_eq!((talk.exit, talk.missed), (Some((3, String::new())), 0));
    assert_eq!(talk.err, b"no\n");
    assert!(talk.out.starts_with(b"in\r\xfe\0\0") && talk.out.ends_with(b"\0\xffend"));
    assert_eq!(talk.out.len(), 4 + 3_000_000 + 4);
    bed.until_stopped(pod.id);
    assert_eq!(bed.status(pod.id).exit_code, Some(3));
}

#[test]
fn who_is_awaited_may_come_after_the_end() {
    let bed = Bed::app();
    let pod = awaited(&bed, "echo quick; exit 5");
    bed.rt().ensure(&pod).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bed.status(pod.id).state, PodState::Running, "its output waits, and so does its end");
    let mut talk = Talk::with(&bed, pod.id, true);
    assert_eq!(talk.run_out(), 5);
    assert_eq!(talk.text(), "quick\n");
    bed.until_stopped(pod.id);
    assert_eq!(bed.log(pod.id, "main"), ["quick"]);
}

#[test]
fn nobody_is_awaited_for_ever_nor_beyond_a_stop() {
    let bed = Bed::app();
    let (left, stopped) = (awaited(&bed, "echo quick; exit 5"), awaited(&bed, "echo quick; exit 5"));
    bed.rt().ensure(&left).unwrap();
    bed.rt().ensure(&stopped).unwrap();
    let begin = Instant::now();
    bed.rt().stop(stopped.id, NO_GRACE).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    bed.until_stopped(left.id);
    for pod in [left, stopped] {
        assert_eq!((bed.status(pod.id).exit_code, bed.log(pod.id, "main")), (Some(5), vec!["quick".to_owned()]));
    }
}

/// Private memory of the bed's shim, in KiB.
fn private(bed: &Bed) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", bed.shims()[0])).unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with("Private_"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_client_that_does_not_read_holds_up_neither_program_nor_log() {
    let bed = Bed::app();
    for whole in [false, true] {
        let mut pod = with_stdin(&bed, "read go; seq 1 1000000; echo all; read go");
        pod.containers[0].awaited = whole;
        bed.rt().ensure(&pod).unwrap();
        let mut talk = Talk::with(&bed, pod.id, whole);
        talk.typed("go\n");
        bed.until_logged(pod.id, "all");
        let path = bed.options.log_dir.join(pod.id.to_string()).join("main.log");
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<LogLine> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers: Vec<u32> = lines.iter().filter_map(|line| line.message.parse().ok()).collect();
        // Its newest file: without a gap, to the end.
        assert!(numbers.len() > 100 && numbers.windows(2).all(|two| two[0] + 1 == two[1]));
        assert_eq!(numbers.last(), Some(&1_000_000));
        let private = private(&bed);
        eprintln!("private memory of the shim with a slow client: {private} KiB");
        assert!(private < 4096, "{private} KiB private, in a build without optimisation");
        // It is heard all the same, and in the end knows how much it missed.
        talk.typed("go\n");
        assert_eq!(talk.run_out(), 0);
        let all: u64 = (1..=1_000_000_u32).map(|n| n.to_string().len() as u64 + 1).sum::<u64>() + 4;
        assert!(talk.missed > 0 && talk.out.len() as u64 + talk.missed == all, "{} {}", talk.out.len(), talk.missed);
        bed.rt().remove(pod.id).unwrap();
        until("the shim is gone", || bed.shims().is_empty());
    }
}

#[test]
fn so_many_consoles_and_no_more_and_the_agent_always_gets_through() {
    let bed = Bed::app();
    let pod = with_terminal(&bed, "echo ready; sleep 600");
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    let inspector = bed.inspector();
    let held: Vec<Console> = (0..16).map(|_| inspector.attach(pod.id, None, false).unwrap()).collect();
    let refused = inspector.attach(pod.id, None, false).err().unwrap();
    assert_eq!(refused.message, "16 are attached to it already: end one of them first");
    assert_eq!(bed.status(pod.id).state, PodState::Running);
    drop(held);
    until("there is room again", || inspector.attach(pod.id, None, false).is_ok());
    bed.rt().stop(pod.id, NO_GRACE).unwrap();
}
