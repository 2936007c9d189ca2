//! The lab: real binaries, sandboxes as clusters, for black-box tests.
//!
//! A test makes a [`Lab`] (a sandbox of its own, removed when it is dropped, also by a panic), imports the image it needs, and
//! then only types commands and looks at what they print, at names, at ports, and at what the kernel says:
//!
//! ```no_run
//! use lab::{Lab, eventually};
//! use std::time::Duration;
//!
//! let lab = Lab::with_tiny(2); // s1 and s2, with the image `tiny`
//! lab.ok(&["run", "-d", "c1", "tiny", "--", "/bin/sleep", "600"]); // must exit 0
//! lab.refused(&["run", "-d", "c1", "tiny"], 4); // must exit 4
//! let out = lab.typed_on("s2", &["exec", "-i", "c1", "--", "/bin/cat"]).stdin("hi").run();
//! assert_eq!((out.code, out.stdout.as_str()), (0, "hi"));
//! eventually(Duration::from_secs(5), "c1 in DNS", || !lab.dig("s2", "c1.internal").is_empty());
//! ```
//!
//! Helpers panic with everything that was typed and printed: they are parts of tests, with nobody to hand an error to.

mod cluster;
mod image;
mod packages;
mod place;
mod processes;
mod terminal;
mod trace;
mod typed;
mod vm;
mod wait;
mod web;

pub use cluster::{Lab, OUTSIDE, binary};
pub use image::Root;
pub use place::Place;
pub use processes::{Process, start_time};
pub use terminal::Terminal;
pub use trace::Traces;
pub use typed::{Background, Output, Typed};
pub use vm::{INSIDE, Vm};
pub use wait::{eventually, eventually_some};
pub use web::{Client, Requests, Running};
