//! What a container cannot do. Each as root inside.

use crate::bed::Bed;

/// Runs a script; its lines.
fn inside(script: &str) -> Vec<String> {
    let bed = Bed::app();
    let pod = bed.pod(script);
    bed.run(&pod);
    bed.log(pod.id, "main")
}

fn refused(command: &str) {
    let log = inside(&format!("if {command}; then echo allowed; else echo refused; fi"));
    assert!(log.contains(&"refused".to_owned()), "{command}: {log:?}");
}

#[test]
fn mount() {
    refused("mount -t tmpfs tmpfs /tmp");
    refused("mount -o remount,rw /proc/sys");
    refused("umount /proc");
}

#[test]
fn change_the_kernel_s_settings() {
    refused("echo 1 > /proc/sys/kernel/sysrq");
    refused("echo x > /proc/sys/kernel/core_pattern");
    refused("echo b > /proc/sysrq-trigger");
    refused("hostname other");
}

#[test]
fn make_devices() {
    refused("mknod /tmp/sda b 8 0");
    refused("mknod /dev/kmem c 1 2");
    let log = inside("mknod /tmp/pipe p && echo pipe");
    assert!(log.contains(&"pipe".to_owned()), "{log:?}");
}

#[test]
fn load_modules_or_leave_its_namespaces() {
    refused("insmod /bin/data");
    refused("unshare -U true");
    refused("unshare -m true");
    refused("nsenter -t 1 -m true");
    refused("chroot / mount -t proc proc /proc");
}

#[test]
fn see_other_processes_or_hidden_files() {
    let log = inside(
        "ls -d /proc/[0-9]* | wc -l; cat /proc/kcore 2>/dev/null | wc -c; cat /proc/keys | wc -c; ls /sys/firmware | wc -l; readlink /proc/1/exe",
    );
    assert!(log[0].parse::<u32>().unwrap() <= 4, "{log:?}");
    assert_eq!(log[1..], ["0", "0", "0", "/bin/busybox"]);
}

#[test]
fn hold_more_than_it_should() {
    let log = inside("grep -E 'Cap|NoNewPrivs|Seccomp:|Sig(Blk|Ign)' /proc/self/status; cat /proc/self/oom_score_adj");
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "SigBlk:\t0000000000000000",
        "SigIgn:\t0000000000000000",
    ] {
        assert!(log.contains(&line.to_owned()), "{line}: {log:?}");
    }
}

#[test]
fn another_user_holds_nothing() {
    let bed = Bed::app();
    let mut pod = bed.pod("id -u; id -g; id -G; grep CapEff /proc/self/status; { echo x > /file; } 2>/dev/null || echo refused");
    pod.containers[0].user = "web".to_owned();
    bed.run(&pod);
    let log = bed.log(pod.id, "main");
    assert_eq!(log[..2], ["33", "33"]);
    assert!(log[2].contains("44"), "{log:?}");
    assert!(log.contains(&"CapEff:\t0000000000000000".to_owned()) && log.contains(&"refused".to_owned()), "{log:?}");
}

#[test]
fn keep_open_files_of_ours() {
    // Three streams and the directory being listed.
    assert_eq!(inside("ls /proc/self/fd"), ["0", "1", "2", "3"]);
}

#[test]
fn reach_another_network() {
    let log = inside("ls /sys/class/net; readlink /proc/self/ns/net");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    assert_eq!(log[0], "lo");
    assert_ne!(log.last().unwrap(), &own);
}

#[test]
fn write_to_our_own_binary() {
    let mut bed = Bed::app();
    // A binary that nobody else runs, or the kernel would refuse anyway.
    let copy = bed.dir.path().join("shim");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    bed.options.shim[0] = copy.clone().into();
    bed.restart_agent();
    let pod = bed.pod("sleep 600");
    bed.rt().ensure(&pod).unwrap();
    let held = std::fs::File::open(format!("/proc/{}/exe", bed.shims()[0])).unwrap();
    bed.rt().remove(pod.id).unwrap();
    crate::bed::until("the shim is gone", || bed.shims().is_empty());
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
    let error = std::fs::OpenOptions::new().write(true).open(again).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    std::fs::OpenOptions::new().write(true).open(copy).unwrap();
}
