//! Finding places for what a job needs.

use super::{Cause, Draft, Groups, Need, group::listed, paused};
use crate::{
    fleet::{Fleet, Room},
    look::{Look, Sight},
    schedule::{Crowd, Request, Search, Slot, View, explain, fit, summary},
    template::template_of,
};
use api::{
    Timestamp,
    plan::{JobPlan, Placement, RolloutState, Waiting, Wanted},
    spec::{JobSpec, Strategy},
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Instances named in one note before the rest is only counted.
const NOTE_MAX: usize = 12;

/// Everything the placing of one job looks at and changes.
struct Work<'w, 'f> {
    look: &'w Look<'f>,
    fleet: &'w mut Fleet<'f>,
    groups: &'w mut Groups,
    request: Request<'w>,
    crowd: Crowd,
    search: Search,
    /// Where the instances of the slots in need stand in the plan, and on which server.
    own: HashMap<u32, Vec<(usize, usize)>>,
    /// Instances were leaving already when this look began: their room is about to be free.
    room_coming: bool,
    /// Slots that left a lost server.
    found: HashSet<u32>,
    /// Placements that are gone at once, by position.
    gone: HashSet<usize>,
    placed: Vec<(u32, usize, Cause)>,
    /// Slots that count as under way already, for their old instances are leaving.
    under_way: HashSet<u32>,
    /// Slots brought under way in this look, and those of them that were not just outdated.
    begun: u32,
    others_begun: Option<u32>,
}

/// Finds places. True when an upgrade failed for want of room, so that the draft has to be settled once more.
pub(crate) fn place<'f>(draft: &mut Draft<'_>, look: &Look<'f>, fleet: &mut Fleet<'f>, groups: &mut Groups) -> bool {
    let mut needs = std::mem::take(&mut draft.needs);
    if needs.is_empty() {
        return false;
    }
    needs.sort_by_key(|need| need.cause == Cause::Outdated);
    groups.settle(look, fleet, draft.spec);
    let request = request_of(look, groups, draft.spec, draft.target);
    let crowd = crowd_of(look, &draft.plan);
    draft.plan.placements.reserve(needs.len());
    let search = Search::begin(fleet, &request, &crowd);
    let mut work = Work {
        look,
        fleet,
        groups,
        request,
        crowd,
        search,
        own: own_of(look, &draft.plan, &needs),
        room_coming: draft.plan.placements.iter().any(|placement| placement.wanted != Wanted::Run),
        found: HashSet::new(),
        gone: HashSet::new(),
        placed: Vec::new(),
        under_way: draft.leaving(),
        begun: 0,
        others_begun: None,
    };
    let failed = needs.into_iter().find_map(|need| work.fill(draft, need));
    work.finish(draft);
    if let Some(message) = failed {
        draft.fail_rollout(message);
        return true;
    }
    false
}

/// What a job asks of a server now.
pub(crate) fn request_of<'r>(look: &Look<'_>, groups: &Groups, spec: &'r JobSpec, target: u32) -> Request<'r> {
    let template = template_of(spec, target).unwrap_or(&spec.template);
    Request {
        who: &spec.name,
        room: Room::of(template),
        rules: &spec.placement,
        listed: listed(look, &spec.placement),
        anchor: groups.anchor(spec.placement.group.as_ref()),
        ports: &[],
        address: None,
        lone: false,
        instead: false,
    }
}

/// Slots per server, of instances that shall run.
pub(crate) fn crowd_of(look: &Look<'_>, plan: &JobPlan) -> Crowd {
    let mut crowd = Crowd::default();
    let mut seen = HashSet::new();
    for placement in plan.placements.iter().filter(|placement| placement.wanted == Wanted::Run) {
        if let Some(server) = look.index(&placement.server).filter(|server| seen.insert((placement.slot, *server))) {
            crowd.add(server);
        }
    }
    crowd
}

