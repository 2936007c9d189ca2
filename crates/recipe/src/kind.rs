//! Which of the two languages a file is written in.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The language of a file that `roost build` reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Docker's.
    #[default]
    Dockerfile,
    /// Our own.
    Recipe,
}

impl Kind {
    /// By the file's name, which may have directories before it: `Recipe` and `*.recipe` are recipes, everything else is a
    /// Dockerfile.
    pub fn of_file(name: &str) -> Self {
        let name = name.rsplit('/').next().unwrap_or_default();
        if name == "Recipe" || name.ends_with(".recipe") { Self::Recipe } else { Self::Dockerfile }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dockerfile => "Dockerfile",
            Self::Recipe => "recipe",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for name in ["Recipe", "a/Recipe", "web.recipe", "/x/.recipe"] {
            assert_eq!(Kind::of_file(name), Kind::Recipe, "{name}");
        }
        for name in ["Dockerfile", "Dockerfile.dev", "recipe", "Recipe/Dockerfile", "x.recipe.txt", ""] {
            assert_eq!(Kind::of_file(name), Kind::Dockerfile, "{name}");
        }
    }
}
