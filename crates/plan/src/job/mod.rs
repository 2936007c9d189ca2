//! Jobs: from what is asked for, planned and reported, to what has to change. First without placing anything (this file,
//! `slot`, `rollout`), so that everything given back is known before anything is given out (`place`).

mod group;
mod place;
mod rollout;
mod slot;

pub(crate) use group::Groups;
pub(crate) use place::{explain_waiting, place, reasons};
pub(crate) use slot::misplaced;

use crate::{
    look::{Look, Sight},
    template::effective_revision,
};
use api::{
    Name, Span, Timestamp,
    plan::{JobPlan, SlotFailures, Waiting, Wanted, retry_pause},
    spec::JobSpec,
};
use std::collections::{HashMap, HashSet};

/// An instance that has lived and served this long has put its slot's failures behind it. One that fails sooner each time
/// is one that keeps failing, also when it served for a moment.
pub(crate) const STEADY: Span = Span::seconds(10);

/// A job's plan as it is being changed.
pub(crate) struct Draft<'a> {
    pub name: &'a Name,
    pub spec: &'a JobSpec,
    pub plan: JobPlan,
    /// The revision that instances should run.
    pub target: u32,
    pub needs: Vec<Need>,
    /// How its slots stood before anything was placed.
    slots: slot::Slots,
    /// Slots for which there was no place.
    pub unplaced: Vec<u32>,
    /// Instances placed, or stopped to make room, in this look.
    pub begun: u32,
    /// As many an upgrade may begin in this look.
    batch: u32,
    /// For the events.
    pub notes: Vec<String>,
    /// When something is due though nothing is reported.
    pub wake: Option<Timestamp>,
    /// Servers that slots with failures ran on lately.
    former: HashMap<u32, Vec<usize>>,
}

/// A slot that needs an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub slot: u32,
    pub cause: Cause,
}

/// Why a slot needs an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It has none.
    New,
    /// Its last one failed.
    Failed,
    /// It was on this server, which is lost.
    Lost(Name),
    /// Its instance runs, but its checks fail.
    Unhealthy,
    /// Its instance has to leave this server.
    Moved(Name),
    /// Its instance runs another revision.
    Outdated,
}

impl<'a> Draft<'a> {
    /// All that follows for a job without placing anything. None when nothing does.
    pub fn begin(look: &Look<'_>, groups: &Groups, spec: &'a JobSpec, plan: Option<&JobPlan>) -> Option<Self> {
        if plan.is_some_and(|plan| is_steady(look, groups, spec, plan)) {
            return None;
        }
        let plan = plan.cloned().unwrap_or_default();
        let mut draft = Self {
            name: &spec.name,
            spec,
            target: spec.revision,
            plan,
            needs: Vec::new(),
            slots: slot::Slots::default(),
            unplaced: Vec::new(),
            begun: 0,
            batch: 0,
            notes: Vec::new(),
            wake: None,
            former: HashMap::new(),
        };
        draft.settle(look, groups);
        Some(draft)
    }

    /// Every change that needs no new place.
    pub fn settle(&mut self, look: &Look<'_>, groups: &Groups) {
        self.plan.waiting.clear();
        self.needs.clear();
        self.unplaced.clear();
        self.begun = 0;
        self.forget_predecessor();
        self.let_go(look);
        self.begin_rollout(look);
        self.judge_rollout(look);
        self.target = effective_revision(self.spec, Some(&self.plan));
        self.stop_ended(look);
        self.forget_failures(look);
        self.drop_gone(look);
        self.slots = self.judge_slots(look, groups);
        self.pace_rollout(look);
        self.hold_back(look);
    }

    /// Asks for a look at this time at the latest.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// A job deleted and made anew under the same name begins anew, whatever the plan of the old one says.
    fn forget_predecessor(&mut self) {
        let created = self.spec.created;
        for placement in &mut self.plan.placements {
            if placement.placed < created && placement.wanted == Wanted::Run {
                placement.wanted = Wanted::Stop;
            }
        }
        self.plan.rollout = self.plan.rollout.take().filter(|rollout| rollout.started >= created);
        self.plan.failures.retain(|failures| failures.last >= created && failures.slot <= self.spec.count);
    }

    /// Stops what has drained.
    fn let_go(&mut self, look: &Look<'_>) {
        for placement in &mut self.plan.placements {
            if placement.wanted == Wanted::Drain && look.sight(placement) == Sight::Ended {
                placement.wanted = Wanted::Stop;
            }
        }
    }

    /// Drops what is gone, so that its room and address are free.
    fn drop_gone(&mut self, look: &Look<'_>) {
        let failures: HashMap<u32, Timestamp> =
            self.plan.failures.iter().map(|failures| (failures.slot, retry_at(failures))).collect();
        let former = &mut self.former;
        let mut wake = None;
        self.plan.placements.retain(|placement| {
            let retry = failures.get(&placement.slot).filter(|_| placement.wanted != Wanted::Run);
            if let (Some(_), Some(server)) = (retry, look.index(&placement.server)) {
                former.entry(placement.slot).or_default().push(server);
            }
            let absent = look.sight(placement) == Sight::Absent;
            if absent && placement.wanted != Wanted::Run && look.may_be_coming(placement) {
                wake = Some(placement.placed.after(crate::look::UNHEARD));
            }
            // A failed one keeps its room until its slot is tried again, and reminds us where it failed.
            let held = absent && placement.wanted == Wanted::Stop && retry.is_some_and(|at| look.now < *at);
            held || !look.is_gone(placement, placement.wanted)
        });
        if let Some(at) = wake {
            self.wake_at(at);
        }
    }