fn own_of(look: &Look<'_>, plan: &JobPlan, needs: &[Need]) -> HashMap<u32, Vec<(usize, usize)>> {
    let mut own: HashMap<u32, Vec<(usize, usize)>> = needs.iter().map(|need| (need.slot, Vec::new())).collect();
    for (at, placement) in plan.placements.iter().enumerate().filter(|(_, placement)| placement.wanted == Wanted::Run) {
        if let (Some(own), Some(server)) = (own.get_mut(&placement.slot), look.index(&placement.server))
            && look.sight(placement) != Sight::Lost
        {
            own.push((at, server));
        }
    }
    own
}

impl Work<'_, '_> {
    fn view(&self) -> View<'_, '_> {
        View { fleet: self.fleet, request: &self.request, crowd: &self.crowd }
    }

    /// Finds a place for one slot. Gives the reason when that fails an upgrade.
    fn fill(&mut self, draft: &mut Draft<'_>, need: Need) -> Option<String> {
        if need.cause == Cause::Outdated && !self.may_go_on(draft) {
            return None;
        }
        let own: Vec<usize> = self.own.get(&need.slot).into_iter().flatten().map(|(_, server)| *server).collect();
        let shun = match need.cause {
            Cause::Failed => draft.former(need.slot).to_vec(),
            Cause::Unhealthy => own.clone(),
            _ => Vec::new(),
        };
        let slot = Slot { own, shun };
        let view = View { fleet: self.fleet, request: &self.request, crowd: &self.crowd };
        match self.search.choose(view, &slot) {
            Some(server) => self.put(draft, need, (server, &slot)),
            None => match need.cause {
                Cause::Outdated | Cause::Unhealthy => return self.without_room(draft, &need, &slot),
                // One that has to move and be upgraded as well holds up the upgrade.
                Cause::Moved(_) if self.is_outdated(draft, need.slot) => return self.without_room(draft, &need, &slot),
                Cause::Moved(_) => {}
                _ => draft.unplaced.push(need.slot),
            },
        }
        None
    }

    /// Slots that have no instance come first. Once they answer, an upgrade goes on with those that do.
    fn may_go_on(&mut self, draft: &Draft<'_>) -> bool {
        let others = *self.others_begun.get_or_insert(self.begun);
        let running = draft.plan.rollout.as_ref().is_some_and(|rollout| rollout.state == RolloutState::Running);
        self.begun < draft.batch && !(running && others > 0)
    }

    fn put(&mut self, draft: &mut Draft<'_>, need: Need, to: (usize, &Slot)) {
        let (server, slot) = to;
        let reason = self.reason(server, slot, &need.cause);
        // The filters leave no server without a free address.
        let Some((id, address)) = self.fleet.take(server, None) else { return draft.unplaced.push(need.slot) };
        let placement = Placement {
            id,
            slot: need.slot,
            server: self.look.servers[server].spec.name.clone(),
            address,
            revision: draft.target,
            wanted: Wanted::Run,
            placed: self.look.now.max(draft.spec.created),
            reason,
        };
        self.fleet.settle(server, &placement, self.request.room);
        self.fleet.holders.add(draft.name, server);
        draft.plan.placements.push(placement);
        draft.begun += 1;
        let counted = matches!(need.cause, Cause::New | Cause::Failed) && self.under_way.contains(&need.slot);
        self.begun += u32::from(!counted);
        if !slot.own.contains(&server) {
            self.crowd.add(server);
        }
        let view = View { fleet: self.fleet, request: &self.request, crowd: &self.crowd };
        self.search.placed(view, server);
        self.follow(server);
        self.account(draft, &need);
        self.placed.push((need.slot, server, need.cause));
    }

    /// The rest of the group goes where its first instance went.
    fn follow(&mut self, server: usize) {
        if self.request.rules.group.is_some() && self.request.anchor.is_none() {
            self.groups.placed(self.request.rules.group.as_ref(), server);
            self.request.anchor = Some(server);
            self.search = Search::begin(self.fleet, &self.request, &self.crowd);
        }
    }

