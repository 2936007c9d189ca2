//! `roost doctor`: what this machine can and cannot do for Roost.

use crate::{agent, machine};
use api::Result;

/// One finding.
struct Finding {
    good: bool,
    /// Without it nothing works.
    needed: bool,
    what: &'static str,
    fact: String,
}

fn finding(good: bool, needed: bool, what: &'static str, fact: impl Into<String>) -> Finding {
    Finding { good, needed, what, fact: fact.into() }
}

fn findings() -> Vec<Finding> {
    let features = machine::features();
    let has = |what: &str| features.iter().any(|feature| feature == what);
    let either = |good: bool, yes: &str, no: &str| if good { yes.to_owned() } else { no.to_owned() };
    let root = nix::unistd::geteuid().is_root();
    let mut out = vec![
        finding(root, true, "root", either(root, "yes", "Roost must run as root")),
        finding(true, true, "cgroups", machine::cgroups()),
        finding(has("overlay"), true, "overlay", either(has("overlay"), "in the kernel", "load the kernel module overlay")),
        finding(has("nftables"), true, "nftables", either(has("nftables"), "nft is installed", "install the package nftables")),
        finding(
            has("lxc"),
            false,
            "system containers",
            either(has("lxc"), "lxc is installed", "install the package lxc to run them"),
        ),
        finding(
            has("bootstrap"),
            false,
            "image bootstrap",
            either(has("bootstrap"), "mmdebstrap is installed", "install the package mmdebstrap"),
        ),
    ];
    if root {
        let network = agent::network();
        let fact = network.as_ref().err().map_or_else(|| "netlink answers".to_owned(), |error| error.details.join(", "));
        out.push(finding(network.is_ok(), true, "network", fact));
    }
    out
}

/// Runs it: exit code 1 when something needed is missing.
pub fn run() -> Result<u8> {
    let findings = findings();
    for finding in &findings {
        let mark = match (finding.good, finding.needed) {
            (true, _) => "✓",
            (false, true) => "✗",
            (false, false) => "–",
        };
        println!("{mark} {:<18} {}", finding.what, finding.fact);
    }
    Ok(u8::from(findings.iter().any(|finding| finding.needed && !finding.good)))
}
