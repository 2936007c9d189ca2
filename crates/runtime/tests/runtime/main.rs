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
mod systems;
mod userns;

use api::spec::ContainerKind;

/// The suite: every case, run on both drivers, each as a test of its own with a bed of its own.
macro_rules! suite {
    ($($module:ident::$case:ident;)*) => {
        mod app {
            $(#[test] fn $case() { super::$module::$case(&mut super::bed::Bed::new(super::ContainerKind::App)); })*
        }
        mod system {
            $(#[test] fn $case() {
                match super::systems::missing() {
                    None => super::$module::$case(&mut super::bed::Bed::new(super::ContainerKind::System)),
                    Some(why) => eprintln!("{} not tried on system containers: {why}", stringify!($case)),
                }
            })*
        }
    };
}

suite! {
    life::a_pod_runs_is_observed_and_stops;
    life::exit_codes_output_and_environment_come_through;
    life::one_that_does_not_listen_is_killed_after_its_grace;
    life::files_are_kept_over_stop_and_start;
    life::removing_leaves_nothing;
    life::signals_reach_the_main_process;
    life::frozen_is_still_and_can_be_stopped;
    life::what_cannot_start_says_why_and_leaves_nothing_running;
    life::mounts_show_what_they_should;
    life::files_can_be_seen_from_outside_running_or_stopped;
    exec::codes_input_environment_and_user;
    exec::what_is_not_there_and_what_is_no_program;
    exec::a_terminal_is_a_terminal;
    exec::a_pod_that_does_not_run_says_so;
    adopt::a_new_agent_finds_everything_as_it_was;
    adopt::a_killed_shim_takes_its_pod_with_it_and_is_told;
    limits::processes_are_limited_and_a_command_counts;
    limits::memory_is_limited_and_changed_while_it_runs;
    userns::root_inside_is_nobody_outside_and_files_follow;
}

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
