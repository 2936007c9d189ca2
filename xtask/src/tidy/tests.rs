//! Small houses, each with something wrong.

use super::*;
use std::fs;
use tempfile::TempDir;

const GOOD: [(&str, &str); 8] = [
    (
        "Cargo.toml",
        "[workspace]\n[workspace.dependencies]\napi = { path = \"crates/api\" }\nserde = { version = \"1\", features = [] }\nlibc = \"0.2\"\n",
    ),
    ("crates/api/Cargo.toml", "[package]\nname = \"api\"\n[dependencies]\nserde.workspace = true\n"),
    ("crates/api/src/lib.rs", "//! Values.\n\npub fn one() -> u8 {\n    1\n}\n"),
    ("crates/base/Cargo.toml", "[package]\nname = \"base\"\n"),
    ("crates/base/src/lib.rs", "//! Base.\n"),
    ("crates/store/Cargo.toml", "[package]\nname = \"store\"\n[dependencies]\nlibc.workspace = true\napi.workspace = true\n"),
    ("crates/store/src/lib.rs", "//! Keys.\n"),
    ("docs/dependencies.md", "| crate | why |\n|---|---|\n| `serde` | values |\n| `libc` | calls |\n"),
];

const TABLE: &str = "# The house\n\n## The import table\n\n| crate | purpose | may import |\n|---|---|---|\n\
    | `api` | values | – |\n| `base` | loops | – |\n| `store` | keys | `api`, `base` |\n";

fn house(changes: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in GOOD.iter().chain(&[("ARCHITECTURE.md", TABLE)]).chain(changes) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn check(root: &TempDir, mode: Mode) -> Vec<String> {
    run(root.path(), mode).unwrap().findings.iter().map(ToString::to_string).collect()
}

/// What is found in the good house with these files added or replaced.
fn found(changes: &[(&str, &str)]) -> Vec<String> {
    check(&house(changes), Mode::Check)
}

const NONE: [&str; 0] = [];

#[test]
fn a_good_house_has_nothing_to_find() {
    assert_eq!(found(&[]), NONE);
}

#[test]
fn an_edge_that_is_not_in_the_table() {
    let changed = [(
        "crates/api/Cargo.toml",
        "[package]\nname = \"api\"\n[dependencies]\nserde.workspace = true\nstore.workspace = true\n",
    )];
    let says = "crates/api/Cargo.toml:5: `api` may not import `store`: the import table of ARCHITECTURE.md has no such edge";
    assert_eq!(found(&changed), [says]);
    let tests = [("crates/api/Cargo.toml", "[package]\nname = \"api\"\n[dev-dependencies]\nstore.workspace = true\n")];
    assert_eq!(found(&tests), NONE);
}

#[test]
fn a_crate_and_a_table_that_do_not_know_each_other() {
    let changed = [("crates/new/Cargo.toml", "[package]\nname = \"new\"\n"), ("crates/new/src/lib.rs", "//! New.\n")];
    assert_eq!(
        found(&changed),
        ["crates/new/Cargo.toml:1: the crate `new` is not in the import table of ARCHITECTURE.md: add a row"]
    );
    let stale = TABLE.to_owned() + "| `gone` | nothing | `api` |\n";
    let says = "ARCHITECTURE.md:10: the import table names `gone`, but there is no such crate";
    assert_eq!(found(&[("ARCHITECTURE.md", &stale)]), [says]);
}

#[test]
fn the_workshop_needs_no_row_unless_it_imports() {
    let main = ("xtask/src/main.rs", "//! Chores.\n\nfn main() {}\n");
    assert_eq!(found(&[("xtask/Cargo.toml", "[package]\nname = \"xtask\"\n"), main]), NONE);
    let imports = "[package]\nname = \"xtask\"\n[dependencies]\napi.workspace = true\n";
    let says = "xtask/Cargo.toml:1: the crate `xtask` is not in the import table of ARCHITECTURE.md: add a row";
    assert_eq!(found(&[("xtask/Cargo.toml", imports), main]), [says]);
}

#[test]
fn documents_that_are_missing() {
    let root = house(&[]);
    fs::remove_file(root.path().join("ARCHITECTURE.md")).unwrap();
    fs::remove_file(root.path().join("docs/dependencies.md")).unwrap();
    let says = [
        "ARCHITECTURE.md:1: is missing: it has the import table, below `## The import table`",
        "docs/dependencies.md:1: is missing: it says of each dependency why it and not another",
    ];
    assert_eq!(check(&root, Mode::Check), says);
}

#[test]
fn dependencies_and_their_reasons() {
    let changed = [("docs/dependencies.md", "| `serde` | like `libc` |\n| `toml` | - |\n")];
    let says = [
        "Cargo.toml:5: the dependency `libc` has no row in docs/dependencies.md: say why it and not another, and its licence",
        "docs/dependencies.md:2: `toml` is no dependency of the workspace: remove the row",
    ];
    assert_eq!(found(&changed), says);
}

#[test]
fn a_long_file() {
    let lines = |count: usize| "//! M.\n".to_owned() + &"const _: () = ();\n".repeat(count - 1);
    assert_eq!(found(&[("crates/api/src/lib.rs", &lines(600))]), NONE);
    let says = "crates/api/src/lib.rs:1: the file has 601 lines without its tests, over the limit of 600: split it by subject";
    assert_eq!(found(&[("crates/api/src/lib.rs", &lines(601))]), [says]);
    let tests = lines(600) + "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n";
    assert_eq!(found(&[("crates/api/src/lib.rs", &tests)]), NONE);
    assert_eq!(found(&[("crates/api/tests/long.rs", &lines(601))]), NONE);
}

#[test]
fn a_base_that_grows() {
    let lines = |count: usize| "//! M.\n".to_owned() + &"const _: () = ();\n".repeat(count - 1);
    let base = |count| {
        let files = [lines(598) + "mod a;\nmod b;\n", lines(600), lines(count)];
        found(&[("crates/base/src/lib.rs", &files[0]), ("crates/base/src/a.rs", &files[1]), ("crates/base/src/b.rs", &files[2])])
    };
    assert_eq!(base(300), NONE);
    let says = "crates/base/Cargo.toml:1: base has 1501 lines, over the limit of 1500: move out what knows too much";
    assert_eq!(base(301), [says]);
}

#[test]
fn long_functions() {
    let function = |lines: usize| format!("pub async fn long() {{\n{}}}\n", "    ();\n".repeat(lines - 2));
    let file = |text: String| found(&[("crates/api/src/lib.rs", &format!("//! M.\n\n{text}"))]);
    assert_eq!(file(function(70)), NONE);
    let says = |line, name| {
        format!("crates/api/src/lib.rs:{line}: `{name}` has 71 lines, over the limit of 70: split it into steps with names")
    };
    assert_eq!(file(function(71)), [says(3, "long")]);
    assert_eq!(file(format!("impl<T> a::Foo<T> {{\n{}}}\n", function(71))), [says(4, "Foo::long")]);
    assert_eq!(file(format!("trait Foo {{\n{}}}\n", function(71).replace("pub ", ""))), [says(4, "Foo::long")]);
    assert_eq!(file(format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(71))), NONE);
    assert_eq!(file(format!("#[test]\n{}", function(71))), NONE);
}

