//! Kernel settings of the calling thread's network namespace.

use crate::error::{Error, Result};
use std::{fs, path::PathBuf};

/// Where a setting is, as in `net/ipv4/ip_forward`.
fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// The setting's number.
pub fn read(name: &str) -> Result<u8> {
    let text = fs::read_to_string(path(name)).map_err(|e| Error::kernel(format!("read setting {name}"), e))?;
    Ok(text.trim().parse().unwrap_or(0))
}

/// Makes a setting be `value`; says whether it was another.
pub fn ensure(name: &str, value: u8) -> Result<bool> {
    if read(name)? == value {
        return Ok(false);
    }
    fs::write(path(name), value.to_string()).map_err(|e| Error::kernel(format!("set {name} to {value}"), e))?;
    Ok(true)
}

/// Makes a setting of two numbers be these.
pub fn ensure_range(name: &str, (from, to): (u32, u32)) -> Result<()> {
    let text = fs::read_to_string(path(name)).map_err(|e| Error::kernel(format!("read setting {name}"), e))?;
    if text.split_whitespace().eq([from.to_string(), to.to_string()]) {
        return Ok(());
    }
    fs::write(path(name), format!("{from} {to}")).map_err(|e| Error::kernel(format!("set {name} to {from} {to}"), e))
}
