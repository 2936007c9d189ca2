//! The kernel's network in terms of our values: netlink messages are made and read here, nowhere else.

pub mod observe;
pub mod order;