#[test]
fn many_parameters_and_methods() {
    let file = |text: &str| found(&[("crates/api/src/lib.rs", &format!("//! M.\n{text}\n"))]);
    let says = |name| format!("crates/api/src/lib.rs:2: `{name}` takes 5 parameters, over the limit of 4: make them a struct");
    assert_eq!(file("fn f(a: u8, b: u8, c: u8, d: u8) {}"), NONE);
    assert_eq!(file("fn f(a: u8, b: u8, c: u8, d: u8, e: u8) {}"), [says("f")]);
    assert_eq!(file("impl Foo { fn f(&self, a: u8, b: u8, c: u8, d: u8) {} }"), NONE);
    assert_eq!(file("trait Foo { fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8); }"), [says("Foo::f")]);
    // The trait dictates it.
    assert_eq!(file("impl other::Foo for Bar { fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8) {} }"), NONE);
    let methods =
        |count: usize| format!("trait Foo {{ type T; {} }}", (0..count).map(|n| format!("fn f{n}(&self);")).collect::<String>());
    assert_eq!(file(&methods(8)), NONE);
    let says = "crates/api/src/lib.rs:2: the trait `Foo` has 9 methods, over the limit of 8: split it by who calls them";
    assert_eq!(file(&methods(9)), [says]);
}

#[test]
fn a_file_without_an_opening() {
    let says = "crates/api/tests/a.rs:1: does not open with a module comment: begin with `//!` and what the file is for";
    assert_eq!(found(&[("crates/api/tests/a.rs", "// Words.\n")]), [says]);
}