    fn account(&mut self, draft: &mut Draft<'_>, need: &Need) {
        match need.cause {
            Cause::Lost(_) => {
                self.found.insert(need.slot);
            }
            Cause::Unhealthy => draft.count_failure(need.slot, self.look.now),
            Cause::Outdated => draft.mark_batch(self.look.now),
            _ => {}
        }
    }

    fn reason(&self, server: usize, slot: &Slot, cause: &Cause) -> String {
        let host = &self.fleet.hosts[server];
        let choice = match (self.request.anchor, self.request.rules.strategy) {
            (Some(_), _) => "its group is there".to_owned(),
            (None, Strategy::Resource) => format!("largest free share, {} %", host.free_share() / 10_000),
            (None, Strategy::Spread) => format!("fewest of the job, {}", self.view().crowd_beside(server, slot)),
            (None, Strategy::Binpack) if host.instances == 0 => "none in use has room, the largest empty one".to_owned(),
            (None, Strategy::Binpack) => "fullest with room".to_owned(),
        };
        match cause_words(cause) {
            None => choice,
            Some(cause) => format!("{cause}; {choice}"),
        }
    }

    /// No second instance fits beside the old one. If one fits once the old one is gone, the old one goes first.
    fn without_room(&mut self, draft: &mut Draft<'_>, need: &Need, slot: &Slot) -> Option<String> {
        let outdated = need.cause != Cause::Unhealthy;
        if outdated && self.room_coming {
            return None;
        }
        let own = self.own.get(&need.slot).into_iter().flatten();
        let own: Vec<(usize, usize)> = own.copied().filter(|(at, _)| !self.gone.contains(at)).collect();
        match own.into_iter().find(|(at, server)| self.fits_after(draft, (*at, *server), slot)) {
            Some((at, server)) => self.stop_first(draft, need, (at, server)),
            None if outdated => return self.blocked(draft, slot, need),
            None => {}
        }
        None
    }

    fn is_outdated(&self, draft: &Draft<'_>, slot: u32) -> bool {
        let own = self.own.get(&slot).into_iter().flatten();
        own.copied().any(|(at, _)| draft.plan.placements[at].revision != draft.target)
    }

    fn fits_after(&mut self, draft: &Draft<'_>, old: (usize, usize), slot: &Slot) -> bool {
        let (at, server) = old;
        let room = template_of(draft.spec, draft.plan.placements[at].revision).map_or(Room::default(), |old| Room::of(old));
        let host = &mut self.fleet.hosts[server];
        let reserved = host.reserved;
        host.reserved = reserved.minus(room);
        self.request.instead = true;
        let fits = fit(self.view(), server, slot).is_ok();
        self.request.instead = false;
        self.fleet.hosts[server].reserved = reserved;
        fits
    }

    fn stop_first(&mut self, draft: &mut Draft<'_>, need: &Need, old: (usize, usize)) {
        let (at, server) = old;
        let placement = &mut draft.plan.placements[at];
        match self.look.retire(placement) {
            Some(wanted) => placement.wanted = wanted,
            None => {
                self.gone.insert(at);
            }
        }
        self.crowd.remove(server);
        draft.begun += 1;
        self.begun += 1;
        draft.notes.push(format!("{}/{}: no room for a second instance, so the old one stops first", draft.name, need.slot));
        if need.cause != Cause::Unhealthy {
            draft.mark_batch(self.look.now);
            draft.unplaced.push(need.slot);
            return;
        }
        draft.count_failure(need.slot, self.look.now);
        draft.plan.waiting.extend(draft.plan.failures.iter().find(|failures| failures.slot == need.slot).map(paused));
        let due = draft.plan.failures.iter().find(|failures| failures.slot == need.slot).map(super::retry_at);
        if let Some(due) = due {
            draft.wake_at(due);
        }
    }

