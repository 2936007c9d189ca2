//! The default system call filter: an allow list, compiled here to the kernel's filter language.
//!
//! The list follows docker's default profile without what it adds for extra capabilities (moby,
//! `profiles/seccomp/default.json`): modules, mounts, clocks, keys, kernel images, tracing of the kernel and new
//! namespaces stay outside. We compile it ourselves because it is a page of code, runs in microseconds, serves the
//! container's first program and every `exec` alike, and needs no C library.

mod allowed;

use crate::{Error, Result};

/// `AUDIT_ARCH_*` of this build (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;

/// System calls with this bit are of the x32 kind (asm/unistd.h): unused, and a way around lists of numbers.
const X32_BIT: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Operations of the classic filter language (linux/bpf_common.h).
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const DENY: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// What an old kernel would say: programs then fall back to something older.
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Flags of `clone(2)` and `unshare(2)` that make namespaces (linux/sched.h). `CLONE_NEWTIME` is absent: in `clone` its
/// bit means something else.
const NAMESPACES: u32 = 0x7E02_0000;

/// One instruction: operation, jump if true, jump if false, operand.
type Instruction = libc::sock_filter;

const fn op(code: u16, operand: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k: operand }
}

/// Goes on with the next instruction if so, else skips `otherwise` instructions.
const fn when(code: u16, operand: u32, otherwise: u8) -> Instruction {
    Instruction { code, jt: 0, jf: otherwise, k: operand }
}

/// Goes on with the next instruction unless so, then skips `then` instructions.
const fn unless(code: u16, operand: u32, then: u8) -> Instruction {
    Instruction { code, jt: then, jf: 0, k: operand }
}

/// Low half of an argument. Values that matter here fit in it, and the kernel ignores the rest for these calls.
const fn argument(index: u32) -> Instruction {
    op(LOAD, ARGUMENTS + 8 * index)
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

/// The whole filter.
pub fn program() -> Vec<Instruction> {
    let mut code = vec![op(LOAD, MACHINE), unless(EQUAL, ARCH, 1), op(RETURN, UNKNOWN), op(LOAD, NUMBER)];
    code.extend([when(AT_LEAST, X32_BIT, 1), op(RETURN, UNKNOWN)]);
    // Not filterable by its arguments, which lie in memory: without it, programs use clone.
    code.extend([when(EQUAL, number(libc::SYS_clone3), 1), op(RETURN, UNKNOWN)]);
    code.extend([when(EQUAL, number(libc::SYS_clone), 4), argument(0)]);
    code.extend([unless(ANY_BIT, NAMESPACES, 1), op(RETURN, ALLOW), op(RETURN, DENY)]);
    code.extend(personality());
    code.extend(socket());
    for (call, mode) in allowed::node_calls() {
        code.extend(plain_nodes_only(call, mode));
    }
    for call in allowed::calls() {
        code.extend([when(EQUAL, number(call), 1), op(RETURN, ALLOW)]);
    }
    let last = allowed::calls().into_iter().chain(allowed::known_and_denied()).max().map_or(0, number);
    code.extend([when(AT_LEAST, last + 1, 1), op(RETURN, UNKNOWN), op(RETURN, DENY)]);
    code
}

/// `personality(2)`: only the values that change nothing of weight, as in docker's profile.
fn personality() -> Vec<Instruction> {
    const VALUES: [u32; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xFFFF_FFFF];
    let mut code = vec![argument(0)];
    for value in VALUES {
        code.extend([when(EQUAL, value, 1), op(RETURN, ALLOW)]);
    }
    code.push(op(RETURN, DENY));
    block(libc::SYS_personality, code)
}

/// `socket(2)`: not `AF_VSOCK`, which leads to the hypervisor, past every network namespace, and not `AF_ALG`.
fn socket() -> Vec<Instruction> {
    let mut code = vec![argument(0)];
    for family in [libc::AF_VSOCK, libc::AF_ALG] {
        code.extend([when(EQUAL, family.cast_unsigned(), 1), op(RETURN, DENY)]);
    }
    code.push(op(RETURN, ALLOW));
    block(libc::SYS_socket, code)
}

/// `mknod`: files, pipes and sockets, but no devices.
fn plain_nodes_only(call: libc::c_long, mode_argument: u32) -> Vec<Instruction> {
    let mut code = vec![argument(mode_argument), op(AND, libc::S_IFMT)];
    for kind in [0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK] {
        code.extend([when(EQUAL, kind, 1), op(RETURN, ALLOW)]);
    }
    code.push(op(RETURN, DENY));
    block(call, code)
}

/// Runs `code`, which ends in a verdict, for one call only.
fn block(call: libc::c_long, code: Vec<Instruction>) -> Vec<Instruction> {
    let length = u8::try_from(code.len()).unwrap_or(u8::MAX);
    let mut all = vec![when(EQUAL, number(call), length)];
    all.extend(code);
    all
}

/// Puts this process, and all it will ever start, under the filter. Needs no-new-privileges first.
pub fn install(program: &mut [Instruction]) -> Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Error::text("the system call filter is too long"))?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: filter and program live through the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if result < 0 { Err(Error::errno("install the system call filter")) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
