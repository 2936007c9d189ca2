//! Ports and other small words as people type them. Pure.

use api::{
    Error, Result,
    spec::{Mount, Protocol, PublishedPort},
};
use std::str::FromStr;

/// `8080:80`, `80`, `53:53/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortArg(pub PublishedPort);

fn number(text: &str, whole: &str) -> Result<u16> {
    if let Some(cut) = text.strip_suffix('.') {
        return Err(Error::usage(format!("{whole:?} is not a port: leave out the full stop, as in {cut}")));
    }
    let range = Error::usage(format!("{whole:?} is not a port: use 1 to 65535, as in 8080:80"));
    text.parse().ok().filter(|port| *port > 0).ok_or(range)
}

impl FromStr for PortArg {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => {
                return Err(Error::usage(format!("{other:?} is not a protocol: use tcp or udp, as in 53:53/udp")));
            }
            None => (text, Protocol::Tcp),
        };
        let (host, container) = ports.split_once(':').unwrap_or((ports, ports));
        Ok(Self(PublishedPort { host: number(host, text)?, container: number(container, text)?, protocol }))
    }
}

/// `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairArg(pub String, pub String);

impl FromStr for PairArg {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self(key.to_owned(), value.to_owned())),
            _ => Err(Error::usage(format!("{text:?} is not of the form key=value"))),
        }
    }
}

/// `/host/path:/container/path[:ro]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountArg(pub Mount);

impl FromStr for MountArg {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<_> = text.split(':').collect();
        let (source, target, read_only) = match parts.as_slice() {
            [source, target] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            [source, target, "rw"] => (source, target, false),
            _ => return Err(Error::usage(format!("{text:?} is not a mount: write /on/server:/in/container or …:ro"))),
        };
        if !source.starts_with('/') || !target.starts_with('/') {
            return Err(Error::usage(format!("{text:?} is not a mount: both paths begin with /")));
        }
        Ok(Self(Mount { source: (*source).to_owned(), target: (*target).to_owned(), read_only }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_typed() {
        let port = |host, container, protocol| Ok(PortArg(PublishedPort { host, container, protocol }));
        assert_eq!("8080:80".parse(), port(8080, 80, Protocol::Tcp));
        assert_eq!("80".parse(), port(80, 80, Protocol::Tcp));
        assert_eq!("53:5353/udp".parse(), port(53, 5353, Protocol::Udp));
        let message = |text: &str| text.parse::<PortArg>().unwrap_err().message;
        assert_eq!(message("80."), r#""80." is not a port: leave out the full stop, as in 80"#);
        assert_eq!(message("0:80"), r#""0:80" is not a port: use 1 to 65535, as in 8080:80"#);
        assert_eq!(message("80/sctp"), r#""sctp" is not a protocol: use tcp or udp, as in 53:53/udp"#);
    }

    #[test]
    fn mounts_as_typed() {
        let mount = "/a:/b:ro".parse::<MountArg>().unwrap().0;
        assert_eq!((mount.source.as_str(), mount.target.as_str(), mount.read_only), ("/a", "/b", true));
        assert!("a:/b".parse::<MountArg>().is_err());
        assert!("/a".parse::<MountArg>().is_err());
    }
}
