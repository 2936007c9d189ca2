//! Commands in containers that run.

use crate::bed::{Bed, request};
use api::stream::ExecRequest;
use std::io::{Read as _, Write as _};

fn running(bed: &Bed) -> api::InstanceId {
    let pod = bed.pod("echo ready; sleep 600");
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    pod.id
}

pub fn codes_input_environment_and_user(bed: &mut Bed) {
    let id = running(bed);
    assert_eq!(bed.exec(id, &["sh", "-c", "echo $COLOUR; exit 5"]), (5, "blue\n".to_owned()));
    let asked = ExecRequest { stdin: true, ..request(&["wc", "-l"]) };
    assert_eq!(bed.exec_request(id, &asked, "a\nb\n").1.trim(), "2");
    let asked = ExecRequest { env: vec!["COLOUR=red".to_owned()], ..request(&["sh", "-c", "echo $COLOUR"]) };
    assert_eq!(bed.exec_request(id, &asked, "").1, "red\n");
    let asked = ExecRequest { user: Some("web".to_owned()), ..request(&["id", "-u"]) };
    assert_eq!(bed.exec_request(id, &asked, "").1, "33\n");
    assert_eq!(bed.exec(id, &["sh", "-c", "kill -9 $$"]).0, 137);
}

pub fn what_is_not_there_and_what_is_no_program(bed: &mut Bed) {
    let id = running(bed);
    let (code, text) = bed.exec(id, &["nonesuch"]);
    assert_eq!(code, 127, "{text}");
    assert!(text.contains("nonesuch"), "{text}");
    let (code, text) = bed.exec(id, &["/bin/data"]);
    assert_eq!(code, 126, "{text}");
}

pub fn a_terminal_is_a_terminal(bed: &mut Bed) {
    let id = running(bed);
    let asked = ExecRequest {
        terminal: Some((91, 27)),
        stdin: true,
        ..request(&["sh", "-c", "tty; stty size; read x; echo got $x; exit 4"])
    };
    let mut handle = bed.rt().exec(id, &asked).unwrap();
    assert!(handle.stdout.is_none() && handle.stderr.is_none());
    let mut terminal = handle.stdin.take().unwrap();
    let (mut text, mut buffer, mut typed) = (String::new(), [0; 1024], false);
    // The end of a terminal is an error of its other end.
    while let Ok(length @ 1..) = terminal.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if !typed && text.contains("27 91") {
            terminal.write_all(b"word\n").unwrap();
            typed = true;
        }
    }
    assert!(text.contains("/dev/pts/") && text.contains("27 91") && text.contains("got word"), "{text:?}");
    assert_eq!((handle.wait)().unwrap(), 4);
}

#[test]
fn it_is_inside_in_every_respect() {
    let bed = Bed::app();
    let id = running(&bed);
    let (code, text) = bed.exec(
        id,
        &[
            "sh",
            "-c",
            "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; ls -d /proc/[0-9]* | wc -l; cat /proc/self/cgroup",
        ],
    );
    assert_eq!(code, 0);
    for line in ["CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.lines().filter(|l| l.contains("pids") || l.contains("memory")).all(|l| l.ends_with(":/")), "{text}");
    for namespace in ["pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let link = format!("/proc/1/ns/{namespace}");
        let script = format!("readlink {link}; readlink /proc/self/ns/{namespace}");
        let (_, text) = bed.exec(id, &["sh", "-c", &script]);
        let links: Vec<&str> = text.lines().collect();
        assert_eq!(links[0], links[1], "{namespace}");
    }
    assert!(bed.exec(id, &["unshare", "-U", "true"]).0 != 0);
    assert!(bed.exec(id, &["mount", "-t", "tmpfs", "t", "/tmp"]).0 != 0);
}

pub fn a_pod_that_does_not_run_says_so(bed: &mut Bed) {
    let pod = bed.pod("exit 0");
    bed.run(&pod);
    let error = bed.rt().exec(pod.id, &request(&["true"])).err().unwrap();
    assert!(error.message.contains("does not run on this server"), "{}", error.message);
}