    /// There is no room for the new revision at all. An upgrade that finds none in time has failed.
    fn blocked(&mut self, draft: &mut Draft<'_>, slot: &Slot, need: &Need) -> Option<String> {
        let due = draft.room_deadline()?;
        if self.look.now < due {
            draft.wake_at(due);
            return None;
        }
        let why = summary(&explain(self.view(), slot));
        Some(format!("{}/{}: no room for revision {}: {why}", draft.name, need.slot, draft.target))
    }

    fn finish(self, draft: &mut Draft<'_>) {
        let mut at = 0;
        draft.plan.placements.retain(|placement| {
            let gone = self.gone.contains(&at);
            at += 1;
            let moved = self.found.contains(&placement.slot) && self.look.sight(placement) == Sight::Lost;
            !gone && !moved
        });
        draft.notes.extend(notes(draft, self.look, self.placed));
    }
}

impl Draft<'_> {
    fn mark_batch(&mut self, now: Timestamp) {
        let now = now.max(self.spec.created);
        if let Some(rollout) = self.plan.rollout.as_mut().filter(|rollout| rollout.state == RolloutState::Running) {
            rollout.last_batch = now;
        }
    }

    /// Until when an upgrade looks for room.
    fn room_deadline(&self) -> Option<Timestamp> {
        let rollout = self.plan.rollout.as_ref().filter(|rollout| rollout.state == RolloutState::Running)?;
        Some(rollout.last_batch.after(self.spec.update.interval).after(self.spec.template.healthy_deadline))
    }
}

/// What a placement replaces, when it does.
fn cause_words(cause: &Cause) -> Option<String> {
    match cause {
        Cause::New | Cause::Outdated => None,
        Cause::Failed => Some("the one before failed".to_owned()),
        Cause::Lost(server) => Some(format!("{server} lost")),
        Cause::Unhealthy => Some("the one before is unhealthy".to_owned()),
        Cause::Moved(server) => Some(format!("moved from {server}")),
    }
}

/// `web/2 → s1, web/5 → s3: s2 lost`, a line per cause.
fn notes(draft: &Draft<'_>, look: &Look<'_>, placed: Vec<(u32, usize, Cause)>) -> Vec<String> {
    let mut causes: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for (slot, server, cause) in placed {
        let cause = cause_words(&cause);
        *counts.entry(cause.clone()).or_default() += 1;
        let named = causes.entry(cause).or_default();
        if named.len() < NOTE_MAX {
            named.push(format!("{}/{slot} → {}", draft.name, look.servers[server].spec.name));
        }
    }
    let line = |(cause, named): (Option<String>, Vec<String>)| {
        let more = counts.get(&cause).map_or(0, |count| count - named.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{}{more}{cause}", named.join(", "))
    };
    causes.into_iter().map(line).collect()
}

/// Says of the slots without a place why. Called when all placing is done, so that the figures are those the plan leaves.
pub(crate) fn explain_waiting(draft: &mut Draft<'_>, look: &Look<'_>, fleet: &Fleet<'_>, groups: &Groups) {
    if !draft.unplaced.is_empty() {
        let reasons = reasons((look, fleet), groups, draft.spec, &draft.plan);
        let unplaced = std::mem::take(&mut draft.unplaced);
        draft.plan.waiting.extend(unplaced.into_iter().map(|slot| Waiting { slot, reasons: reasons.clone() }));
    }
    draft.plan.waiting.sort_by_key(|waiting| waiting.slot);
}

/// Why no server takes another instance of a job.
pub(crate) fn reasons((look, fleet): (&Look<'_>, &Fleet<'_>), groups: &Groups, spec: &JobSpec, plan: &JobPlan) -> Vec<String> {
    let target = crate::template::effective_revision(spec, Some(plan));
    let request = request_of(look, groups, spec, target);
    let crowd = crowd_of(look, plan);
    explain(View { fleet, request: &request, crowd: &crowd }, &Slot::default())
}
