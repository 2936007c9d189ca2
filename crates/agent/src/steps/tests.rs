//! Tables: what was told and what is seen → the next step and the phase.

use super::*;
use crate::{
    ledger::{Failure, Record},
    testing,
};
use api::spec::ContainerKind;
use std::sync::Arc;

/// One situation, of a container that shall run and of which nothing is here, and changes to it.
struct Case {
    pod: PodAssignment,
    template: PodTemplate,
    record: Record,
    run: Option<PodState>,
    exit_code: Option<i32>,
    link: Link,
    bridge: bool,
    image: bool,
    pause: Option<Duration>,
    failures: u32,
    drain: Option<Drain>,
}

fn case(change: impl FnOnce(&mut Case)) -> (Step, Phase) {
    let mut case = Case {
        pod: testing::pod("c1", 5),
        template: testing::template(),
        record: Record::new("c1".to_owned(), ContainerKind::App),
        run: None,
        exit_code: None,
        link: Link::Ready,
        bridge: true,
        image: true,
        pause: None,
        failures: 0,
        drain: None,
    };
    change(&mut case);
    let mut images = LocalImages::new();
    if case.image {
        images.insert(testing::DIGEST.to_owned(), Arc::new(testing::image(Default::default())));
    }
    let seen = Seen {
        run: case.run,
        exit_code: case.exit_code,
        link: case.link,
        bridge: case.bridge,
        images: &images,
        record: &case.record,
        pause: case.pause,
        failures: case.failures,
        drain: case.drain,
        replaced: false,
    };
    let told = Told { pod: &case.pod, template: &case.template };
    (next(Some(told), &seen), phase(Some(told), &seen, true))
}

fn ended(restart: Restart, code: Option<i32>) -> (Step, Phase) {
    case(|c| {
        c.template.containers[0].restart = restart;
        (c.run, c.exit_code) = (Some(PodState::Stopped), code);
        c.pause = Some(Duration::from_secs(1));
    })
}

#[test]
fn a_start_goes_through_image_link_and_run_in_this_order() {
    let pull = Step::Pull(vec![testing::DIGEST.to_owned()]);
    assert_eq!(case(|c| (c.image, c.link) = (false, Link::Absent)), (pull, Phase::Pulling));
    assert_eq!(case(|c| (c.link, c.bridge) = (Link::Absent, false)), (Step::AwaitNetwork, Phase::Pending));
    assert_eq!(case(|c| c.link = Link::Absent), (Step::Link, Phase::Starting));
    assert_eq!(case(|c| c.link = Link::Found), (Step::Link, Phase::Starting));
    assert_eq!(case(|_| ()), (Step::Run, Phase::Starting));
    assert_eq!(case(|c| c.run = Some(PodState::Running)), (Step::Rest, Phase::Running));
}

#[test]
fn what_runs_is_linked_anew_but_never_pulled_or_started_for() {
    assert_eq!(case(|c| (c.run, c.link) = (Some(PodState::Running), Link::Found)), (Step::Link, Phase::Running));
    assert_eq!(case(|c| (c.run, c.image) = (Some(PodState::Running), false)), (Step::Rest, Phase::Running));
}

#[test]
fn other_limits_are_put_in_force_as_it_runs_and_not_while_it_does_not() {
    let held = |run| {
        case(|c| {
            c.run = run;
            c.record.limits = Some(vec![api::spec::Limits { pids: Some(7), ..Default::default() }]);
        })
    };
    assert_eq!(held(Some(PodState::Running)), (Step::Limit, Phase::Running));
    assert_eq!(held(Some(PodState::Frozen)), (Step::Limit, Phase::Frozen));
    assert_eq!(held(None), (Step::Run, Phase::Starting));
}

#[test]
fn restart_policies_and_exit_codes() {
    let again = (Step::Wait(Duration::from_secs(1)), Phase::BackOff);
    let stays = (Step::Rest, Phase::Exited);
    assert_eq!(ended(Restart::No, Some(0)), stays);
    assert_eq!(ended(Restart::No, Some(1)), stays);
    assert_eq!(ended(Restart::OnFailure, Some(0)), stays);
    assert_eq!(ended(Restart::OnFailure, Some(1)), again);
    assert_eq!(ended(Restart::Always, Some(0)), again);
    // Nobody knows how it ended: the machine went down under it.
    assert_eq!(ended(Restart::No, None), again);
}

