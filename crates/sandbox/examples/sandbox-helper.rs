//! The smallest binary that a sandbox can be made of: what the integration tests use instead of `roost`.

use sandbox::{Options, Sandbox};
use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let word = args.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
    match word.as_str() {
        sandbox::INIT_COMMAND => sandbox::init_main(args.collect()),
        sandbox::EXEC_COMMAND => sandbox::exec_main(args.collect()),
        sandbox::RELAY_COMMAND => sandbox::relay_main(args.collect()),
        "up" => up(args.collect()),
        _ => ExitCode::FAILURE,
    }
}

/// `up NAME BASE SERVERS`, for tests that kill it half way.
fn up(args: Vec<OsString>) -> ExitCode {
    let [name, base_dir, servers] = args.as_slice() else { return ExitCode::FAILURE };
    let options = Options { name: name.to_string_lossy().into_owned(), base_dir: base_dir.into(), ..Options::default() };
    match Sandbox::create(options, servers.to_string_lossy().parse().unwrap_or(0)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
