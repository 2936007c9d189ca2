//! The unpack helper by itself, for tests of this crate; the product has it as a hidden command of its one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    image::unpack::main(std::env::args_os().skip(1).collect())
}