#[test]
fn after_the_pause_it_is_started() {
    let step = case(|c| {
        c.template.containers[0].restart = Restart::Always;
        (c.run, c.exit_code) = (Some(PodState::Stopped), Some(1));
    });
    assert_eq!(step, (Step::Run, Phase::Starting));
}

#[test]
fn a_jobs_instance_gives_up_and_a_container_does_not() {
    let lost = |display: &str| {
        case(|c| {
            c.pod.display = display.to_owned();
            c.template.containers[0].restart = Restart::Always;
            (c.run, c.exit_code, c.failures) = (Some(PodState::Stopped), Some(1), 3);
        })
        .0
    };
    assert_eq!(lost("web/3"), Step::Fail("given up after 3 starts in a row that did not last".to_owned()));
    assert_eq!(lost("c1"), Step::Run);
    let failed = case(|c| {
        c.pod.display = "web/3".to_owned();
        c.record.failed = Some(Failure { message: "no".to_owned(), last_lines: Vec::new() });
    });
    assert_eq!(failed, (Step::Rest, Phase::Failed));
}

#[test]
fn power_off_stops_and_remembers_and_on_starts_even_what_had_ended() {
    let off = |run, halted| {
        case(|c| {
            c.pod.power = Power::Off;
            (c.run, c.record.halted) = (run, halted);
        })
    };
    let grace = testing::template().stop_grace;
    assert_eq!(off(Some(PodState::Running), false), (Step::Stop(grace), Phase::Stopping));
    assert_eq!(off(Some(PodState::Stopped), false), (Step::Halt, Phase::Exited));
    assert_eq!(off(Some(PodState::Stopped), true), (Step::Rest, Phase::Exited));
    assert_eq!(off(None, true), (Step::Rest, Phase::Exited));
    assert_eq!(off(Some(PodState::Frozen), false).0, Step::Freeze(false));
    let on = case(|c| (c.run, c.exit_code, c.record.halted) = (Some(PodState::Stopped), Some(143), true));
    assert_eq!(on.0, Step::Run);
}

#[test]
fn frozen_and_thawed() {
    let with = |power, run| {
        case(|c| {
            c.pod.power = power;
            c.run = Some(run);
        })
    };
    assert_eq!(with(Power::Frozen, PodState::Running), (Step::Freeze(true), Phase::Running));
    assert_eq!(with(Power::Frozen, PodState::Frozen), (Step::Rest, Phase::Frozen));
    assert_eq!(with(Power::On, PodState::Frozen), (Step::Freeze(false), Phase::Frozen));
}

#[test]
fn a_restart_that_is_asked_for_stops_first_and_then_starts_whatever_the_policy() {
    let asked = |run, code| {
        case(|c| {
            c.pod.restarts = 2;
            c.record.asked = Some(1);
            (c.run, c.exit_code) = (run, code);
            c.pause = Some(Duration::from_secs(9));
            c.record.failed = Some(Failure { message: "no".to_owned(), last_lines: Vec::new() });
        })
        .0
    };
    assert_eq!(asked(Some(PodState::Running), None), Step::Stop(testing::template().stop_grace));
    assert_eq!(asked(Some(PodState::Stopped), Some(143)), Step::Run);
    assert_eq!(asked(None, None), Step::Run);
}

#[test]
fn a_start_that_was_cut_short_is_done_again_whatever_the_policy() {
    let step = case(|c| (c.run, c.exit_code, c.record.starting) = (Some(PodState::Stopped), Some(143), true));
    assert_eq!(step.0, Step::Run);
}

#[test]
fn a_drain_waits_for_connections_within_its_bounds() {
    let millis = Duration::from_millis;
    let drain = |timeout: u64, watch: Option<(u64, u64, u64)>| {
        case(|c| {
            c.pod.wanted = Wanted::Drain;
            c.run = Some(PodState::Running);
            c.template.drain_timeout = Span::millis(timeout);
            c.drain = watch.map(|(elapsed, quiet, looked)| Drain {
                elapsed: millis(elapsed),
                quiet: millis(quiet),
                looked: millis(looked),
            });
        })
        .0
    };
    let stop = Step::Stop(testing::template().stop_grace);
    assert_eq!(drain(10_000, None), Step::Look);
    assert_eq!(drain(10_000, Some((50, 50, 50))), Step::Wait(millis(50)));
    assert_eq!(drain(10_000, Some((450, 450, 100))), Step::Look);
    assert_eq!(drain(10_000, Some((1_500, 500, 0))), stop);
    assert_eq!(drain(10_000, Some((5_000, 200, 0))), Step::Wait(millis(100)));
    assert_eq!(drain(10_000, Some((5_000, 300, 0))), stop);
    assert_eq!(drain(10_000, Some((9_950, 0, 0))), Step::Wait(millis(50)));
    assert_eq!(drain(10_000, Some((10_000, 0, 0))), stop);
    assert_eq!(drain(200, Some((200, 0, 0))), stop);
}

