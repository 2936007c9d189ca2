//! Which server should have an image that it has not, so that losing a server loses no image.
//!
//! What a registry has can be pulled again; what was built, imported, bootstrapped or made of a container is nowhere else.

use api::{Name, Snapshot, image::ImageRecord, report::Report, server::Liveness};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Servers that shall have each image, if there are so many: two may go at once.
pub const COPIES: usize = 3;
/// An image that is compressed needs so many times its size, unpacked and packed together (base systems need 4.5 times).
const UNPACKED: u64 = 6;
/// What stays free on a server that is given a copy nobody asked for.
const SPARE: u64 = 1 << 30;

/// An image, and the server that is to fetch it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageCopy {
    /// One of its names.
    pub image: String,
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// Where it is to be.
    pub server: Name,
}

/// The most urgent copy that is missing: of the images on the fewest servers, the newest. None of `resting` (digest and server),
/// which did not work a moment ago.
///
/// Nothing as long as it is not known of a server whether it is there. A lost server may come back, and keeps its copy in the count
/// while two others have one.
pub fn next_copy(snapshot: &Snapshot, resting: &BTreeSet<(String, Name)>) -> Option<ImageCopy> {
    if a_server_is_unknown(snapshot) {
        return None;
    }
    let holders = holders(snapshot);
    let records = snapshot.images.values();
    let copies = records.filter_map(|record| copy(snapshot, record, holders.get(record.digest.as_str())?, resting));
    copies.min_by_key(|(urgency, _)| *urgency).map(|(_, copy)| copy)
}

/// Whether nothing is to be waited for: an image is where [`next_copy`] would have it, or cannot be brought there now. Not yet while
/// no server says that it has it.
pub fn copied(snapshot: &Snapshot, record: &ImageRecord) -> bool {
    let done = |holders: &Holders<'_>| copy(snapshot, record, holders, &BTreeSet::new()).is_none();
    a_server_is_unknown(snapshot) || holders(snapshot).get(record.digest.as_str()).is_some_and(done)
}

fn a_server_is_unknown(snapshot: &Snapshot) -> bool {
    snapshot.servers.keys().any(|server| snapshot.liveness(server) == Liveness::Unknown)
}

/// Servers that have each image, by digest.
#[derive(Default)]
struct Holders<'a> {
    alive: Vec<&'a Name>,
    lost: usize,
}

fn holders(snapshot: &Snapshot) -> BTreeMap<&str, Holders<'_>> {
    let mut all: BTreeMap<&str, Holders<'_>> = BTreeMap::new();
    for (server, report) in snapshot.reports.iter().filter(|(server, _)| snapshot.servers.contains_key(*server)) {
        for digest in &report.images {
            let holders = all.entry(digest).or_default();
            match snapshot.liveness(server) {
                Liveness::Lost => holders.lost += 1,
                _ => holders.alive.push(server),
            }
        }
    }
    all
}

type Urgency = (usize, Reverse<api::Timestamp>);

fn copy(
    snapshot: &Snapshot,
    record: &ImageRecord,
    holders: &Holders<'_>,
    resting: &BTreeSet<(String, Name)>,
) -> Option<(Urgency, ImageCopy)> {
    let alive = holders.alive.len();
    let lost_count = alive + 1 >= COPIES && alive + holders.lost >= COPIES;
    if record.unusable.is_some() || alive == 0 || alive >= COPIES || lost_count {
        return None;
    }
    let free = |report: &Report| report.usage.disk_free.0.checked_sub(record.size.0.saturating_mul(UNPACKED) + SPARE);
    let candidates = snapshot.servers.values().filter(|server| !server.draining && !holders.alive.contains(&&server.name));
    let able = candidates.filter_map(|server| {
        let report: &Arc<Report> = snapshot.reports.get(&server.name)?;
        let there = snapshot.liveness(&server.name) == Liveness::Alive;
        let tried = resting.contains(&(record.digest.clone(), server.name.clone()));
        (there && !tried).then_some((free(report)?, Reverse(server.number), &server.name))
    });
    let (_, _, server) = able.max()?;
    let copy = ImageCopy { image: record.name.clone(), digest: record.digest.clone(), server: server.clone() };
    Some(((alive, Reverse(record.created)), copy))
}
