//! Dockerfiles: what is printed is read again, and planning and stepping through the stages ends.

use ::recipe::{Base, Config, Dockerfile, Error, Kind, Options, Plan, Platform, StageId, StageState, instruction::Verb};
use std::collections::BTreeMap;

/// Reads, prints, reads again; then builds as far as values go.
pub fn holds(bytes: &[u8]) {
    let Some(text) = crate::text(bytes) else { return };
    match ::recipe::parse(text) {
        Ok(file) => {
            printed_is_read_again(&file);
            builds(&file);
        }
        Err(error) => crate::sentence(&error),
    }
}

/// What is read from what was printed is the same, but for where it stands.
pub fn printed_is_read_again(file: &Dockerfile) {
    let printed = file.to_string();
    if printed.lines().any(|line| continues(line, file.escape)) || ends_in_a_blank(file) {
        return;
    }
    match ::recipe::parse(&printed) {
        Ok(again) => assert_eq!(bare(again), bare(file.clone()), "printed as {printed:?}"),
        Err(error) => panic!("what was printed is refused: {error}\n{printed:?}"),
    }
}

/// A text that ends in a lone escape character, as it can at the end of a file, cannot be printed so that it does not continue.
fn continues(line: &str, escape: char) -> bool {
    line.trim_end().strip_suffix(escape).is_some_and(|before| !before.ends_with(escape))
}

/// Before a lone escape character that ends an instruction a value may end in a blank. Without it the blank is a part of the line's
/// end, quotes would be a part of the value, and on a line of its own the escape character would continue it.
fn ends_in_a_blank(file: &Dockerfile) -> bool {
    let instructions = file.sections.iter().flat_map(|section| &section.instructions).chain(&file.globals);
    let mut last = instructions.filter_map(|one| match &one.verb {
        Verb::Env(pairs) | Verb::Label(pairs) => pairs.last().map(|pair| pair.value.as_str()),
        Verb::Arg(arguments) => arguments.last().and_then(|argument| argument.default.as_deref()),
        _ => None,
    });
    last.any(|value| value.ends_with(char::is_whitespace))
}

/// Without where everything stands, and in which of the two languages.
fn bare(mut file: Dockerfile) -> Dockerfile {
    file.kind = Kind::Dockerfile;
    for section in &mut file.sections {
        (section.first, section.last, section.text) = (0, 0, String::new());
    }
    let instructions = file.sections.iter_mut().flat_map(|section| &mut section.instructions).chain(&mut file.globals);
    for one in instructions {
        (one.first, one.last, one.text) = (0, 0, String::new());
    }
    file
}

/// Plans a file and goes through all its steps; what is refused is refused in a sentence.
pub fn builds(file: &Dockerfile) {
    if let Err(error) = configuration(file) {
        crate::sentence(&error);
    }
}

fn configuration(file: &Dockerfile) -> Result<(), Error> {
    let mut options = Options::new(Platform::linux("amd64"));
    options.build_args.insert("VERSION".to_owned(), "1 \"2\" $3 \\".to_owned());
    let plan = Plan::of(file, &options)?;
    let mut complete: BTreeMap<StageId, StageState> = BTreeMap::new();
    for stage in &plan.stages {
        assert!(stage.needs.iter().all(|need| complete.contains_key(need)), "stage {} comes before what it needs", stage.id);
        let mut state = match &stage.base {
            Base::Image(_) => StageState::begin(&plan, stage, pulled())?,
            Base::Scratch => StageState::begin(&plan, stage, Config::default())?,
            Base::Stage(base) => match complete.get(base) {
                Some(below) => StageState::begin_on(&plan, stage, below)?,
                None => panic!("stage {} comes before its base {base}", stage.id),
            },
        };
        for instruction in state.instructions() {
            let effect = state.step(&instruction)?;
            assert_eq!(effect.cache_text().is_none(), effect == ::recipe::Effect::Metadata);
        }
        complete.insert(stage.id, state);
    }
    assert!(complete.contains_key(&plan.target), "the target is not among the stages");
    Ok(())
}

/// The configuration of any image, with a trigger.
fn pulled() -> Config {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Config {
        env: words(&["PATH=/bin", "A=b"]),
        working_dir: "/srv".to_owned(),
        on_build: words(&["COPY . /app"]),
        ..Config::default()
    }
}
