//! Names people type and identifiers the cluster makes.

use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// What [`Name::parse`] takes, as part of a regular expression.
macro_rules! label {
    () => {
        "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    };
}

/// A DNS label: 1 to 63 of `a-z 0-9 -`, beginning and ending with a letter or digit (RFC 1123, section 2.1).
///
/// Servers, containers, jobs, networks and every other noun a user names carry one.
// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = concat!("^", label!(), "$")))]
pub struct Name(Arc<str>);

/// Longest DNS label (RFC 1035, section 2.3.4).
pub const NAME_MAX: usize = 63;

impl Name {
    /// Parses a name typed for a `what` ("container", "server"), which only serves the error message.
    pub fn parse(what: &str, text: &str) -> Result<Self> {
        let ok = !text.is_empty()
            && text.len() <= NAME_MAX
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(Error::usage(format!(
                "{text:?} is not a {what} name: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
            )))
        }
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse("valid", &text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl FromStr for Name {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse("valid", text)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Identifies one instance of a pod for ever: never used again, not even for the same slot. Printed as lower-case hex.
///
/// Kernel objects of the instance (network namespace, link, cgroup, directory) carry it in their names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9a-f]{1,16}$"))]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{:x}", self.0)
    }
}

impl FromStr for InstanceId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        u64::from_str_radix(text, 16).map(Self).map_err(|_| Error::usage(format!("{text:?} is not an instance id")))
    }
}

impl TryFrom<String> for InstanceId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.to_string()
    }
}

/// What a user types to mean a container: `c1`, `s2:c1`, `web/3` or `s2:web/3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = concat!("^(", label!(), ":)?", label!(), "(/[1-9][0-9]{0,9})?$")))]
pub struct Target {
    /// The server in front of the colon, if any.
    pub server: Option<Name>,
    /// The container or job.
    pub name: Name,
    /// The slot behind the slash: present for an instance of a job, counted from 1.
    pub slot: Option<u32>,
}

impl FromStr for Target {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (server, rest) = match text.split_once(':') {
            Some((server, rest)) => (Some(Name::parse("server", server)?), rest),
            None => (None, text),
        };
        let (name, slot) = match rest.split_once('/') {
            Some((name, slot)) => {
                let slot = slot.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                    Error::usage(format!("{slot:?} is not an instance number: instances count from 1, as in {name}/1"))
                })?;
                (name, Some(slot))
            }
            None => (rest, None),
        };
        Ok(Self { server, name: Name::parse("container", name)?, slot })
    }
}

impl TryFrom<String> for Target {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = &self.server {
            write!(f, "{server}:")?;
        }
        write!(f, "{}", self.name)?;
        if let Some(slot) = self.slot {
            write!(f, "/{slot}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web-1", "0", &"a".repeat(63)] {
            assert!(Name::parse("server", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            let error = Name::parse("server", bad).unwrap_err();
            assert!(error.message.contains("is not a server name"), "{bad}");
        }
    }

    #[test]
    fn targets_as_typed() {
        let shown = |text: &str| text.parse::<Target>().map(|target| target.to_string());
        for text in ["c1", "s2:c1", "web/3", "s2:web/3"] {
            assert_eq!(shown(text).unwrap(), text);
        }
        for bad in ["", ":", "s2:", "web/0", "web/-1", "web/x", "a:b:c"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_shown_as_typed(text in "[a-z0-9:/-]{1,20}") {
            if let Ok(target) = text.parse::<Target>()
                && !text.contains("/0") {
                prop_assert_eq!(target.to_string(), text);
            }
        }

        #[test]
        fn instance_ids_survive_a_round_trip(id in any::<u64>()) {
            prop_assert_eq!(InstanceId(id).to_string().parse::<InstanceId>().unwrap(), InstanceId(id));
        }
    }
}
