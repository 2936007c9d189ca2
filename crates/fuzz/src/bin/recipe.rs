//! Flockport recipes: what holds is in [`fuzz::recipe`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::recipe::holds(bytes));
