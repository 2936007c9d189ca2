//! Files of the catalogue: what holds is in [`fuzz::catalogue`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::catalogue::holds(bytes));
