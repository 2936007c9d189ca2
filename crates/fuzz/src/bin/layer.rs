//! Compressed layers: what holds is in [`fuzz::layer`].
#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::seeds::write(fuzz::seeds::layers), |bytes: &[u8]| fuzz::layer::holds(bytes));
