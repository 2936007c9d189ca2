//! Dockerfiles: what holds is in [`fuzz::dockerfile`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::dockerfile::holds(bytes));
