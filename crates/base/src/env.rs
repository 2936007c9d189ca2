//! The one door to clock and randomness. `clippy.toml` bans every other, so that tests can put another world behind it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Milliseconds that tests add to the wall clock.
static SHIFT: AtomicU64 = AtomicU64::new(0);

/// Milliseconds since 1970-01-01 UTC.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(SHIFT.load(Ordering::Relaxed))
}

/// A monotonic point in time, for measuring how long something took.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub fn instant() -> Instant {
    Instant::now()
}

/// The clock that timers run by. Tests may pause and advance it together with them.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub fn timer() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Moves the wall clock forward by so many milliseconds, for tests of expiry in a process of their own.
pub fn shift_clock(millis: u64) {
    SHIFT.fetch_add(millis, Ordering::Relaxed);
}

/// So many bytes from the operating system's generator, fit for keys and tokens.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    use rand::Rng as _;
    let mut bytes = [0; N];
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A seed for a generator that decisions are made with.
pub fn seed() -> u64 {
    u64::from_le_bytes(random_bytes())
}