#[test]
fn a_drained_instance_that_ended_stays_until_it_is_no_longer_told() {
    let drained = |run| {
        case(|c| {
            c.pod.wanted = Wanted::Drain;
            c.template.containers[0].restart = Restart::Always;
            (c.run, c.exit_code) = (run, Some(143));
        })
    };
    assert_eq!(drained(Some(PodState::Stopped)), (Step::Rest, Phase::Exited));
    assert_eq!(drained(None), (Step::Rest, Phase::Exited));
}

#[test]
fn leaving_goes_backwards_and_uses_the_grace_that_is_remembered() {
    let images = LocalImages::new();
    let record = Record { grace: Span::seconds(3), ..Record::new("c1".to_owned(), ContainerKind::App) };
    let leave = |run, link| {
        let seen = Seen {
            run,
            exit_code: None,
            link,
            bridge: false,
            images: &images,
            record: &record,
            pause: None,
            failures: 0,
            drain: None,
            replaced: false,
        };
        assert_eq!(phase(None, &seen, false), Phase::Stopping);
        next(None, &seen)
    };
    assert_eq!(leave(Some(PodState::Frozen), Link::Ready), Step::Freeze(false));
    assert_eq!(leave(Some(PodState::Running), Link::Ready), Step::Stop(Span::seconds(3)));
    assert_eq!(leave(Some(PodState::Stopped), Link::Ready), Step::Remove);
    assert_eq!(leave(None, Link::Found), Step::Unlink);
    assert_eq!(leave(None, Link::Absent), Step::Forget);
    let tried = case(|c| (c.pod.wanted, c.record.asked) = (Wanted::Stop, Some(0)));
    assert_eq!(tried.0, Step::Remove, "what a failed start left is not seen, but removed");
    let stop = case(|c| (c.pod.wanted, c.run) = (Wanted::Stop, Some(PodState::Running)));
    assert_eq!(stop, (Step::Stop(testing::template().stop_grace), Phase::Stopping));
}

#[test]
fn what_was_replaced_while_its_server_was_lost_is_ended_sooner() {
    let images = LocalImages::new();
    let stop = |display: &str, grace: u64, replaced: bool| {
        let record = Record { grace: Span::seconds(grace), ..Record::new(display.to_owned(), ContainerKind::App) };
        let seen = Seen {
            run: Some(PodState::Running),
            exit_code: None,
            link: Link::Ready,
            bridge: true,
            images: &images,
            record: &record,
            pause: None,
            failures: 0,
            drain: None,
            replaced,
        };
        next(None, &seen)
    };
    assert_eq!(stop("web/3", 10, true), Step::Stop(REPLACED_GRACE));
    assert_eq!(stop("web/3", 1, true), Step::Stop(Span::seconds(1)));
    assert_eq!(stop("web/3", 10, false), Step::Stop(Span::seconds(10)));
    // A lone container is never replaced: it was removed by somebody, and is stopped as it asked to be.
    assert_eq!(stop("db", 10, true), Step::Stop(Span::seconds(10)));
}

/// A pod of values, on which every step works at once.
#[derive(Clone)]
struct Model {
    pod: Option<PodAssignment>,
    template: PodTemplate,
    record: Record,
    run: Option<PodState>,
    exit_code: Option<i32>,
    link: Link,
    bridge: bool,
    image: bool,
    drain: Option<Drain>,
}

