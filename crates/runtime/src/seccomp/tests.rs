//! The filter is interpreted here, instruction by instruction, and asked about calls.

use super::*;

/// What the filter says about a call: interprets the subset of the language that is used.
fn verdict(call: u32, machine: u32, arguments: [u64; 6]) -> u32 {
    let code = program();
    let (mut at, mut value) = (0usize, 0u32);
    loop {
        let i = code[at];
        at += 1;
        let jump = |so: bool| usize::from(if so { i.jt } else { i.jf });
        match i.code {
            LOAD => {
                value = match i.k {
                    NUMBER => call,
                    MACHINE => machine,
                    offset => u32::try_from(arguments[((offset - ARGUMENTS) / 8) as usize] & 0xFFFF_FFFF).unwrap(),
                }
            }
            AND => value &= i.k,
            EQUAL => at += jump(value == i.k),
            AT_LEAST => at += jump(value >= i.k),
            ANY_BIT => at += jump(value & i.k != 0),
            RETURN => return i.k,
            other => panic!("operation {other:#x}"),
        }
    }
}

fn ask(call: libc::c_long, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    verdict(number(call), ARCH, all)
}

#[test]
fn ordinary_programs_may_live() {
    for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_openat, libc::SYS_futex, libc::SYS_epoll_pwait, libc::SYS_exit_group]
    {
        assert_eq!(ask(call, &[]), ALLOW, "{call}");
    }
}

#[test]
fn the_kernel_s_own_matters_are_refused() {
    for call in [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_pivot_root,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_swapon,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
        libc::SYS_open_by_handle_at,
        libc::SYS_acct,
        libc::SYS_syslog,
        libc::SYS_quotactl,
        libc::SYS_mount_setattr,
    ] {
        assert_eq!(ask(call, &[]), DENY, "{call}");
    }
}

#[test]
fn new_namespaces_are_refused_in_clone_and_threads_allowed() {
    assert_eq!(ask(libc::SYS_clone, &[libc::CLONE_VM as u64 | libc::CLONE_THREAD as u64]), ALLOW);
    for flag in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        assert_eq!(ask(libc::SYS_clone, &[u64::from(flag.cast_unsigned())]), DENY, "{flag:#x}");
    }
    assert_eq!(ask(libc::SYS_clone3, &[]), UNKNOWN);
}

#[test]
fn nodes_are_made_but_no_devices() {
    let dir = u64::MAX;
    for (kind, wanted) in [
        (0, ALLOW),
        (libc::S_IFREG, ALLOW),
        (libc::S_IFIFO, ALLOW),
        (libc::S_IFSOCK, ALLOW),
        (libc::S_IFCHR, DENY),
        (libc::S_IFBLK, DENY),
    ] {
        assert_eq!(ask(libc::SYS_mknodat, &[dir, 0, u64::from(kind | 0o644), 8]), wanted, "{kind:o}");
        #[cfg(target_arch = "x86_64")]
        assert_eq!(ask(libc::SYS_mknod, &[0, u64::from(kind | 0o644), 8]), wanted, "{kind:o}");
    }
}

#[test]
fn other_machines_calls_and_unknown_numbers_do_not_exist() {
    assert_eq!(verdict(4, 0x4000_0003, [0; 6]), UNKNOWN);
    assert_eq!(verdict(X32_BIT | 1, ARCH, [0; 6]), UNKNOWN);
    assert_eq!(verdict(4000, ARCH, [0; 6]), UNKNOWN);
}

#[test]
fn sockets_of_the_hypervisor_are_refused() {
    assert_eq!(ask(libc::SYS_socket, &[libc::AF_INET as u64]), ALLOW);
    assert_eq!(ask(libc::SYS_socket, &[libc::AF_VSOCK as u64]), DENY);
}

#[test]
fn personality_may_be_asked_not_changed_much() {
    assert_eq!(ask(libc::SYS_personality, &[0xFFFF_FFFF]), ALLOW);
    assert_eq!(ask(libc::SYS_personality, &[0x0040_0000]), DENY);
}

#[test]
fn every_jump_stays_inside_and_the_kernel_would_take_it() {
    let code = program();
    assert!(code.len() <= 4096, "BPF_MAXINSNS");
    for (at, i) in code.iter().enumerate() {
        assert!(at + 1 + usize::from(i.jt.max(i.jf)) < code.len() || i.code == RETURN, "{at}");
    }
}
