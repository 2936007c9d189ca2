//! Signals as people and images write them. Pure.

use nix::sys::signal::Signal;

/// First real-time signal that a program may use: glibc keeps 32 and 33 for itself (signal(7)).
pub const SIGRTMIN: i32 = 34;
/// Last real-time signal (signal(7)).
const SIGRTMAX: i32 = 64;

/// The number of a signal written as `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `RTMAX-1`.
pub fn number(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    real_time(name).or_else(|| format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32))
}

fn real_time(name: &str) -> Option<i32> {
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => SIGRTMIN,
        (_, Some("")) => SIGRTMAX,
        (Some(more), _) => SIGRTMIN + more.strip_prefix('+')?.parse::<u8>().map(i32::from).ok()?,
        (_, Some(less)) => SIGRTMAX - less.strip_prefix('-')?.parse::<u8>().map(i32::from).ok()?,
        (None, None) => return None,
    };
    (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time_signals() {
        let table = [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+99", None),
            ("RTMIN3", None),
            ("0", None),
            ("65", None),
            ("SIGNOTHING", None),
            ("", None),
        ];
        for (text, want) in table {
            assert_eq!(number(text), want, "{text:?}");
        }
    }
}
