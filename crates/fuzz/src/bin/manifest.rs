//! Manifests, indexes, configurations: what holds is in [`fuzz::manifest`].
#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::seeds::write(fuzz::seeds::manifests), |bytes: &[u8]| fuzz::manifest::holds(bytes));
