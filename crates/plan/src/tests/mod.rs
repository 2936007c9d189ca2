//! Stories and laws, told to a world in one line each.

mod copies;
mod histories;
mod jobs;
mod lone;
mod packing;
mod rollouts;
mod tables;
mod words;
mod world;
