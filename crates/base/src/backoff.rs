//! Pauses between tries: doubling, bounded, with a known sequence.

use std::time::Duration;

/// Pauses `first`, twice that, … up to `most`; back to `first` after [`Backoff::reset`].
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
}

impl Backoff {
    /// Doubling from `first` to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, tries: 0 }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.tries.min(20)).unwrap_or(u32::MAX);
        self.tries = self.tries.saturating_add(1);
        self.first.saturating_mul(factor).min(self.most)
    }

    /// Tries since the last success.
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// It worked: begin again at `first`.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_begins_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        let pauses: Vec<_> = (0..5).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
        backoff.reset();
        assert_eq!(backoff.pause().as_millis(), 100);
    }
}
