//! What always holds, for any text.

use super::{options, show_file};
use crate::{Dockerfile, Ignore, parse, parse_recipe};
use proptest::prelude::*;

/// A file without where everything stands.
fn bare(mut file: Dockerfile) -> Dockerfile {
    for section in &mut file.sections {
        (section.first, section.last, section.text) = (0, 0, String::new());
    }
    let instructions = file.sections.iter_mut().flat_map(|section| &mut section.instructions).chain(&mut file.globals);
    for one in instructions {
        (one.first, one.last, one.text) = (0, 0, String::new());
    }
    file
}

/// Reads what was printed, and compares. A text that ends in a lone escape character, as it can at the end of a file, cannot be
/// printed so that it does not continue.
fn same_again(file: Dockerfile) -> Result<(), TestCaseError> {
    let printed = file.to_string();
    let escape = file.escape;
    let continues = |line: &str| line.trim_end().strip_suffix(escape).is_some_and(|before| !before.ends_with(escape));
    if printed.lines().any(continues) {
        return Ok(());
    }
    let again = parse(&printed).map_err(|error| TestCaseError::fail(format!("{error}\n{printed}")))?;
    prop_assert_eq!(bare(again), bare(file), "{}", printed);
    Ok(())
}

/// Words that instructions are made of, with everything that is special in them.
fn word() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        "$x", "${x}", "${x:-y}", "'", "\"", "\\", "`", "a", "b c", "=", "/", "./", "*", "[\"a\"]", "[", "<<E", "--", "--link",
        "#", "\\\n", "80", "é", "\t", "k=v",
    ]);
    prop::collection::vec(special, 1..5).prop_map(|parts| parts.concat())
}

fn line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "HEALTHCHECK CMD",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "ONBUILD RUN",
        "RUN",
        "RUN --mount=target=/x",
        "COPY --from=a",
        "COPY --exclude=a\\ b --chown=\"x y\"",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
        "#",
        "",
        "E",
        "FROM a AS b",
        "HEALTHCHECK --interval=90s --retries=3 CMD",
        "START",
        "PORT",
        "CHECK",
        "LIMIT",
    ]);
    (name, prop::collection::vec(word(), 0..4)).prop_map(|(name, words)| format!("{name} {}", words.join(" ")))
}

fn file() -> impl Strategy<Value = String> {
    let directive = prop::sample::select(vec!["", "# escape=`\n", "# syntax=a\n# check=b\n"]);
    (directive, prop::collection::vec(line(), 0..6))
        .prop_map(|(directive, lines)| format!("{directive}FROM x\n{}\n", lines.join("\n")))
}

#[test]
fn flags_neither_hide_heredocs_nor_are_any() {
    let copy = ["b<<", "'b\"'", "\"it's\"", "b' <<two'"].map(|from| format!("COPY --from={from}  <-\"c\""));
    let run = ["/b<<", "'/b <<two'", "\"/it's\""].map(|target| format!("RUN --mount=target={target} cat"));
    let read = |begun: &str| parse(&format!("{begun} <<two /etc/\nhi\ntwo\n")).unwrap();
    for begun in copy.iter().chain(&run) {
        for escape in ['\\', '`'] {
            same_again(read(&format!("# escape={escape}\nFROM a\n{begun}"))).unwrap();
        }
    }
    // What escapes is no quote.
    same_again(read("FROM a\nCOPY --from=b\\\" c")).unwrap();
    same_again(read("# escape=`\nFROM a\nCOPY --from=b`\" c")).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = (parse(&text), parse_recipe(&text), Ignore::parse(&text));
    }

    #[test]
    fn no_file_panics(text in file()) {
        if let Ok(file) = parse(&text) {
            let _ = show_file(&file, &options());
        }
        let _ = parse_recipe(&text);
    }

    #[test]
    fn what_is_printed_is_read_again(text in file()) {
        if let Ok(file) = parse(&text) {
            same_again(file)?;
        }
    }

    #[test]
    fn single_lines_are_printed_too(line in line()) {
        if let Ok(file) = parse(&format!("FROM x\n{line}\nx\nE\n")).or_else(|_| parse(&format!("FROM x\n{line}"))) {
            same_again(file)?;
        }
    }
}
