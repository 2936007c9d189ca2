//! Names of signals, as `STOPSIGNAL` takes them.

use crate::{error::Problem, suggest};

/// Signals of Linux that have names, without `SIG`.
const NAMES: [&str; 33] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR",
    "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH",
    "XCPU",
];

/// Largest number of a signal.
const LAST: u8 = 64;

/// Refuses what is no signal: a number, or a name with or without `SIG`, also `RTMIN+3` and `RTMAX-1`.
pub fn check(text: &str) -> Result<(), Problem> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let number = text.parse::<u8>().ok().filter(|number| (1..=LAST).contains(number));
        return number.map(|_| ()).ok_or_else(|| unknown(text));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, sign: char| {
        let rest = name.strip_prefix(prefix)?;
        Some(rest.is_empty() || rest.strip_prefix(sign).is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 30)))
    };
    let known = NAMES.contains(&name)
        || name == "XFSZ"
        || real_time("RTMIN", '+').unwrap_or_default()
        || real_time("RTMAX", '-').unwrap_or_default();
    if known { Ok(()) } else { Err(unknown(text)) }
}

fn unknown(text: &str) -> Problem {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let near = suggest::nearest(name, NAMES).unwrap_or("TERM");
    Problem::Signal { text: text.to_owned(), near }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-1", "sigquit", "XFSZ", "64"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(
            check("SIGTREM").unwrap_err().to_string(),
            "SIGTREM is no signal: write a number from 1 to 64, or a name, as in SIGTERM"
        );
        for bad in ["0", "65", "", "SIG", "RTMIN+99", "999"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
