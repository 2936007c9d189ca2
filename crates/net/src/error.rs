//! What can go wrong between us and the kernel.

use driver::DriverError;
use nix::errno::Errno;
use std::io;

/// An error of the network driver.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried, as in `add link roost0`.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// `nft` could not be started.
    #[error("could not start {program}: {source} (is the package nftables installed?)")]
    NoNft {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// `nft` refused a transaction; nothing of it was done.
    #[error("nft refused the rules: {0}")]
    Rules(String),
    /// The bridge is not there yet.
    #[error("bridge {0} is not there: the server's network has to be made before its pods'")]
    NoBridge(String),
    /// No interface has the server's own address.
    #[error("no interface of this server has the address {0} that its tunnel shall use")]
    NoUnderlay(std::net::IpAddr),
    /// The underlay is too narrow for a tunnel.
    #[error("the interface with address {local} passes packets of {mtu} bytes: too few for a tunnel")]
    NarrowUnderlay {
        /// Own underlay address.
        local: std::net::IpAddr,
        /// Its interface's MTU in bytes.
        mtu: u32,
    },
    /// A name that cannot be an interface's.
    #[error("{0:?} cannot be the name of an interface: use 1 to 15 of letters, digits, '-', '_' and '.'")]
    BadInterface(String),
    /// There is no such pod here.
    #[error("pod {0} has no network on this server")]
    NoPod(api::InstanceId),
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The kernel refused `what`.
    pub(crate) fn kernel(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Kernel { what: what.into(), source: source.into() }
    }

    /// Whether the same call may work later: the kernel was short of something, or a part comes from another call.
    fn may_pass(&self) -> bool {
        match self {
            Self::Kernel { source, .. } => source.raw_os_error().map(Errno::from_raw).is_some_and(|errno| {
                matches!(
                    errno,
                    Errno::EBUSY | Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM | Errno::EEXIST | Errno::ENODEV
                )
            }),
            Self::NoBridge(_) | Self::NoUnderlay(_) | Self::Rules(_) => true,
            Self::NoNft { .. } | Self::NarrowUnderlay { .. } | Self::BadInterface(_) | Self::NoPod(_) => false,
        }
    }
}

impl From<Error> for DriverError {
    fn from(error: Error) -> Self {
        Self { message: error.to_string(), retryable: error.may_pass() }
    }
}
