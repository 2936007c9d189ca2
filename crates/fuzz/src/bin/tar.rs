//! Archives: what holds is in [`fuzz::archive`].
#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::seeds::write(fuzz::seeds::archives), |bytes: &[u8]| fuzz::archive::holds(bytes));
