//! Expansions, one line each.

use super::*;
use proptest::prelude::*;

fn known(name: &str) -> Option<String> {
    let value = match name {
        "HOME" => "/home/me",
        "FILE" => "/a/b/c.tar.gz",
        "EMPTY" => "",
        "WIDE" => "  two  words ",
        "ÄRGER" => "umlaut",
        "LOUD" => "$HOME 'x'",
        "STAR" => "\\*",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expanded(text: &str) -> String {
    word(text, '\\', &known).unwrap_or_else(|error| format!("! {error}"))
}

#[test]
fn plain_and_quoted() {
    for (text, expected) in [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        (r"he\'llo", "he'llo"),
        (r"a\tb", "atb"),
        (r#""a\tb""#, r"a\tb"),
        (r#""a\\tb""#, r"a\tb"),
        (r"'a\\tb'", r"a\\tb"),
        (r"end\", "end"),
        (r"end\\", r"end\"),
        (r#""it's""#, "it's"),
        (r#"'"'"#, "\""),
        (r#""say \"x\"""#, "say \"x\""),
        ("$.", "$."),
        ("a$", "a$"),
        ("'$HOME'", "$HOME"),
        ("\"$HOME\"", "/home/me"),
        (r"\$HOME", "$HOME"),
        (r"\\$HOME", r"\/home/me"),
        (r#""\$HOME""#, "$HOME"),
        ("$ÄRGER", "umlaut"),
        ("$LOUD", "$HOME 'x'"),
        ("안'녕'", "안녕"),
        (r#""open"#, "! \"open has an open \": close it, or write \\\" if it is meant"),
        ("it's", "! it's has an open ': close it, or write \\' if it is meant"),
    ] {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn names() {
    for (text, expected) in [
        ("$HOME.x", "/home/me.x"),
        ("${HOME}x", "/home/mex"),
        ("x$NOTHING.", "x."),
        ("a$1b", "ab"),
        ("$001x", "x"),
        ("$@@", "@"),
        ("$$HOME", "HOME"),
        ("${1:-one}", "one"),
        ("${@:-at}", "at"),
        ("${}", "! ${} has a ${ without a name: write ${name}, or \\$ if a dollar is meant"),
        ("${:-x}", "! ${:-x} has a ${ without a name: write ${name}, or \\$ if a dollar is meant"),
        ("${HOME", "! ${HOME has an open ${: add }"),
        ("${", "! ${ has an open ${: add }"),
        ("${HOME=x}", "! ${HOME=x} has = after a variable's name, which means nothing: there are :- - :+ + :? ? # ## % %% / //"),
        (
            "${HOME:=x}",
            "! ${HOME:=x} has := after a variable's name, which means nothing: there are :- - :+ + :? ? # ## % %% / //",
        ),
        ("${.}", "! ${.} has . after a variable's name, which means nothing: there are :- - :+ + :? ? # ## % %% / //"),
    ] {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn other_values() {
    for (text, expected) in [
        ("${NO:-a}${NO-b}${EMPTY:-c}${EMPTY-d}${HOME:-e}", "abc/home/me"),
        ("${NO:+a}${NO+b}${EMPTY:+c}${EMPTY+d}${HOME:+e}", "de"),
        ("${HOME?x}${EMPTY?x}", "/home/me"),
        ("${NO?why}", "! NO: why"),
        ("${EMPTY:?}", "! EMPTY: is not allowed to be empty"),
        ("${NO?}", "! NO: is not allowed to be unset"),
        ("${NO:-${HOME}}", "/home/me"),
        ("${NO:-${NO:-${NO:-deep}}}", "deep"),
        ("${NO:-\\$HOME}", "$HOME"),
        ("${NO:-'}'}", "}"),
        ("${NO:-a}}", "a}"),
        ("${NO:-a b", "! ${NO:-a b has an open ${: add }"),
        ("${HOME:+$HOME:}/bin", "/home/me:/bin"),
    ] {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn patterns() {
    for (text, expected) in [
        ("${FILE#*/}", "a/b/c.tar.gz"),
        ("${FILE##*/}", "c.tar.gz"),
        ("${FILE%.*}", "/a/b/c.tar"),
        ("${FILE%%.*}", "/a/b/c"),
        ("${FILE%.g?}", "/a/b/c.tar"),
        ("${FILE#$HOME}", "/a/b/c.tar.gz"),
        ("${FILE/tar/zip}", "/a/b/c.zip.gz"),
        ("${FILE//[/-]/x}", "/a/b/c.tar.gz"),
        ("${FILE//\\//_}", "_a_b_c.tar.gz"),
        ("${FILE/b\\/c/}", "/a/.tar.gz"),
        ("${FILE//?.*/}", "/a/b/"),
        ("${NO#x}${NO/a/b}", ""),
        ("${FILE/x}", "! ${FILE/x} lacks the second /: write ${name/pattern/replacement}"),
        ("${FILE#\\x}", "! \\x has \\x in a pattern: only \\*, \\?, \\\\, \\} and \\/ are possible"),
        (
            "${FILE:#x}",
            "! ${FILE:#x} has :# after a variable's name, which means nothing: there are :- - :+ + :? ? # ## % %% / //",
        ),
    ] {
        assert_eq!(expanded(text), expected, "{text}");
    }
    assert_eq!(word("${STAR#$STAR}", '\\', &known).unwrap(), "\\*", "a value is a pattern too");
}

#[test]
fn words_are_split_where_nothing_quotes_them() {
    let split = |text: &str| words(text, '\\', &known).unwrap();
    assert_eq!(split("80 $WIDE"), ["80", "two", "words"]);
    assert_eq!(split("\"$WIDE\""), ["  two  words "]);
    assert_eq!(split(r"a\ b"), ["a b"]);
    assert_eq!(split("$EMPTY"), [""; 0]);
}

#[test]
fn another_escape() {
    assert_eq!(word("C:\\x`$HOME `` \"`$\"", '`', &known).unwrap(), "C:\\x$HOME ` $");
}

#[test]
fn heredocs_keep_quotes() {
    assert_eq!(heredoc("it's \"$HOME\" \\$HOME a\\b\n", &known).unwrap(), "it's \"/home/me\" $HOME ab\n");
}

#[test]
fn bombs_are_defused() {
    let long = "x".repeat(300_000);
    assert!(matches!(word("$a$a$a$a", '\\', &|_| Some(long.clone())), Err(ExpandError::TooLong { .. })));
    let quoted = format!("\"{}\"", "$a".repeat(100_000));
    assert!(matches!(word(&quoted, '\\', &|_| Some(long.clone())), Err(ExpandError::TooLong { .. })));
    assert!(matches!(word("${a//x/yyyyyyyy}", '\\', &|_| Some(long.clone())), Err(ExpandError::TooLong { .. })));
    assert!(matches!(word(&"${a:-".repeat(100_000), '\\', &|_| None), Err(ExpandError::TooDeep { .. })));
}

proptest! {
    #[test]
    fn no_text_panics(text in r#"([$\{\}:?#%/*'"\\A-C+-]|\$\{|.){0,40}"#) {
        let lookup = |name: &str| name.contains('A').then(|| "a/b".to_owned());
        let _ = (word(&text, '\\', &lookup), words(&text, '`', &lookup), heredoc(&text, &lookup));
    }

    #[test]
    fn texts_without_anything_special_stay(text in "[a-zA-Z0-9 ./=:-]{0,40}") {
        prop_assert_eq!(word(&text, '\\', &|_| None).unwrap(), text);
    }
}
