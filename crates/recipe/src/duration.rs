//! Durations as Docker's files write them: `30s`, `1m30s`, `1.5h`, `100ms`.

/// Units, longest name first, with their nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds; nothing when it is no duration or does not fit.
pub fn nanoseconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, unit) = rest.split_at(number);
        let (name, scale) = UNITS.iter().find(|(name, _)| unit.starts_with(name))?;
        total = total.checked_add(scaled(digits, *scale)?)?;
        rest = &unit[name.len()..];
    }
    (!text.is_empty()).then_some(total)
}

/// `digits`, with at most one point, times the scale.
fn scaled(digits: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.len() <= 18 && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let number = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<u128>().ok() };
    let parts = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let value = number(whole)? * u128::from(scale) + number(fraction)? * u128::from(scale) / parts;
    u64::try_from(value).ok().filter(|value| i64::try_from(*value).is_ok())
}

/// As a Dockerfile would write it: whole units, largest first.
pub fn written(nanoseconds: u64) -> String {
    let units =
        [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
    let mut rest = nanoseconds;
    let mut text = String::new();
    for (name, scale) in units {
        if rest >= scale {
            text.push_str(&format!("{}{name}", rest / scale));
            rest %= scale;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_typed() {
        assert_eq!(nanoseconds("30s"), Some(30_000_000_000));
        assert_eq!(nanoseconds("1m30s"), Some(90_000_000_000));
        assert_eq!(nanoseconds("1.5h"), Some(5_400_000_000_000));
        assert_eq!(nanoseconds("100ms"), Some(100_000_000));
        assert_eq!(nanoseconds(".5s"), Some(500_000_000));
        assert_eq!(nanoseconds("0"), Some(0));
        for bad in ["", "5", "s", "1x", "-1s", "1.2.3s", "99999999999h", "1s ", "."] {
            assert_eq!(nanoseconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn written_and_read_again() {
        for text in ["1h2m3s", "0s", "150ms", "1m1ns"] {
            assert_eq!(written(nanoseconds(text).unwrap()), text);
        }
    }
}
