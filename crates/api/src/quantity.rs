//! Quantities with units: memory, CPU, spans of time, points in time.

use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes; in JSON just that number. Typed as `512M`, `2G` or `1.5G`: powers of 1024; a bare number is bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, Debug, JsonSchema)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const UNITS: [(char, u64); 5] = [('T', 1 << 40), ('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10), ('B', 1)];

impl FromStr for Bytes {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::usage(format!("{text:?} is not a size: write a number and K, M, G or T, as in 512M"));
        let upper = text.trim().to_ascii_uppercase();
        let trimmed = upper.strip_suffix("IB").unwrap_or(&upper);
        let trimmed = if trimmed.len() > 1 && trimmed.ends_with('B') && !trimmed.ends_with(|c: char| c.is_ascii_digit()) {
            let cut = &trimmed[..trimmed.len() - 1];
            if cut.ends_with(|c: char| c.is_ascii_alphabetic()) { cut } else { trimmed }
        } else {
            trimmed
        };
        let (digits, unit) = match trimmed.chars().last() {
            Some(last) if last.is_ascii_alphabetic() => {
                let unit = UNITS.iter().find(|(c, _)| *c == last).ok_or_else(bad)?.1;
                (&trimmed[..trimmed.len() - 1], unit)
            }
            Some(_) => (trimmed, 1),
            None => return Err(bad()),
        };
        let scaled = decimal(digits, unit).ok_or_else(bad)?;
        Ok(Self(scaled))
    }
}

/// `digits` (with at most one point) times `unit`, exactly, or nothing when malformed or too large for 64 bits.
fn decimal(digits: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |s: &str| !s.is_empty() && s.len() <= 15 && s.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let value = whole.parse::<u128>().ok()? * u128::from(unit) + fraction.parse::<u128>().ok()? * u128::from(unit) / scale;
    u64::try_from(value).ok()
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match UNITS.iter().find(|(_, size)| self.0 >= *size) {
            None | Some(('B', _)) => format!("{}B", self.0),
            Some((unit, size)) if self.0.is_multiple_of(*size) => format!("{}{unit}", self.0 / size),
            #[allow(clippy::cast_precision_loss)]
            Some((unit, size)) => format!("{:.1}{unit}", self.0 as f64 / *size as f64),
        };
        f.pad(&text)
    }
}

/// Processor time in thousandths of a core; in JSON just that number. Typed as cores: `0.5`, `2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, Debug, JsonSchema)]
#[serde(transparent)]
pub struct Cpu(pub u32);

impl FromStr for Cpu {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let value = text.strip_suffix('m').map_or_else(|| decimal(text, 1000), |milli| milli.parse().ok());
        value
            .and_then(|v| u32::try_from(v).ok())
            .filter(|v| *v > 0)
            .map(Self)
            .ok_or_else(|| Error::usage(format!("{text:?} is not a number of cores: write cores, as in 0.5 or 2")))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}", f64::from(self.0) / 1000.0))
    }
}

/// A span of time in milliseconds; in JSON just that number. Typed as `20` (seconds), `500ms`, `20s`, `5m`, `2h`, `1d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, Debug, JsonSchema)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1000)
    }
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }
    /// As the standard library's duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let factor = match unit {
            "ms" => Some(1),
            "" | "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        factor.and_then(|factor| decimal(digits, factor)).map(Self).ok_or_else(|| {
            Error::usage(format!("{text:?} is not a duration: write seconds, or a number and ms, s, m, h or d, as in 20s"))
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            ms if ms < 1_000 => format!("{ms}ms"),
            #[allow(clippy::cast_precision_loss)]
            ms if ms < 60_000 && ms % 1_000 != 0 => format!("{:.1}s", ms as f64 / 1_000.0),
            ms if ms < 60_000 => format!("{}s", ms / 1_000),
            ms if ms < 3_600_000 => format!("{}m", ms / 60_000),
            ms if ms < 172_800_000 => format!("{}h", ms / 3_600_000),
            ms => format!("{}d", ms / 86_400_000),
        };
        f.pad(&text)
    }
}

/// A point in time: milliseconds since 1970-01-01 UTC; in JSON just that number.
// Always handed in, never read here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, Debug, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// How long after `earlier` this is; zero if it is not.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
    /// This much later.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(at) => f.pad(&format!("{at:.3}")),
            Err(_) => f.pad("?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Option<u64> {
        text.parse::<Bytes>().ok().map(|bytes| bytes.0)
    }

    #[test]
    fn sizes_as_typed() {
        assert_eq!(bytes("512M"), Some(512 << 20));
        assert_eq!(bytes("2g"), Some(2 << 30));
        assert_eq!(bytes("1.5G"), Some(3 << 29));
        assert_eq!(bytes("64MiB"), Some(64 << 20));
        assert_eq!(bytes("64MB"), Some(64 << 20));
        assert_eq!(bytes("4096"), Some(4096));
        for bad in ["", "12X", "-1", "M", "1.2.3M", "1e3", "99999999999999999999T", "0x10", "1 G"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_and_cores_as_typed() {
        let span = |text: &str| text.parse::<Span>().ok().map(|span| span.0);
        assert_eq!(span("20"), Some(20_000));
        assert_eq!(span("500ms"), Some(500));
        assert_eq!(span("1.5m"), Some(90_000));
        assert_eq!(span("5x"), None);
        assert_eq!(span(""), None);
        let cpu = |text: &str| text.parse::<Cpu>().ok().map(|cpu| cpu.0);
        assert_eq!(cpu("0.5"), Some(500));
        assert_eq!(cpu("2"), Some(2000));
        assert_eq!(cpu("250m"), Some(250));
        assert_eq!(cpu("0"), None);
        assert_eq!(cpu("many"), None);
    }

    #[test]
    fn shown_as_people_write_them() {
        assert_eq!(Bytes(512 << 20).to_string(), "512M");
        assert_eq!(Bytes(1_600_000).to_string(), "1.5M");
        assert_eq!(Bytes(7).to_string(), "7B");
        assert_eq!(Span::millis(1_800).to_string(), "1.8s");
        assert_eq!(Span::seconds(7200).to_string(), "2h");
        assert_eq!(Cpu(500).to_string(), "0.5");
        assert_eq!(Timestamp(1_763_695_471_123).to_string(), "2025-11-21T03:24:31.123Z");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = (text.parse::<Bytes>(), text.parse::<Span>(), text.parse::<Cpu>());
        }

        #[test]
        fn whole_units_survive_a_round_trip(n in 1u64..1023, unit in prop::sample::select(vec!["K", "M", "G"])) {
            let text = format!("{n}{unit}");
            prop_assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
    }
}
