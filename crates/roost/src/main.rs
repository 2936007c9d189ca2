//! The binary: nothing but `main`.
fn main() {}
