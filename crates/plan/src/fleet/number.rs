//! Maps whose keys are positions of servers: small numbers of our own making, which need no defence against chosen keys.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

/// A map by position.
pub(crate) type ByServer<V> = HashMap<usize, V, BuildHasherDefault<Scatter>>;
/// A set of positions.
pub(crate) type Servers = HashSet<usize, BuildHasherDefault<Scatter>>;

/// Spreads numbers by one multiplication with 2⁶⁴ over the golden ratio (Knuth, volume 3, section 6.4).
#[derive(Default)]
pub(crate) struct Scatter(u64);

impl Hasher for Scatter {
    fn finish(&self) -> u64 {
        // The upper bits are the well spread ones, and the table looks at both ends.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}
