//! The order in which system containers come up when their server starts: lower numbers first, one after the other, with a pause
//! after each that asks for one. Those without a number start at once, beside all others. Pure.

use api::{InstanceId, system::SystemRules};
use std::time::Duration;

/// Time between two looks at whether the one before has come up.
const LOOK: Duration = Duration::from_millis(100);

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub id: InstanceId,
    /// Pause after it.
    pub delay: Duration,
}

/// Where one stands that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// About to be started.
    Coming,
    /// Runs for so long.
    Up(Duration),
    /// Cannot be started now, has ended, or is not wanted any more: nobody waits for it.
    Out,
}

/// Puts those that have a number in order; equal numbers by name.
pub fn line<'a>(starting: impl Iterator<Item = (InstanceId, &'a str, &'a SystemRules)>) -> Vec<Place> {
    let mut all: Vec<_> = starting.filter_map(|(id, name, rules)| Some((rules.autostart_order?, name, id, rules))).collect();
    all.sort_by_key(|(order, name, id, _)| (*order, *name, *id));
    all.into_iter().map(|(.., id, rules)| Place { id, delay: rules.autostart_delay.duration() }).collect()
}

/// How long one still has to wait; none when it is its turn, or when it is not in the line.
pub fn wait(line: &[Place], id: InstanceId, look: impl Fn(InstanceId) -> Ahead) -> Option<Duration> {
    let own = line.iter().position(|place| place.id == id)?;
    let ahead = line[..own].iter().filter_map(|place| match look(place.id) {
        Ahead::Coming => Some(LOOK),
        Ahead::Up(age) => place.delay.checked_sub(age).filter(|left| !left.is_zero()),
        Ahead::Out => None,
    });
    ahead.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Span;

    fn rules(order: Option<u32>, delay: u64) -> SystemRules {
        SystemRules { autostart_order: order, autostart_delay: Span(delay), ..SystemRules::default() }
    }

    #[test]
    fn lower_numbers_come_first_and_those_without_are_not_in_the_line() {
        let all = [(1, "web", rules(Some(20), 0)), (2, "db", rules(Some(3), 5000)), (3, "free", rules(None, 0))];
        let more = [(4, "a", rules(Some(20), 0))];
        let all = all.iter().chain(&more).map(|(id, name, rules)| (InstanceId(*id), *name, rules));
        let line = line(all);
        assert_eq!(line.iter().map(|place| place.id.0).collect::<Vec<_>>(), [2, 4, 1]);
        assert_eq!(line[0].delay, Duration::from_secs(5));
    }

    #[test]
    fn each_waits_for_those_before_it_and_for_their_pauses() {
        let line: Vec<Place> =
            [(1, 5), (2, 0), (3, 0)].map(|(id, s)| Place { id: InstanceId(id), delay: Duration::from_secs(s) }).into();
        let at = |id: u64, ahead: [Ahead; 2]| wait(&line, InstanceId(id), |other| ahead[usize::try_from(other.0).unwrap() - 1]);
        let up = |seconds| Ahead::Up(Duration::from_secs(seconds));
        assert_eq!(at(1, [Ahead::Coming; 2]), None, "the first waits for nobody");
        assert_eq!(at(2, [Ahead::Coming, Ahead::Coming]), Some(LOOK));
        assert_eq!(at(2, [up(2), Ahead::Coming]), Some(Duration::from_secs(3)));
        assert_eq!(at(2, [up(5), Ahead::Coming]), None);
        assert_eq!(at(3, [up(9), Ahead::Coming]), Some(LOOK));
        assert_eq!(at(3, [Ahead::Out, up(0)]), None, "nobody waits for what cannot start");
        assert_eq!(wait(&line, InstanceId(9), |_| Ahead::Coming), None);
    }
}
