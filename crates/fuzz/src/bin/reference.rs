//! Names of images, paths of the registry: what holds is in [`fuzz::reference`].
#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::seeds::write(fuzz::seeds::references), |bytes: &[u8]| fuzz::reference::holds(bytes));
