//! Linux capabilities a container's programs may hold.

use crate::{Error, Result};

/// What root in a container keeps: docker's default set, fourteen of forty-one (moby, `oci/caps/defaults.go`). Making
/// device nodes is in it for the sake of archives that hold pipes and sockets; devices themselves are refused by the
/// system call filter, the device list and the mount option.
pub const DEFAULT: [(&str, u32); 14] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
    ("CAP_SETFCAP", 31),
];

/// Numbers above the last capability are refused by the kernel; sixty-four is as far as its interface goes.
const LAST: u32 = 63;

/// The default set as a mask.
pub fn default_mask() -> u64 {
    DEFAULT.iter().fold(0, |mask, (_, number)| mask | 1 << number)
}

/// Header of `capset(2)`, version 3.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// One half (32 capabilities) of the data of `capset(2)`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h).
const VERSION_3: u32 = 0x2008_0522;

/// Takes every capability outside `mask` out of the bounding set: no later program can get it back.
pub fn bound(mask: u64) -> Result<()> {
    for number in (0..=LAST).filter(|n| mask & (1 << n) == 0) {
        // SAFETY: plain numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } < 0 {
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EINVAL) {
                return Ok(());
            }
            return Err(Error::call("drop a capability", error));
        }
    }
    Ok(())
}

/// Holds exactly `mask`, with nothing inheritable or ambient.
pub fn hold(mask: u64) -> Result<()> {
    let half = |shift: u32| {
        let bits = u32::try_from(mask >> shift & u64::from(u32::MAX)).unwrap_or(0);
        Data { effective: bits, permitted: bits, inheritable: 0 }
    };
    let header = Header { version: VERSION_3, pid: 0 };
    let data = [half(0), half(32)];
    // SAFETY: both structures live through the call and have the kernel's layout.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } < 0 {
        return Err(Error::errno("set capabilities"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_mask_is_docker_s() {
        assert_eq!(format!("{:016x}", default_mask()), "00000000a80425fb");
    }
}
