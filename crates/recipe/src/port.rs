//! Ports as `EXPOSE` writes them: `80`, `53/udp`, `8000-8010/tcp`.

use crate::{error::Problem, suggest};
use std::ops::RangeInclusive;

/// Ports of one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Numbers.
    pub numbers: RangeInclusive<u16>,
    /// In small letters.
    pub protocol: String,
}

impl Ports {
    /// `80/tcp` for each.
    pub fn each(&self) -> impl Iterator<Item = String> {
        self.numbers.clone().map(|port| format!("{port}/{}", self.protocol))
    }
}

/// Understands one word. What is written before a colon (`8080:80`) says where to publish, which an image cannot do; Docker reads
/// over it, and so do we.
pub fn exposed(word: &str) -> Result<Ports, Problem> {
    let wrong = || Problem::Port { word: word.to_owned() };
    let inner = word.rsplit(':').next().unwrap_or(word);
    let (range, protocol) = inner.split_once('/').unwrap_or((inner, "tcp"));
    let protocol = match protocol.to_ascii_lowercase() {
        name if name.is_empty() => "tcp".to_owned(),
        name if ["tcp", "udp", "sctp"].contains(&name.as_str()) => name,
        name => {
            let hint = suggest::hint(&name, "there are", &["tcp", "udp", "sctp"]);
            return Err(Problem::UnknownValue { what: "EXPOSE", value: word.to_owned(), hint });
        }
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
    if first > last {
        return Err(wrong());
    }
    Ok(Ports { numbers: first..=last, protocol })
}

/// A port's number, from 1.
pub fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_to_ports() {
        let ports = |word: &str| exposed(word).unwrap().each().collect::<Vec<_>>().join(" ");
        assert_eq!(ports("80"), "80/tcp");
        assert_eq!(ports("53/UDP"), "53/udp");
        assert_eq!(ports("8000-8002/sctp"), "8000/sctp 8001/sctp 8002/sctp");
        assert_eq!(ports("8080:80"), "80/tcp");
        assert_eq!(ports("80/"), "80/tcp");
    }

    #[test]
    fn what_is_no_port() {
        let says = |word: &str| exposed(word).unwrap_err().to_string();
        assert_eq!(
            says("70000"),
            "70000 is no port: write a number from 1 to 65535, as in 80 or 53/udp, or a range, as in 8000-8010"
        );
        for bad in ["0", "-1", "a", "", "9-8", "80-", "+80", "1-70000"] {
            assert!(says(bad).contains("is no port"), "{bad}");
        }
        assert_eq!(says("80/tpc"), "EXPOSE 80/tpc is unknown: did you mean tcp?");
    }
}
