//! Upgrades: begun, paced in batches, ended, and taken back when they fail.

use super::{Cause, Draft};
use crate::{
    look::{Look, Sight},
    template::template_of,
};
use api::{
    Timestamp,
    plan::{JobPlan, Placement, Rollout, RolloutState, Wanted},
    report::{InstanceReport, Phase},
    server::Liveness,
    spec::JobSpec,
};

/// Instances that an upgrade replaces at a time: as asked for, or a quarter of the job, at least one.
fn parallel(spec: &JobSpec) -> u32 {
    spec.update.parallel.unwrap_or(spec.count / 4).max(1)
}

/// Is there no upgrade to begin, and none under way?
pub(super) fn is_over(spec: &JobSpec, plan: &JobPlan) -> bool {
    match &plan.rollout {
        None => spec.revision == 1,
        Some(rollout) => {
            let ended = matches!(rollout.state, RolloutState::Done | RolloutState::RolledBack);
            ended && rollout.to == spec.revision && rollout.started >= spec.created
        }
    }
}

impl Draft<'_> {
    /// Begins an upgrade when a newer revision is asked for. One under way is given up for it.
    pub(super) fn begin_rollout(&mut self, look: &Look<'_>) {
        let to = self.spec.revision;
        if self.plan.rollout.as_ref().is_some_and(|rollout| rollout.to == to) {
            return;
        }
        let running = || self.plan.placements.iter().filter(|placement| placement.wanted == Wanted::Run);
        let to_replace = running().filter(|placement| placement.revision != to).map(|placement| placement.revision).max();
        let from = match &self.plan.rollout {
            Some(rollout) if rollout.state == RolloutState::Done => rollout.to,
            Some(rollout) => rollout.from,
            // A first start is not an upgrade.
            None if to_replace.is_none() && to == 1 => return,
            None => to_replace.unwrap_or(to.saturating_sub(1)),
        };
        let state = if to_replace.is_some() { RolloutState::Running } else { RolloutState::Done };
        let now = look.now.max(self.spec.created);
        self.plan.rollout = Some(Rollout { to, from, state, started: now, last_batch: now, message: None });
        self.plan.failures.clear();
        self.notes.push(match state {
            RolloutState::Running => format!("upgrade from revision {from} to {to} begun"),
            _ => format!("revision {to} in force: no instance to replace"),
        });
    }

    /// The revision that an upgrade which failed leaves behind.
    pub(super) fn abandoned_revision(&self) -> Option<u32> {
        let rollout = self.plan.rollout.as_ref()?;
        let given_up = matches!(rollout.state, RolloutState::RollingBack | RolloutState::RolledBack);
        (given_up && self.target != rollout.to).then_some(rollout.to)
    }

    /// Looks at the new instances: one that failed, or does not serve in time, fails the upgrade.
    pub(super) fn judge_rollout(&mut self, look: &Look<'_>) {
        let Some(to) = self.running_to() else { return };
        let deadline = self.spec.template.healthy_deadline;
        let mut wake: Option<Timestamp> = None;
        let mut failure = None;
        for placement in self.plan.placements.iter().filter(|placement| placement.wanted == Wanted::Run) {
            let counts = placement.revision == to && placement.slot <= self.spec.count;
            let heard = look.server(&placement.server).is_some_and(|server| server.liveness == Liveness::Alive);
            let sight = look.sight(placement);
            if !counts || !heard || sight == Sight::Serving {
                continue;
            }
            let due = placement.placed.after(deadline);
            if sight == Sight::Ended || due <= look.now {
                failure = Some(self.failure_of(look, placement, sight));
                break;
            }
            wake = Some(wake.map_or(due, |at| at.min(due)));
        }
        if let Some(at) = wake {
            self.wake_at(at);
        }
        if let Some(message) = failure {
            self.fail_rollout(message);
        }
    }

    fn running_to(&self) -> Option<u32> {
        self.plan.rollout.as_ref().filter(|rollout| rollout.state == RolloutState::Running).map(|rollout| rollout.to)
    }

    /// What went wrong with a new instance: a sentence, then its last lines.
    fn failure_of(&self, look: &Look<'_>, placement: &Placement, sight: Sight) -> String {
        let report = look.report(placement);
        let late = format!("not healthy after {}", self.spec.template.healthy_deadline);
        let what = match (sight, report.and_then(said)) {
            (Sight::Ended, Some(said)) => said,
            (Sight::Ended, None) => "its program ended".to_owned(),
            (_, Some(said)) => format!("{late}: {said}"),
            (_, None) => late,
        };
        let (name, slot, server) = (self.name, placement.slot, &placement.server);
        let sentence = format!("{name}/{slot} on {server} at {}: {what}", placement.address);
        let lines = report.into_iter().flat_map(|report| report.last_lines.iter().map(String::as_str));
        std::iter::once(sentence.as_str()).chain(lines).collect::<Vec<_>>().join("\n")
    }

    /// The upgrade failed: the revision before is brought back.
    pub(super) fn fail_rollout(&mut self, message: String) {
        let Some(rollout) = &mut self.plan.rollout else { return };
        let sentence = message.lines().next().unwrap_or_default();
        self.notes.push(match template_of(self.spec, rollout.from) {
            Some(_) => format!("upgrade to revision {} failed, going back to {}: {sentence}", rollout.to, rollout.from),
            None => format!("upgrade to revision {} failed, and revision {} is forgotten: {sentence}", rollout.to, rollout.from),
        });
        rollout.state = RolloutState::RollingBack;
        rollout.message = Some(message);
        self.plan.failures.clear();
    }

    /// Lets through as many replacements as the batch allows.
    pub(super) fn pace_rollout(&mut self, look: &Look<'_>) {
        self.slots.making_room = self.making_room();
        let under_way = self.slots.starting + self.slots.making_room;
        self.batch = match self.running_to() {
            Some(to) => self.next_batch(look, to, under_way),
            None => parallel(self.spec).saturating_sub(under_way),
        };
        let mut left = self.batch;
        self.needs.retain(|need| {
            let outdated = need.cause == Cause::Outdated;
            let lets = !outdated || left > 0;
            left = left.saturating_sub(u32::from(outdated));
            lets
        });
    }

    /// Slots that have stopped their old instance before the new one can start.
    fn making_room(&self) -> u32 {
        if self.plan.rollout.is_none() {
            return 0;
        }
        let leaving = self.leaving();
        let empty = self.needs.iter().filter(|need| need.cause == Cause::New && leaving.contains(&need.slot));
        u32::try_from(empty.count()).unwrap_or(u32::MAX)
    }

    fn next_batch(&mut self, look: &Look<'_>, to: u32, under_way: u32) -> u32 {
        let Some(rollout) = &self.plan.rollout else { return 0 };
        if under_way > 0 {
            return 0;
        }
        let due = rollout.last_batch.after(self.spec.update.interval);
        let first = !self.plan.placements.iter().any(|placement| placement.revision == to);
        let waits = !first && look.now < due && self.needs.iter().any(|need| need.cause == Cause::Outdated);
        if waits {
            self.wake_at(due);
            return 0;
        }
        parallel(self.spec)
    }

    /// Ends the upgrade when nothing is left to do. Slots that no server has room for do not keep it.
    pub fn end_rollout(&mut self) {
        let slots = &self.slots;
        let busy = slots.starting + slots.making_room + slots.outdated + slots.unhealthy + slots.paused + self.begun;
        if busy > 0 || (slots.serving == 0 && self.spec.count > 0) {
            return;
        }
        let Some(rollout) = &mut self.plan.rollout else { return };
        let (state, note) = match rollout.state {
            RolloutState::Running => (RolloutState::Done, format!("upgrade to revision {} done", rollout.to)),
            RolloutState::RollingBack => (RolloutState::RolledBack, format!("rolled back to revision {}", rollout.from)),
            RolloutState::Done | RolloutState::RolledBack => return,
        };
        rollout.state = state;
        self.notes.push(note);
    }
}

/// What an agent says about an instance that does not serve.
fn said(report: &InstanceReport) -> Option<String> {
    let exit = report.exit_code.filter(|_| matches!(report.phase, Phase::Exited | Phase::Failed | Phase::BackOff));
    report.message.clone().or_else(|| exit.map(|code| format!("its program ended with exit code {code}")))
}
