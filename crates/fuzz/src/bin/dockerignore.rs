//! `.dockerignore`: what holds is in [`fuzz::dockerignore`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::dockerignore::holds(bytes));
