//! A file as a whole: global arguments, and one section for each `FROM`.

use crate::{
    error::{Error, Place, Problem},
    instruction::{Instruction, Verb},
    kind::Kind,
    parse::{self, Parsed, from::Opening},
    text::{
        lines::{self, Line},
        words,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most sections of a file: several times what the largest projects have.
pub const SECTIONS_MAX: usize = 256;

/// Most instructions of a file; each may become a layer, and kernels stack a few hundred.
pub const INSTRUCTIONS_MAX: usize = 10_000;

/// A file, understood; its variables are not yet expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dockerfile {
    /// Which language it was written in.
    pub kind: Kind,
    /// What escapes a character.
    pub escape: char,
    /// `# syntax=`: kept, but nothing is fetched because of it.
    pub syntax: Option<String>,
    /// `# check=`: kept.
    pub check: Option<String>,
    /// `ARG` before the first `FROM`.
    pub globals: Vec<Instruction>,
    /// At least one.
    pub sections: Vec<Section>,
}

/// A `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Number of the first line of its `FROM`.
    pub first: u32,
    /// Number of the last line of its `FROM`.
    pub last: u32,
    /// Its `FROM`, as written.
    pub text: String,
    /// What it begins from.
    pub opening: Opening,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// Reads a Dockerfile.
pub fn parse(text: &str) -> Result<Dockerfile, Error> {
    let lines = lines::read(Kind::Dockerfile, text)?;
    let mut file = Dockerfile::empty(Kind::Dockerfile, &lines);
    for line in lines.lines {
        let parsed = parse::line(&line, lines.escape).map_err(|problem| file.at(line.first).problem(problem))?;
        file.take(line, parsed)?;
    }
    file.checked()
}

impl Dockerfile {
    /// A file without instructions.
    pub(crate) fn empty(kind: Kind, lines: &lines::Lines) -> Self {
        let (syntax, check) = (lines.syntax.clone(), lines.check.clone());
        Self { kind, escape: lines.escape, syntax, check, globals: Vec::new(), sections: Vec::new() }
    }

    /// A place in this file.
    pub(crate) const fn at(&self, line: u32) -> Place {
        Place::Line(self.kind, line)
    }

    /// Adds what a line says.
    pub(crate) fn take(&mut self, line: Line, parsed: Parsed) -> Result<(), Error> {
        let place = self.at(line.first);
        let Line { first, last, text, source, .. } = line;
        let full = self.sections.len() >= SECTIONS_MAX;
        if self.globals.len() + self.sections.iter().map(|section| section.instructions.len()).sum::<usize>() >= INSTRUCTIONS_MAX
        {
            return Err(place.problem(Problem::TooManyInstructions { max: INSTRUCTIONS_MAX }));
        }
        match (parsed, self.sections.last_mut()) {
            (Parsed::From(_), _) if full => return Err(place.problem(Problem::TooManySections { max: SECTIONS_MAX })),
            (Parsed::From(opening), _) => {
                self.sections.push(Section { first, last, text: source, opening, instructions: Vec::new() });
            }
            (Parsed::Verb(verb), Some(section)) => section.instructions.push(Instruction { first, last, text: source, verb }),
            (Parsed::Verb(verb @ Verb::Arg(_)), None) => self.globals.push(Instruction { first, last, text: source, verb }),
            (Parsed::Verb(_), None) => {
                let word = words::split(&text, self.escape).name.to_ascii_uppercase();
                let recipe = self.kind == Kind::Recipe;
                return Err(place.problem(if recipe {
                    Problem::RecipeBeforeFrom { word }
                } else {
                    Problem::BeforeFrom { word }
                }));
            }
        }
        Ok(())
    }

    /// Judges the file as a whole.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        if self.sections.is_empty() {
            return Err(Place::Whole(self.kind).problem(Problem::NoFrom));
        }
        let mut names: BTreeMap<&str, u32> = BTreeMap::new();
        for section in &self.sections {
            if let Some(name) = section.opening.name.as_deref()
                && let Some(line) = names.insert(name, section.first)
            {
                return Err(self.at(section.first).problem(Problem::DuplicateStage { name: name.to_owned(), line }));
            }
        }
        Ok(self)
    }
}
