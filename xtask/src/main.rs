//! House chores that are not part of the product: `cargo xtask tidy`.

mod tidy;

use std::{env, path::PathBuf, process::ExitCode};
use tidy::Mode;

const USAGE: &str = "usage: cargo xtask tidy [--accept [--grow]]

  tidy              check imports, sizes, banned text, forgotten files and documents against the rules of the house
  tidy --accept     lower the entries of xtask/ratchet.txt that have shrunk, remove those that have vanished
  tidy --accept --grow   also accept what is new or has grown: only with a reason, in a commit of its own
";

/// Exit code of a check that found something.
const FOUND: u8 = 1;
/// Exit code of wrong usage, and of files that cannot be read.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(mode) = mode(&arguments) else {
        eprint!("{USAGE}");
        return ExitCode::from(WRONG);
    };
    match tidy::run(&root(), mode) {
        Ok(report) => {
            print!("{report}");
            if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) }
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(WRONG)
        }
    }
}

fn mode(arguments: &[&str]) -> Option<Mode> {
    match arguments {
        ["tidy"] => Some(Mode::Check),
        ["tidy", "--accept"] => Some(Mode::Accept),
        ["tidy", "--accept", "--grow"] | ["tidy", "--grow", "--accept"] => Some(Mode::AcceptGrowth),
        _ => None,
    }
}

/// The workspace: above this package when run by cargo, else here.
fn root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), |package| PathBuf::from(package).join(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_needs_accept() {
        assert_eq!(mode(&["tidy"]), Some(Mode::Check));
        assert_eq!(mode(&["tidy", "--accept"]), Some(Mode::Accept));
        assert_eq!(mode(&["tidy", "--grow", "--accept"]), Some(Mode::AcceptGrowth));
        for wrong in [&[][..], &["tidy", "--grow"], &["tidy", "now"], &["clean"]] {
            assert_eq!(mode(wrong), None, "{wrong:?}");
        }
    }
}
