//! Admission: defaults, validation, and a trial placement. Pure functions of a snapshot and a request; all complaints at once.

pub mod container;
pub mod image;
pub mod job;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod trial;

pub use trial::place;
