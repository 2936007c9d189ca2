//! What we know: the cluster's names at one moment. Pure, but for the turns that addresses take.

use api::assignment::NameTable;
use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::Ipv4Addr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Counters of turns. Names share them by hash, which is harmless and costs nothing when the table changes.
const TURNS: usize = 256;

/// The cluster's names.
pub struct Zone {
    /// Lower case, with the final dot.
    domain: Name,
    range: Option<Ipv4Net>,
    /// None: not told yet.
    names: Option<Arc<NameTable>>,
    /// Made when first asked for.
    reverse: OnceLock<HashMap<Ipv4Addr, String>>,
    turns: Arc<[AtomicU32; TURNS]>,
}

/// Where a name is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the domain, or an address of the range: these addresses (beginning with the one whose turn it is), or this name.
    Known(Content<'a>),
    /// In the domain or range, but not there.
    Unknown,
    /// Ours, but we have not been told names yet.
    NotTold,
    /// Not ours to answer.
    Elsewhere,
}

/// What is under a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// The domain itself.
    Apex,
    /// Addresses in the table's order, and how many to begin behind.
    Addresses(&'a [Ipv4Addr], usize),
    /// The name an address has, relative to the domain.
    Pointer(&'a str),
}

impl Zone {
    /// A zone without names.
    pub fn new(domain: Name, range: Option<Ipv4Net>) -> Self {
        let turns = Arc::new([const { AtomicU32::new(0) }; TURNS]);
        Self { domain, range, names: None, reverse: OnceLock::new(), turns }
    }

    /// The same zone with these names.
    pub fn with(&self, names: Arc<NameTable>) -> Self {
        let turns = Arc::clone(&self.turns);
        Self { domain: self.domain.clone(), range: self.range, names: Some(names), reverse: OnceLock::new(), turns }
    }

    /// The domain, lower case, with the final dot.
    pub const fn domain(&self) -> &Name {
        &self.domain
    }

    /// Where a name is. Upper and lower case are one (RFC 4343).
    pub fn find(&self, name: &Name) -> Place<'_> {
        if self.domain.zone_of(name) {
            let depth = usize::from(name.num_labels() - self.domain.num_labels());
            return if depth == 0 { Place::Known(Content::Apex) } else { self.find_relative(&relative(name, depth)) };
        }
        match self.range.zip(arpa_address(name)) {
            Some((range, address)) if range.contains(&address) => self.find_address(address),
            _ => self.find_host(name),
        }
    }

    /// A host name that leads to servers is ours although its domain is not.
    fn find_host(&self, name: &Name) -> Place<'_> {
        let Some(table) = self.names.as_ref().filter(|table| !table.hosts.is_empty()) else { return Place::Elsewhere };
        match table.hosts.get(&relative(name, usize::from(name.num_labels()))) {
            Some(addresses) => Place::Known(Content::Addresses(addresses, 0)),
            None => Place::Elsewhere,
        }
    }

    fn find_relative(&self, name: &str) -> Place<'_> {
        let Some(table) = &self.names else { return Place::NotTold };
        let Some(addresses) = table.names.get(name) else { return Place::Unknown };
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let turn = self.turns[hasher.finish() as usize % TURNS].fetch_add(1, Ordering::Relaxed);
        Place::Known(Content::Addresses(addresses, turn as usize % addresses.len().max(1)))
    }

    fn find_address(&self, address: Ipv4Addr) -> Place<'_> {
        let Some(table) = &self.names else { return Place::NotTold };
        let names = self.reverse.get_or_init(|| reverse(table));
        names.get(&address).map_or(Place::Unknown, |name| Place::Known(Content::Pointer(name)))
    }
}