impl Model {
    fn next(&self, images: &LocalImages) -> Step {
        let none = LocalImages::new();
        let seen = Seen {
            run: self.run,
            exit_code: self.exit_code,
            link: self.link,
            bridge: self.bridge,
            images: if self.image { images } else { &none },
            record: &self.record,
            pause: None,
            failures: 0,
            drain: self.drain,
            replaced: false,
        };
        next(self.pod.as_ref().map(|pod| Told { pod, template: &self.template }), &seen)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Pull(_) => self.image = true,
            Step::AwaitNetwork => self.bridge = true,
            Step::Link => self.link = Link::Ready,
            Step::Run => {
                self.run = Some(PodState::Running);
                self.record.asked = self.pod.as_ref().map(|pod| pod.restarts);
                (self.record.halted, self.record.starting, self.record.failed) = (false, false, None);
            }
            Step::Stop(_) => (self.run, self.exit_code) = (Some(PodState::Stopped), Some(143)),
            Step::Freeze(frozen) => self.run = Some(if *frozen { PodState::Frozen } else { PodState::Running }),
            Step::Halt => (self.record.halted, self.record.failed) = (true, None),
            Step::Look => self.drain = Some(Drain { elapsed: DRAIN_MIN, quiet: DRAIN_QUIET, looked: Duration::ZERO }),
            Step::Limit => self.record.limits = Some(self.template.containers.iter().map(|c| c.limits.clone()).collect()),
            Step::Remove => (self.run, self.record.asked) = (None, None),
            Step::Unlink => self.link = Link::Absent,
            Step::Rest | Step::Forget | Step::Wait(_) | Step::Fail(_) => {}
        }
    }

    /// What must hold when nothing more is to be done.
    fn is_settled(&self) -> bool {
        let Some(pod) = self.pod.as_ref().filter(|pod| pod.wanted != Wanted::Stop) else {
            return self.run.is_none() && self.link == Link::Absent;
        };
        let up = matches!(self.run, Some(PodState::Running | PodState::Frozen));
        match (pod.wanted, pod.power) {
            (Wanted::Drain, _) => !up,
            (_, Power::Off) => !up && self.record.halted,
            (_, Power::On) if up => self.run == Some(PodState::Running) && self.link == Link::Ready,
            (_, Power::Frozen) if up => self.run == Some(PodState::Frozen),
            _ => self.record.failed.is_some() || (self.run == Some(PodState::Stopped) && self.exit_code.is_some()),
        }
    }
}

/// Every state of the drivers and of the record that there can be.
fn situations(pod: Option<PodAssignment>, restart: Restart) -> Vec<Model> {
    let mut template = testing::template();
    template.containers[0].restart = restart;
    let record = Record { asked: Some(1), ..Record::new("c1".to_owned(), ContainerKind::App) };
    let mut all = Vec::new();
    for bits in 0..64u32 {
        let bit = |n: u32| bits >> n & 1 == 1;
        let failed = bit(5).then(|| Failure { message: "no".to_owned(), last_lines: Vec::new() });
        let record = Record { halted: bit(3), starting: bit(4), failed, ..record.clone() };
        for (run, link) in [
            (None, Link::Absent),
            (None, Link::Found),
            (Some(PodState::Stopped), Link::Absent),
            (Some(PodState::Stopped), Link::Ready),
            (Some(PodState::Running), Link::Found),
            (Some(PodState::Running), Link::Ready),
            (Some(PodState::Frozen), Link::Ready),
        ] {
            let exit_code = (run == Some(PodState::Stopped) && bit(2)).then_some(1);
            all.push(Model {
                pod: pod.clone(),
                template: template.clone(),
                record: record.clone(),
                run,
                exit_code,
                link,
                bridge: bit(0) || run.is_some(),
                image: bit(1),
                drain: None,
            });
        }
    }
    all
}

#[test]
fn from_wherever_it_begins_a_pod_comes_to_rest_as_it_was_told() {
    let images = LocalImages::from([(testing::DIGEST.to_owned(), Arc::new(testing::image(Default::default())))]);
    let mut told = vec![None];
    for wanted in [Wanted::Run, Wanted::Drain, Wanted::Stop] {
        for power in [Power::On, Power::Off, Power::Frozen] {
            for restarts in [1, 2] {
                told.push(Some(PodAssignment { wanted, power, restarts, ..testing::pod("c1", 5) }));
            }
        }
    }
    let mut tried = 0;
    for pod in told {
        for restart in [Restart::No, Restart::OnFailure, Restart::Always] {
            for begin in situations(pod.clone(), restart) {
                let (mut model, mut taken) = (begin, Vec::new());
                loop {
                    let step = model.next(&images);
                    if matches!(step, Step::Rest | Step::Forget) {
                        break;
                    }
                    model.take(&step);
                    taken.push(step);
                    assert!(taken.len() < 12, "it does not come to rest: {taken:?}");
                }
                assert!(model.is_settled(), "{pod:?} {restart:?} {taken:?} {:?} {:?}", model.run, model.record);
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 19 * 3 * 64 * 7);
}
