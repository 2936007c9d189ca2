//! Dockerfiles: each instruction and each trap, built by `roost build` and by Debian's `buildah`, and compared.
//!
//! `crates/lab/dockerfiles` has a folder for each case, and says in what the two rightly differ. `ROOST_DOCKERFILES=copy-link,user`
//! builds these cases only.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod case;
mod compare;
mod ground;
mod image;
mod make;
mod run;
mod table;
mod tree;

use case::Case;
use ground::Ground;
use run::Report;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};
use table::Table;

/// At least so many Dockerfiles are built.
const CASES: usize = 40;
/// Milliseconds in a second.
const SECOND: u64 = 1000;

/// One case, also when a helper panics: the others are built all the same.
fn report(ground: &Ground, case: &Case, since: i64) -> Report {
    catch_unwind(AssertUnwindSafe(|| run::run(ground, case, since))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
        Report { problems: vec![text.to_owned()], ..Report::default() }
    })
}

/// Prints what came of a case; what of it is wrong.
fn judge(case: &Case, report: &Report, table: &mut Table) -> Vec<String> {
    let mut wrong: Vec<String> = report.problems.iter().map(|problem| format!("{}: {problem}", case.name)).collect();
    println!("{}: {}", case.name, case.about);
    for found in &report.differences {
        match table.why(&case.name, found) {
            Some(why) => println!("    {found}, because {why}"),
            None => wrong.push(format!("{}: {found}", case.name)),
        }
    }
    wrong
}

fn say_times(mut times: Vec<Duration>) {
    times.sort_unstable();
    if let (Some(middle), Some(longest)) = (times.get(times.len() / 2), times.last()) {
        println!("second builds without a change: {middle:?} in the middle, {longest:?} at most, of {}", times.len());
    }
}

#[test]
fn images_are_what_buildah_makes_of_the_same_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dockerfiles");
    let (mut cases, mut table) = (Case::all(&folder), Table::read(&folder.join("README.md")));
    assert!(cases.len() >= CASES, "only {} cases", cases.len());
    let chosen = std::env::var("ROOST_DOCKERFILES").ok();
    if let Some(chosen) = &chosen {
        cases.retain(|case| chosen.split(',').any(|name| name == case.name));
    }
    let since = i64::try_from(base::env::now_millis() / SECOND).unwrap();
    let ground = Ground::new();
    let (mut wrong, mut times) = (Vec::new(), Vec::new());
    for case in &cases {
        let report = report(&ground, case, since);
        times.extend(report.again);
        wrong.extend(judge(case, &report, &mut table));
    }
    say_times(times);
    if chosen.is_none() {
        wrong.extend(table.idle());
    }
    assert!(wrong.is_empty(), "{} cases, and wrong in them:\n{}", cases.len(), wrong.join("\n"));
}
