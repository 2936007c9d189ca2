//! The report: what this server says it is, computed from what the agent knows. Pure.

use crate::state::{Pod, State};
use api::{
    name::{InstanceId, Name},
    report::{Health, InstanceReport, Phase, Report},
};
use tokio::time::Instant;

/// Everything the control plane is told.
pub fn report(server: &Name, state: &State, now: Instant) -> Report {
    let present = state.pods.iter().filter(|(id, _)| !state.is_gone(**id, now));
    Report {
        server: server.clone(),
        generation: state.told.as_ref().map_or(0, |told| told.generation),
        applied: state.current,
        instances: present.map(|(id, pod)| (*id, instance(state, *id, pod, now))).collect(),
        images: state.images.keys().cloned().collect(),
        usage: state.usage.clone(),
        problems: state.problems.values().cloned().collect(),
    }
}

fn instance(state: &State, id: InstanceId, pod: &Pod, now: Instant) -> InstanceReport {
    let phase = state.phase(id, pod, now);
    let status = pod.seen.as_ref();
    let failure = pod.record.failed.as_ref().filter(|_| phase == Phase::Failed);
    InstanceReport {
        phase,
        health: pod.health(),
        message: failure.map(|failure| failure.message.clone()).or_else(|| message(pod)),
        last_lines: failure.map(|failure| failure.last_lines.clone()).unwrap_or_else(|| lines(pod)),
        pid: status.and_then(|status| status.pid),
        started: status.and_then(|status| status.started),
        exit_code: status.and_then(|status| status.exit_code),
        restarts: pod.record.starts.saturating_sub(1),
        limits: pod.record.limits.clone().filter(|_| pod.is_up()).unwrap_or_default(),
    }
}

/// What went wrong last, as long as it matters: a step, a check, or the end of the program.
fn message(pod: &Pod) -> Option<String> {
    let check = || pod.checks.iter().find(|c| c.state != Health::Healthy).and_then(|c| c.error.clone());
    let end = || pod.seen.as_ref().and_then(|status| status.message.clone());
    pod.message.clone().or_else(|| if pod.is_up() { check() } else { end() })
}

/// The last lines of a container whose checks fail.
fn lines(pod: &Pod) -> Vec<String> {
    let failing = pod.checks.iter().find(|check| check.state != Health::Healthy).filter(|_| pod.is_up());
    failing.map(|check| check.lines.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{health::Tracker, ledger::Record, testing};
    use api::{
        plan::Wanted,
        spec::{ContainerKind, HealthCheck, Probe},
    };
    use driver::runtime::{PodState, PodStatus};
    use std::{sync::Arc, time::Duration};

    fn state(wanted: Wanted, run: Option<PodState>) -> State {
        let mut told = testing::assignment(9);
        told.pods.insert(InstanceId(7), api::assignment::PodAssignment { wanted, ..testing::pod("web/3", 5) });
        let mut pod = Pod::new(Record { starts: 3, ..Record::new("web/3".to_owned(), ContainerKind::App) });
        pod.seen = run.map(|state| PodStatus {
            id: InstanceId(7),
            state,
            pid: (state == PodState::Running).then_some(41),
            started: None,
            exit_code: (state == PodState::Stopped).then_some(137),
            message: (state == PodState::Stopped).then(|| "killed for want of memory".to_owned()),
        });
        let mut state = State { told: Some(Arc::new(told)), ..State::default() };
        state.pods.insert(InstanceId(7), pod);
        state
    }

    fn one(state: &State) -> Option<InstanceReport> {
        report(&testing::name("s1"), state, base::env::timer()).instances.remove(&InstanceId(7))
    }

    #[tokio::test]
    async fn a_running_pod_without_checks_is_healthy_and_counts_starts_after_the_first() {
        let one = one(&state(Wanted::Run, Some(PodState::Running))).unwrap();
        assert_eq!((one.phase, one.health, one.pid, one.restarts), (Phase::Running, Health::Healthy, Some(41), 2));
        assert!(one.serves());
    }

    #[tokio::test]
    async fn an_ended_pod_says_how_it_ended() {
        let one = one(&state(Wanted::Run, Some(PodState::Stopped))).unwrap();
        assert_eq!((one.phase, one.exit_code), (Phase::Exited, Some(137)));
        assert_eq!(one.message.as_deref(), Some("killed for want of memory"));
    }

    #[tokio::test]
    async fn one_whose_checks_fail_says_why_and_what_it_wrote_last() {
        let mut state = state(Wanted::Run, Some(PodState::Running));
        let mut check = Tracker::new(testing::name("main"), HealthCheck::new(Probe::Tcp(80)), false);
        check.record(Err("tcp 10.0.1.7:80: refused".to_owned()), Duration::ZERO);
        check.lines = vec!["cannot bind".to_owned()];
        state.pods.get_mut(&InstanceId(7)).unwrap().checks = vec![check];
        let failing = one(&state).unwrap();
        assert_eq!(
            (failing.message.as_deref(), failing.last_lines),
            (Some("tcp 10.0.1.7:80: refused"), vec!["cannot bind".to_owned()])
        );
        state.pods.get_mut(&InstanceId(7)).unwrap().checks[0].record(Ok(()), Duration::ZERO);
        let healthy = one(&state).unwrap();
        assert_eq!((healthy.message, healthy.last_lines), (None, Vec::new()));
    }

    #[tokio::test]
    async fn what_is_being_removed_is_said_and_what_is_gone_is_absent() {
        assert_eq!(one(&state(Wanted::Stop, Some(PodState::Stopped))).unwrap().phase, Phase::Stopping);
        assert_eq!(one(&state(Wanted::Stop, None)), None);
        assert_eq!(one(&state(Wanted::Run, None)).unwrap().phase, Phase::Pending);
    }
}
