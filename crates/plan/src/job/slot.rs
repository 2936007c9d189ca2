//! One slot: which of its instances stay, and whether it needs another.

use super::{Cause, Draft, Groups, Need};
use crate::look::{Look, Sight};
use api::{
    Name,
    plan::{Placement, Wanted},
    server::Liveness,
    spec::JobSpec,
};
use std::collections::HashSet;

/// An instance that shall run, on a server that is not lost.
pub(super) struct Live {
    /// Where in the plan.
    pub at: usize,
    pub sight: Sight,
    /// Runs the revision it should.
    pub current: bool,
    /// Has to leave its server.
    pub moved: bool,
}

/// How a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should.
    Serves,
    /// Its instance is on its way.
    Starts,
    /// It has no instance.
    Missing,
    /// Its instance runs, but its checks fail.
    Unhealthy,
    /// Its instance has to leave its server.
    Moved,
    /// Its instance runs another revision.
    Outdated,
}

/// How a job's slots stand together.
#[derive(Default)]
pub(super) struct Slots {
    /// Slots as they should be.
    pub serving: u32,
    /// Slots whose instance is on its way.
    pub starting: u32,
    /// Slots that stopped their old instance before there is room for the new one.
    pub making_room: u32,
    /// Slots that wait for the pause after a failure.
    pub paused: u32,
    /// Instances that stay for now but run another revision.
    pub outdated: u32,
    /// Slots that do not answer but should.
    pub unhealthy: u32,
}

/// Judges one slot by its instances, oldest first. Gives those that stay, the one it is judged by first; the others are
/// no longer wanted.
pub(super) fn judge(live: &[Live]) -> (Verdict, Vec<&Live>) {
    let newest = |fits: &dyn Fn(&Live) -> bool| live.iter().rev().find(|one| fits(one));
    if let Some(good) = newest(&|one| one.current && !one.moved && one.sight == Sight::Serving) {
        return (Verdict::Serves, vec![good]);
    }
    let on_its_way = |one: &Live| matches!(one.sight, Sight::Pending | Sight::Absent);
    if let Some(next) = newest(&|one| one.current && !one.moved && on_its_way(one)) {
        let serving = newest(&|one| one.at != next.at && one.sight == Sight::Serving);
        let cover = serving.or_else(|| newest(&|one| one.at != next.at));
        return (Verdict::Starts, std::iter::once(next).chain(cover).collect());
    }
    let Some(cover) = newest(&|one| one.sight == Sight::Serving).or(live.last()) else {
        return (Verdict::Missing, Vec::new());
    };
    let verdict = match (cover.sight, cover.moved) {
        (Sight::Unhealthy, _) => Verdict::Unhealthy,
        (_, true) => Verdict::Moved,
        (_, false) => Verdict::Outdated,
    };
    (verdict, vec![cover])
}

impl Draft<'_> {
    /// Judges every slot: retires what is not needed, and notes what is.
    pub(super) fn judge_slots(&mut self, look: &Look<'_>, groups: &Groups) -> Slots {
        let mut order: Vec<usize> = (0..self.plan.placements.len()).collect();
        order.retain(|at| self.plan.placements[*at].wanted == Wanted::Run);
        order.sort_by_key(|at| (self.plan.placements[*at].slot, self.plan.placements[*at].id));
        let mut slots = Slots::default();
        let mut stay = HashSet::new();
        let mut rest = order.as_slice();
        for slot in 1..=self.spec.count {
            let length = rest.partition_point(|at| self.plan.placements[*at].slot <= slot);
            let (own, others) = rest.split_at(length);
            rest = others;
            self.judge_slot(look, groups, (slot, own), (&mut slots, &mut stay));
        }
        self.retire_others(look, &stay);
        slots
    }

    fn judge_slot(&mut self, look: &Look<'_>, groups: &Groups, slot: (u32, &[usize]), out: (&mut Slots, &mut HashSet<usize>)) {
        let ((slot, own), (slots, stay)) = (slot, out);
        let lost = own.iter().copied().filter(|at| look.sight(&self.plan.placements[*at]) == Sight::Lost);
        let lost: Vec<usize> = lost.collect();
        let live: Vec<Live> = own.iter().filter(|at| !lost.contains(at)).map(|at| self.live(look, groups, *at)).collect();
        let (verdict, kept) = judge(&live);
        stay.extend(kept.iter().map(|one| one.at));
        slots.outdated += u32::try_from(kept.iter().filter(|one| !one.current).count()).unwrap_or(u32::MAX);
        slots.serving += u32::from(matches!(verdict, Verdict::Serves | Verdict::Moved));
        slots.starting += u32::from(verdict == Verdict::Starts);
        slots.unhealthy += u32::from(verdict == Verdict::Unhealthy);
        let cause = match (verdict, kept.first()) {
            (Verdict::Serves | Verdict::Starts, _) => return,
            (Verdict::Unhealthy, _) => Cause::Unhealthy,
            (Verdict::Outdated, _) => Cause::Outdated,
            (Verdict::Moved, Some(one)) => Cause::Moved(self.plan.placements[one.at].server.clone()),
            (Verdict::Moved | Verdict::Missing, _) => match lost.last() {
                Some(at) => Cause::Lost(self.plan.placements[*at].server.clone()),
                None => Cause::New,
            },
        };
        if matches!(cause, Cause::Lost(_)) {
            // Until there is another place, it stays planned where it may come back.
            stay.extend(lost.last());
        }
        self.needs.push(Need { slot, cause });
    }

    fn live(&self, look: &Look<'_>, groups: &Groups, at: usize) -> Live {
        let placement = &self.plan.placements[at];
        Live {
            at,
            sight: look.sight(placement),
            current: placement.revision == self.target,
            moved: misplaced(look, groups, self.spec, placement).is_some(),
        }
    }

    fn retire_others(&mut self, look: &Look<'_>, stay: &HashSet<usize>) {
        let placements = std::mem::take(&mut self.plan.placements);
        let kept = placements.into_iter().enumerate().filter_map(|(at, mut placement)| {
            if placement.wanted == Wanted::Run && !stay.contains(&at) {
                placement.wanted = look.retire(&placement)?;
            }
            Some(placement)
        });
        self.plan.placements = kept.collect();
    }
}

/// Why an instance has to leave its server, if it has to. Nothing is decided about servers that are silent.
pub(crate) fn misplaced(look: &Look<'_>, groups: &Groups, spec: &JobSpec, placement: &Placement) -> Option<String> {
    let at = look.index(&placement.server)?;
    let server = &look.servers[at];
    let rules = &spec.placement;
    if server.liveness != Liveness::Alive {
        return None;
    }
    if server.spec.draining {
        return Some(format!("{} is draining", placement.server));
    }
    if !rules.servers.is_empty() && !rules.servers.contains(&placement.server) {
        return Some(format!("{} is not among the servers asked for", placement.server));
    }
    if let Some((key, value)) = rules.require.iter().find(|(key, value)| server.spec.labels.get(*key) != Some(*value)) {
        return Some(format!("{} is without label {key}={value}", placement.server));
    }
    let anchor = groups.anchor(rules.group.as_ref()).filter(|anchor| *anchor != at)?;
    let group = rules.group.as_ref().map_or("", Name::as_str);
    Some(format!("group {group} is on {}", look.servers[anchor].spec.name))
}
