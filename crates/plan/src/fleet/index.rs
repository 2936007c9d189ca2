//! Ordered indexes over open servers, so that choosing one costs a few look-ups and never a scan.
//!
//! Servers are kept in two orders. *By free share*, best first, apart for each size of machine: among machines of one size
//! the best that is too small comes after few others, while among mixed sizes all small ones may stand in front. *By
//! fullness*: those in use by free memory, apart for each bucket of free processor time, and the empty ones largest first.

use super::{Host, Room};
use std::collections::{BTreeMap, BTreeSet};

/// Score first, then rank, which makes it unique: smaller is better. One number, since all placing is walking along orders of
/// them: 48 bits of score, 16 of rank, for servers have numbers of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    /// Largest score. As an amount of memory it is 256 TiB: servers with more count as equals.
    const MOST: u64 = (1 << 48) - 1;

    fn new(score: u64, rank: u32) -> Self {
        Self(score.min(Self::MOST) << 16 | u64::from(rank & 0xFFFF))
    }

    /// Before every key with this score, behind all with a smaller one.
    pub fn before(score: u64) -> Self {
        Self::new(score, 0)
    }

    pub fn rank(self) -> u32 {
        (self.0 & 0xFFFF) as u32
    }
}

/// Open servers with one label, or all.
pub(crate) struct Index {
    label: Option<(String, String)>,
    /// Which size class each server belongs to, by position; None when it is not in this index.
    class_of: Vec<Option<u16>>,
    members: usize,
    pub sizes: Vec<SizeClass>,
    /// Servers in use, by bucket of free processor time, then free memory.
    pub used: BTreeMap<u8, BTreeSet<Key>>,
    /// Servers without any instance, the largest first.
    pub empty: BTreeSet<Key>,
}

/// Machines of about one size: within a power of two in memory and in processors.
pub(crate) struct SizeClass {
    bounds: (u8, u8),
    /// Nothing larger fits on any of them.
    pub memory: u64,
    /// Nothing larger fits on any of them.
    pub cpu: u32,
    /// The best free share first.
    pub by_share: BTreeSet<Key>,
}

impl Index {
    /// An index for the open servers with this label; none of them is in it yet.
    pub fn new(label: Option<(&str, &str)>, hosts: &[Host<'_>]) -> Self {
        let mut made = Self {
            label: label.map(|(key, value)| (key.to_owned(), value.to_owned())),
            class_of: Vec::with_capacity(hosts.len()),
            members: 0,
            sizes: Vec::new(),
            used: BTreeMap::new(),
            empty: BTreeSet::new(),
        };
        for host in hosts {
            let carries = label.is_none_or(|(key, value)| host.spec.labels.get(key).is_some_and(|own| own == value));
            let class = (carries && host.closed.is_none()).then(|| made.class(host));
            made.members += usize::from(class.is_some());
            made.class_of.push(class);
        }
        made
    }

    fn class(&mut self, host: &Host<'_>) -> u16 {
        let Room { memory, cpu } = host.all;
        let bounds = (log2(memory), log2(u64::from(cpu)));
        let known = self.sizes.iter().position(|size| size.bounds == bounds);
        let at = known.unwrap_or_else(|| {
            self.sizes.push(SizeClass { bounds, memory: 0, cpu: 0, by_share: BTreeSet::new() });
            self.sizes.len() - 1
        });
        let size = &mut self.sizes[at];
        size.memory = size.memory.max(memory);
        size.cpu = size.cpu.max(cpu);
        // There are at most 65 × 33 pairs of powers.
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    pub fn is_for(&self, label: Option<(&str, &str)>) -> bool {
        self.label.as_ref().map(|(key, value)| (key.as_str(), value.as_str())) == label
    }

    /// Servers this index is about.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Puts a server where it belongs now. One without a free address belongs nowhere.
    pub fn insert(&mut self, server: usize, host: &Host<'_>) {
        let Some(class) = self.class_of[server] else { return };
        if host.addresses.left() == 0 {
            return;
        }
        self.sizes[usize::from(class)].by_share.insert(share_key(host));
        if host.instances == 0 {
            self.empty.insert(size_key(host));
        } else {
            self.used.entry(bucket(host.cpu_free())).or_default().insert(tight_key(host));
        }
    }

    /// Takes a server out from where [`Index::insert`] put it, before anything about it changes.
    pub fn remove(&mut self, server: usize, host: &Host<'_>) {
        let Some(class) = self.class_of[server] else { return };
        self.sizes[usize::from(class)].by_share.remove(&share_key(host));
        if host.instances == 0 {
            self.empty.remove(&size_key(host));
        } else if let Some(bucket) = self.used.get_mut(&bucket(host.cpu_free())) {
            bucket.remove(&tight_key(host));
        }
    }
}

/// The largest free share first, then the fewest instances.
pub(crate) fn share_key(host: &Host<'_>) -> Key {
    let taken = 1_000_000 - host.free_share().min(1_000_000);
    // At most 20 bits; a server has fewer than 2¹⁶ addresses, and an instance takes one.
    Key::new((taken << 16) | u64::from(host.instances.min(0xFFFF)), host.rank)
}

/// The least free memory first.
pub(crate) fn tight_key(host: &Host<'_>) -> Key {
    Key::new(host.memory_free(), host.rank)
}

/// The most memory first.
pub(crate) fn size_key(host: &Host<'_>) -> Key {
    Key::new(Key::MOST - host.all.memory.min(Key::MOST), host.rank)
}

fn log2(value: u64) -> u8 {
    u8::try_from(value.checked_ilog2().map_or(0, |log| log + 1)).unwrap_or(u8::MAX)
}

/// Two buckets per power of two: every server in a higher bucket than that of a request has enough.
pub(crate) fn bucket(cpu: u32) -> u8 {
    let power = log2(u64::from(cpu));
    let upper_half = power >= 2 && cpu & (1 << (power - 2)) != 0;
    power * 2 + u8::from(upper_half)
}
