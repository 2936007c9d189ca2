//! Other programs' rules that stand in our way. We never change them; we say so.

use crate::{error::Result, table};
use serde_json::Value;
use std::path::Path;

/// A base chain of somebody else that drops by default.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dropper {
    family: String,
    table: String,
    chain: String,
    hook: String,
}

/// Sentences about chains of other tables that drop by default what pods or tunnel need, and whose table says nothing of ours.
pub fn find(nft: &Path, bridge: &str, port: u16) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for dropper in droppers(&table::run(nft, &["-j", "list", "chains"], "")?) {
        let rules = table::run(nft, &["list", "table", &dropper.family, &dropper.table], "")?;
        if !is_told_of_us(&rules, &dropper.hook, bridge, port) {
            problems.push(sentence(&dropper, bridge, port));
        }
    }
    Ok(problems)
}

/// Base chains of others that drop by default, in nft's JSON listing.
fn droppers(listing: &str) -> Vec<Dropper> {
    let parsed: Value = serde_json::from_str(listing).unwrap_or_default();
    let chains = parsed["nftables"].as_array().into_iter().flatten().filter_map(|object| object.get("chain"));
    let word = |chain: &Value, key: &str| chain[key].as_str().unwrap_or_default().to_owned();
    let drops = chains.filter(|chain| {
        chain["policy"] == "drop"
            && matches!(chain["hook"].as_str(), Some("forward" | "input"))
            && matches!(chain["family"].as_str(), Some("ip" | "inet"))
            && chain["table"] != "roost"
    });
    drops
        .map(|chain| Dropper {
            family: word(chain, "family"),
            table: word(chain, "table"),
            chain: word(chain, "name"),
            hook: word(chain, "hook"),
        })
        .collect()
}

/// Whoever runs the firewall has let us in if its rules name our bridge, or, for what is sent to the server itself, the tunnel's port.
fn is_told_of_us(rules: &str, hook: &str, bridge: &str, port: u16) -> bool {
    rules.contains(bridge) || (hook == "input" && rules.contains(&format!("dport {port}")))
}

fn sentence(dropper: &Dropper, bridge: &str, port: u16) -> String {
    let Dropper { family, table, chain, hook } = dropper;
    let remedy = match hook.as_str() {
        "forward" => {
            format!("accept what comes in by or goes out of {bridge} there, or containers reach nobody beyond this server")
        }
        _ => format!("accept UDP port {port} from the other servers and port 53 from {bridge} there"),
    };
    format!("the host's firewall drops by default in table {family} {table}, chain {chain}: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_chains_that_drop_and_do_not_know_us() {
        let listing = r#"{"nftables": [{"metainfo": {}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "ip", "table": "filter", "name": "DOCKER"}},
            {"chain": {"family": "ip6", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}},
            {"chain": {"family": "inet", "table": "roost", "name": "pass", "hook": "forward", "policy": "drop"}},
            {"chain": {"family": "inet", "table": "fw", "name": "in", "hook": "input", "policy": "drop"}},
            {"chain": {"family": "inet", "table": "fw", "name": "out", "hook": "output", "policy": "drop"}}]}"#;
        let found: Vec<_> = droppers(listing).iter().map(|dropper| sentence(dropper, "roost0", 4789)).collect();
        insta::assert_snapshot!(found.join("\n"), @r"
        the host's firewall drops by default in table ip filter, chain FORWARD: accept what comes in by or goes out of roost0 there, or containers reach nobody beyond this server
        the host's firewall drops by default in table inet fw, chain in: accept UDP port 4789 from the other servers and port 53 from roost0 there
        ");
        assert_eq!(droppers("not json"), []);
    }

    #[test]
    fn a_firewall_that_names_us_is_no_problem() {
        assert!(is_told_of_us(r#"iifname "roost0" accept"#, "forward", "roost0", 4789));
        assert!(is_told_of_us("udp dport 4789 accept", "input", "roost0", 4789));
        assert!(!is_told_of_us("udp dport 4789 accept", "forward", "roost0", 4789));
        assert!(!is_told_of_us("tcp dport 22 accept", "input", "roost0", 4789));
    }
}
