//! What a runtime must do, as root, with real containers: the same cases for application and system containers, then what
//! is only true of one kind. This binary is its own shim.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests may fail loudly and watch the clock"
)]

mod adopt;
mod bed;
mod console;
mod exec;
mod life;
mod limits;
mod security;
mod userns;

/// Runs before `main`, while there is one thread: `<this binary> shim …` is a shim, as `roost shim …` is.
#[used]
#[unsafe(link_section = ".init_array")]
static SHIM: extern "C" fn() = shim;

extern "C" fn shim() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|first| first == "shim") {
        std::process::exit(runtime::shim::code(&args[1..]).into());
    }
}
