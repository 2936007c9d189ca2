//! `FROM [--platform=…] image [AS name]`.

use super::{Text, flags::Takes};
use crate::{error::Problem, text::words};
use serde::{Deserialize, Serialize};

/// The beginning of a stage. Texts are as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// An image, an earlier stage or `scratch`.
    pub base: String,
    /// The stage's name, in small letters.
    pub name: Option<String>,
    /// `--platform`.
    pub platform: Option<String>,
}

/// The base that is nothing.
pub const SCRATCH: &str = "scratch";

const EXAMPLE: &str = "FROM debian, or FROM debian AS build";

pub fn from(text: &Text<'_>) -> Result<Opening, Problem> {
    let platform = text.flags("FROM", &[("platform", Takes::Text)])?.text("platform");
    let fields = words::fields(text.rest("FROM", EXAMPLE)?);
    match fields.as_slice() {
        [base] => Ok(Opening { base: base.clone(), name: None, platform }),
        [base, word, name] if word.eq_ignore_ascii_case("AS") => {
            Ok(Opening { base: base.clone(), name: Some(stage_name(name)?), platform })
        }
        _ => Err(Problem::FromWords { rest: text.split.rest.clone() }),
    }
}

/// Names of stages are the same in capital and small letters.
fn stage_name(name: &str) -> Result<String, Problem> {
    let small = name.to_ascii_lowercase();
    let begins = small.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = small.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if small == SCRATCH {
        Err(Problem::StageCalledScratch)
    } else if begins && rest {
        Ok(small)
    } else {
        Err(Problem::StageName { name: name.to_owned() })
    }
}