/// The first `depth` labels in lower case.
fn relative(name: &Name, depth: usize) -> String {
    let mut text = String::with_capacity(name.len());
    for label in name.iter().take(depth) {
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    text
}

/// The address asked for in a whole `in-addr.arpa` name.
fn arpa_address(name: &Name) -> Option<Ipv4Addr> {
    match name.parse_arpa_name().ok()? {
        IpNet::V4(net) if net.prefix_len() == 32 => Some(net.addr()),
        _ => None,
    }
}

/// Each address's own name: the one with the fewest addresses, of those the longest (`web-3.web` rather than `web`).
fn reverse(table: &NameTable) -> HashMap<Ipv4Addr, String> {
    let mut best: HashMap<Ipv4Addr, (usize, &str)> = HashMap::new();
    for (name, addresses) in &table.names {
        for address in addresses {
            let entry = best.entry(*address).or_insert((addresses.len(), name));
            if (addresses.len(), std::cmp::Reverse(name.len())) < (entry.0, std::cmp::Reverse(entry.1.len())) {
                *entry = (addresses.len(), name);
            }
        }
    }
    best.into_iter().map(|(address, (_, name))| (address, name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, &[[u8; 4]])]) -> Arc<NameTable> {
        let names = entries.iter().map(|(name, list)| ((*name).to_owned(), list.iter().map(|a| Ipv4Addr::from(*a)).collect()));
        Arc::new(NameTable { names: names.collect(), ..NameTable::default() })
    }

    fn zone() -> Zone {
        let zone = Zone::new(Name::from_ascii("internal.").unwrap(), Some("10.88.0.0/16".parse().unwrap()));
        let mut told = NameTable::clone(&table(&[
            ("web", &[[10, 88, 1, 2], [10, 88, 2, 2]]),
            ("web-1.web", &[[10, 88, 1, 2]]),
            ("c1", &[[10, 88, 1, 9]]),
            ("gone", &[]),
        ]));
        told.hosts.insert("blog.example".to_owned(), vec![Ipv4Addr::new(10, 200, 0, 2)]);
        told.hosts.insert("off.example".to_owned(), Vec::new());
        zone.with(Arc::new(told))
    }

    #[test]
    fn names_are_found_whatever_their_case_and_only_in_the_domain() {
        let zone = zone();
        let at = |name: &str| match zone.find(&Name::from_ascii(name).unwrap()) {
            Place::Known(Content::Addresses(addresses, _)) => format!("{addresses:?}"),
            other => format!("{other:?}"),
        };
        for (name, place) in [
            ("c1.internal.", "[10.88.1.9]"),
            ("C1.InterNal.", "[10.88.1.9]"),
            ("web-1.web.internal.", "[10.88.1.2]"),
            ("gone.internal.", "[]"),
            ("internal.", "Known(Apex)"),
            ("c2.internal.", "Unknown"),
            ("x.c1.internal.", "Unknown"),
            ("c1.internal.example.", "Elsewhere"),
            ("notinternal.", "Elsewhere"),
            (".", "Elsewhere"),
            ("blog.example.", "[10.200.0.2]"),
            ("Blog.Example.", "[10.200.0.2]"),
            ("off.example.", "[]"),
            ("www.blog.example.", "Elsewhere"),
            ("example.", "Elsewhere"),
            ("2.1.88.10.in-addr.arpa.", "Known(Pointer(\"web-1.web\"))"),
            ("3.1.88.10.in-addr.arpa.", "Unknown"),
            ("1.88.10.in-addr.arpa.", "Elsewhere"),
            ("1.0.0.127.in-addr.arpa.", "Elsewhere"),
        ] {
            assert_eq!(at(name), place, "{name}");
        }
    }

    #[test]
    fn addresses_take_turns() {
        let zone = zone();
        let name = Name::from_ascii("web.internal.").unwrap();
        let turn = || match zone.find(&name) {
            Place::Known(Content::Addresses(_, turn)) => turn,
            other => panic!("{other:?}"),
        };
        assert_eq!([turn(), turn(), turn(), turn()], [0, 1, 0, 1]);
    }

    #[test]
    fn before_the_first_table_nothing_is_said_not_to_exist() {
        let zone = Zone::new(Name::from_ascii("internal.").unwrap(), None);
        assert_eq!(zone.find(&Name::from_ascii("c1.internal.").unwrap()), Place::NotTold);
    }
}
