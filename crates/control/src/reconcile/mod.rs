//! Reconcilers. Each takes no input: it looks at the world and makes one thing true.

mod commits;
mod copies;
mod placements;

use crate::Control;

/// Starts them all.
pub fn start(control: &Control) {
    placements::start(control);
    commits::start(control);
    copies::start(control);
}
