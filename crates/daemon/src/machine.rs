//! What this machine is and has.

use api::{Bytes, Cpu, Error, Name, Result, server::ServerFacts};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
};

/// The host name as a server's name: what cannot be part of one becomes a hyphen.
pub fn host_name() -> Result<Name> {
    let host =
        nix::unistd::gethostname().map_err(|error| Error::failed(format!("this machine's host name cannot be read: {error}")))?;
    let host = host.to_string_lossy().to_ascii_lowercase();
    let label: String =
        host.split('.').next().unwrap_or_default().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Name::parse("server", label.trim_matches('-')).map_err(|error| error.hint("give this server a name: --name s1"))
}

/// The address this machine would send from towards others. Connecting a UDP socket sends nothing: the kernel only looks its
/// routes up (here for an address reserved for documentation, RFC 5737).
pub fn own_address() -> IpAddr {
    let probe = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect(SocketAddr::from(([192, 0, 2, 1], 9))).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    probe().filter(|address| !address.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn line(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().trim_matches('"').to_owned())
}

fn memory() -> Bytes {
    let kilobytes = line("/proc/meminfo", "MemTotal:").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    Bytes(kilobytes.unwrap_or(0) * 1024)
}

/// `v2` when the unified hierarchy is all there is, `hybrid` when it is beside the others, else `v1`.
pub fn cgroups() -> &'static str {
    let at = |path: &str| Path::new(path).exists();
    if at("/sys/fs/cgroup/cgroup.controllers") {
        "v2"
    } else if at("/sys/fs/cgroup/unified/cgroup.controllers") {
        "hybrid"
    } else {
        "v1"
    }
}

/// Is there such a program?
pub fn program(name: &str) -> bool {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(name).exists())
}

fn file_system(name: &str) -> bool {
    fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.split_whitespace().last() == Some(name)))
}

/// Things this machine can do, by the words people know them by.
pub fn features() -> Vec<String> {
    let mut out = Vec::new();
    let mut add = |there: bool, what: &str| {
        if there {
            out.push(what.to_owned());
        }
    };
    add(file_system("overlay"), "overlay");
    add(program("nft"), "nftables");
    add(program("lxc-start"), "lxc");
    add(program("mmdebstrap"), "bootstrap");
    add(Path::new("/proc/self/ns/user").exists(), "user namespaces");
    out
}

/// Everything the cluster wants to know.
pub fn facts() -> ServerFacts {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let uname = nix::sys::utsname::uname().ok();
    let text = |part: Option<&std::ffi::OsStr>| part.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    ServerFacts {
        cpu: Cpu(cores * 1000),
        memory: memory(),
        arch: text(uname.as_ref().map(|name| name.machine())),
        kernel: text(uname.as_ref().map(|name| name.release())),
        os: line("/etc/os-release", "PRETTY_NAME=").unwrap_or_default(),
        cgroups: cgroups().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: features(),
    }
}
