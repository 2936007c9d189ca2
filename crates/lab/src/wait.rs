//! Waiting for what must become true, with a deadline instead of a guess.

use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until `look` is true; panics with `what` after `deadline`.
#[track_caller]
pub fn eventually(deadline: Duration, what: &str, mut look: impl FnMut() -> bool) {
    eventually_some(deadline, what, || look().then_some(()));
}

/// Looks again and again until `look` finds something; panics with `what` after `deadline`.
#[track_caller]
pub fn eventually_some<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = base::env::instant();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_the_first_yes() {
        let mut looks = 0;
        eventually(Duration::from_secs(5), "three looks", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic(expected = "not within 30ms: never")]
    fn gives_up_at_the_deadline() {
        eventually(Duration::from_millis(30), "never", || false);
    }
}