    /// Instances whose program ended are stopped at once, and counted as failures.
    fn stop_ended(&mut self, look: &Look<'_>) {
        let abandoned = self.abandoned_revision();
        let mut failed = Vec::new();
        for placement in self.plan.placements.iter_mut().filter(|placement| placement.wanted == Wanted::Run) {
            let sight = look.sight(placement);
            if abandoned == Some(placement.revision) && sight != Sight::Serving {
                placement.wanted = Wanted::Stop;
            } else if sight == Sight::Ended {
                placement.wanted = Wanted::Stop;
                failed.push(placement.slot);
            }
        }
        for slot in failed.into_iter().filter(|slot| *slot <= self.spec.count) {
            self.count_failure(slot, look.now);
        }
    }

    pub(super) fn count_failure(&mut self, slot: u32, now: Timestamp) {
        match self.plan.failures.iter_mut().find(|failures| failures.slot == slot) {
            Some(failures) => {
                failures.count = failures.count.saturating_add(1);
                failures.last = now;
            }
            None => self.plan.failures.push(SlotFailures { slot, count: 1, last: now.max(self.spec.created) }),
        }
    }

    /// A slot whose instance has served for a while has not failed.
    fn forget_failures(&mut self, look: &Look<'_>) {
        if self.plan.failures.is_empty() {
            return;
        }
        let serving = self.plan.placements.iter().filter(|p| p.wanted == Wanted::Run && look.sight(p) == Sight::Serving);
        let since: HashMap<u32, Timestamp> = serving.map(|placement| (placement.slot, placement.placed)).collect();
        let mut wake = None;
        self.plan.failures.retain(|failures| match since.get(&failures.slot).map(|placed| placed.after(STEADY)) {
            Some(steady) if steady <= look.now => false,
            Some(steady) => {
                wake = Some(wake.map_or(steady, |at: Timestamp| at.min(steady)));
                true
            }
            None => true,
        });
        if let Some(at) = wake {
            self.wake_at(at);
        }
    }

    /// A slot that failed waits for its pause, and is tried again after it.
    fn hold_back(&mut self, look: &Look<'_>) {
        let pauses: HashMap<u32, SlotFailures> =
            self.plan.failures.iter().map(|failures| (failures.slot, failures.clone())).collect();
        let mut kept = Vec::new();
        for mut need in std::mem::take(&mut self.needs) {
            match pauses.get(&need.slot).filter(|_| matches!(need.cause, Cause::New | Cause::Unhealthy)) {
                Some(failures) if look.now < retry_at(failures) => {
                    self.wake_at(retry_at(failures));
                    self.slots.paused += 1;
                    if need.cause == Cause::New {
                        self.plan.waiting.push(paused(failures));
                    }
                }
                Some(_) if need.cause == Cause::New => {
                    need.cause = Cause::Failed;
                    kept.push(need);
                }
                _ => kept.push(need),
            }
        }
        self.needs = kept;
    }

    /// Servers that a slot had better keep away from.
    pub(super) fn former(&self, slot: u32) -> &[usize] {
        self.former.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Slots with instances that are on their way out.
    pub(super) fn leaving(&self) -> HashSet<u32> {
        self.plan.placements.iter().filter(|placement| placement.wanted != Wanted::Run).map(|placement| placement.slot).collect()
    }
}

/// When a slot that failed may be tried again.
pub(crate) fn retry_at(failures: &SlotFailures) -> Timestamp {
    failures.last.after(retry_pause(failures.count))
}

pub(super) fn paused(failures: &SlotFailures) -> Waiting {
    let times = if failures.count == 1 { "once".to_owned() } else { format!("{} times in a row", failures.count) };
    let pause = retry_pause(failures.count);
    Waiting { slot: failures.slot, reasons: vec![format!("failed {times}: tried again after a pause of {pause}")] }
}

/// Is everything as it should be? Says no in doubt; then the whole of [`Draft::settle`] finds that nothing changes.
fn is_steady(look: &Look<'_>, groups: &Groups, spec: &JobSpec, plan: &JobPlan) -> bool {
    let quiet = plan.waiting.is_empty() && plan.failures.is_empty() && plan.placements.len() == spec.count as usize;
    let target = effective_revision(spec, Some(plan));
    if !quiet || !rollout::is_over(spec, plan) {
        return false;
    }
    let mut seen = vec![false; plan.placements.len()];
    plan.placements.iter().all(|placement| {
        let slot = (placement.slot as usize).wrapping_sub(1);
        let first = seen.get_mut(slot).is_some_and(|seen| !std::mem::replace(seen, true));
        first
            && placement.wanted == Wanted::Run
            && placement.revision == target
            && placement.placed >= spec.created
            && look.sight(placement) == Sight::Serving
            && misplaced(look, groups, spec, placement).is_none()
    })
}