#[test]
fn banned_text() {
    let file = |text: &str| found(&[("crates/api/src/lib.rs", &format!("//! `todo!()` in words.\n{text}\n"))]);
    assert_eq!(file("const T: &str = \"todo!() dbg!()\"; // todo!()"), NONE);
    assert_eq!(file("fn f() { todo!() }"), ["crates/api/src/lib.rs:2: `todo!` outside tests: finish it, or leave it out"]);
    let says = "crates/api/src/lib.rs:3: `dbg!` outside tests: remove it, or use tracing";
    assert_eq!(file("fn f() { tokio::select! {\n a = b => { std::dbg!(c) } } }"), [says]);
    let says = "crates/api/src/lib.rs:2: `unimplemented!` outside tests: finish it, or return an error that says so";
    assert_eq!(file("impl A { fn f() { let x = [unimplemented!(\"x\")]; } }"), [says]);
    assert_eq!(file("#[cfg(test)]\nmod tests { fn f() { todo!() } }"), NONE);
    let says = "an ignored test proves nothing: make it run, or remove it";
    assert_eq!(
        file("#[cfg(test)]\nmod tests {\n #[test]\n #[ignore]\n fn f() {} }"),
        [format!("crates/api/src/lib.rs:5: {says}")]
    );
    assert_eq!(
        found(&[("crates/api/tests/a.rs", "//! T.\n#[ignore = \"slow\"]\nfn f() {}\n")]),
        [format!("crates/api/tests/a.rs:2: {says}")]
    );
}

#[test]
fn forgotten_files() {
    let lib = "//! M.\nmod a;\nmod b { mod c; }\n#[path = \"odd/name.rs\"]\nmod d;\n#[cfg(test)]\nmod testing;\n";
    let files = [
        ("crates/api/src/lib.rs", lib),
        ("crates/api/src/a.rs", "//! M.\nmod x;\n"),
        ("crates/api/src/a/x.rs", "//! M.\n"),
        ("crates/api/src/b/c/mod.rs", "//! M.\nmod y;\n"),
        ("crates/api/src/b/c/y.rs", "//! M.\n"),
        ("crates/api/src/odd/name.rs", "//! M.\n"),
        ("crates/api/src/bin/tool.rs", "//! M.\nfn main() {}\n"),
        ("crates/api/src/testing.rs", "//! M.\nfn f() { todo!() }\n"),
    ];
    assert_eq!(found(&files), NONE);
    let mut more = files.to_vec();
    more.push(("crates/api/src/x.rs", "//! M.\n"));
    let says = "crates/api/src/x.rs:1: no `mod` leads to this file, so it is not compiled: declare it or delete it";
    assert_eq!(found(&more), [says]);
}

#[test]
fn a_file_that_is_no_rust() {
    let found = found(&[("crates/api/src/lib.rs", "//! M.\nfn f( {\n")]);
    assert!(found[0].starts_with("crates/api/src/lib.rs:") && found[0].contains(": cannot be parsed: "), "{found:?}");
}

#[test]
fn the_ratchet_from_growth_to_nothing() {
    let lines = |count: usize| "//! M.\n".to_owned() + &"const _: () = ();\n".repeat(count - 1);
    let root = house(&[("crates/api/src/lib.rs", &lines(700)), ("xtask/ratchet.txt", "")]);
    let long = |count| fs::write(root.path().join("crates/api/src/lib.rs"), lines(count)).unwrap();
    let list = || {
        let text = fs::read_to_string(root.path().join("xtask/ratchet.txt")).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(check(&root, Mode::Accept).len(), 1, "not accepted without --grow");
    assert_eq!(list(), NONE);
    assert_eq!(check(&root, Mode::AcceptGrowth), NONE);
    assert_eq!(list(), ["crates/api/src/lib.rs file-lines 700"]);
    assert_eq!(check(&root, Mode::Check), NONE);

    long(701);
    assert!(check(&root, Mode::Check)[0].ends_with("split it by subject (it has grown: xtask/ratchet.txt lists 700)"));
    assert_eq!(check(&root, Mode::Accept).len(), 1);
    assert_eq!(list(), ["crates/api/src/lib.rs file-lines 700"]);

    long(650);
    assert!(check(&root, Mode::Check)[0].starts_with("xtask/ratchet.txt:3: `file-lines` of crates/api/src/lib.rs has shrunk"));
    assert_eq!(check(&root, Mode::Accept), NONE);
    assert_eq!(list(), ["crates/api/src/lib.rs file-lines 650"]);

    long(600);
    assert!(check(&root, Mode::Check)[0].contains("is gone: remove this entry"));
    assert_eq!(check(&root, Mode::Accept), NONE);
    assert_eq!(list(), NONE);
}

#[test]
fn sizes_are_told() {
    let report = run(house(&[]).path(), Mode::Check).unwrap();
    insta::assert_snapshot!(report, @r"
    3 files: median 1 lines, 90th percentile 5, largest 5 (crates/api/src/lib.rs)
    1 functions: median 3 lines, 90th percentile 3, largest 3 (crates/api/src/lib.rs: one)
    ");
}
