//! Limits as the kernel wants them written, for both kinds of cgroups: in what files, in what order. Pure, but for [`apply`].

use crate::{Error, Result, cgroup::Shape};
use api::spec::{DEFAULT_PIDS, Limits};

/// Length of a period of the processor quota, in microseconds.
pub const CPU_PERIOD: u64 = 100_000;
/// Smallest quota the kernel takes, in microseconds.
const CPU_QUOTA_MIN: u64 = 1_000;
/// No limit, in memory files of v1.
const V1_UNLIMITED: &str = "-1";
/// No limit, everywhere in v2.
const V2_UNLIMITED: &str = "max";

/// One file of a cgroup: its controller, its name, what to write.
pub type Setting = (&'static str, &'static str, String);

/// Processor time in each period.
pub fn quota(limits: &Limits) -> Option<u64> {
    limits.cpu.map(|cpu| (u64::from(cpu.0) * CPU_PERIOD / 1000).max(CPU_QUOTA_MIN))
}

/// Every limit as files, those that are absent as no limit.
pub fn settings(shape: &Shape, limits: &Limits) -> Vec<Setting> {
    let pids = limits.pids.unwrap_or(DEFAULT_PIDS).to_string();
    match shape {
        Shape::V1 { swap, .. } => {
            let memory = limits.memory.map_or_else(|| V1_UNLIMITED.to_owned(), |m| m.0.to_string());
            let quota = quota(limits).map_or_else(|| V1_UNLIMITED.to_owned(), |q| q.to_string());
            let mut all = vec![("pids", "pids.max", pids), ("memory", "memory.limit_in_bytes", memory.clone())];
            if *swap {
                all.push(("memory", "memory.memsw.limit_in_bytes", memory));
            }
            all.push(("cpu", "cpu.cfs_period_us", CPU_PERIOD.to_string()));
            all.push(("cpu", "cpu.cfs_quota_us", quota));
            all
        }
        Shape::V2 { .. } => {
            let memory = limits.memory.map_or_else(|| V2_UNLIMITED.to_owned(), |m| m.0.to_string());
            let swap = if limits.memory.is_some() { "0" } else { V2_UNLIMITED };
            let quota = quota(limits).map_or_else(|| V2_UNLIMITED.to_owned(), |q| q.to_string());
            vec![
                ("pids", "pids.max", pids),
                ("memory", "memory.max", memory),
                ("memory", "memory.swap.max", swap.to_owned()),
                ("cpu", "cpu.max", format!("{quota} {CPU_PERIOD}")),
            ]
        }
    }
}

/// Writes them to a cgroup that is there. On v1 memory may not exceed memory and swap together even for a moment: what is
/// refused in one order is taken in the other.
pub fn apply(shape: &Shape, path: &str, limits: &Limits) -> Result<()> {
    let mut all = settings(shape, limits);
    let mut refused = None;
    for _ in 0..2 {
        refused = None;
        all.retain(|setting| match write(shape, path, setting) {
            Ok(()) => false,
            Err(error) => {
                refused = Some(error);
                true
            }
        });
        all.reverse();
    }
    match (refused, limits.memory) {
        (None, _) => Ok(()),
        (Some((file, cause)), Some(memory)) if file.starts_with("memory") && cause.raw_os_error() == Some(libc::EBUSY) => {
            Err(Error::Later(format!("memory cannot be limited to {memory}: more than that is in use")))
        }
        (Some((file, cause)), _) => Err(Error::Later(format!("the kernel does not take the limit in {file}: {cause}"))),
    }
}

fn write(shape: &Shape, path: &str, (controller, file, value): &Setting) -> Result<(), (&'static str, std::io::Error)> {
    // A controller that is not there limits nothing, and was said to be missing when the container was made.
    let Some(root) = shape.hierarchy(controller) else { return Ok(()) };
    match std::fs::write(root.join(path).join(file), value) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && *file == "memory.swap.max" => Ok(()),
        other => other.map_err(|error| (*file, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Bytes, Cpu};

    fn lines(shape: &Shape, limits: &Limits) -> Vec<String> {
        settings(shape, limits).into_iter().map(|(_, file, value)| format!("{file} {value}")).collect()
    }

    #[test]
    fn limits_and_their_absence_on_both_kinds_of_cgroups() {
        let some = Limits { memory: Some(Bytes(1 << 20)), cpu: Some(Cpu(500)), pids: Some(7) };
        let (v1, v2) =
            (Shape::V1 { mounts: Vec::new(), unified: None, swap: true }, Shape::V2 { mount: "/sys/fs/cgroup".into() });
        assert_eq!(
            lines(&v1, &some),
            [
                "pids.max 7",
                "memory.limit_in_bytes 1048576",
                "memory.memsw.limit_in_bytes 1048576",
                "cpu.cfs_period_us 100000",
                "cpu.cfs_quota_us 50000"
            ]
        );
        assert_eq!(lines(&v2, &some), ["pids.max 7", "memory.max 1048576", "memory.swap.max 0", "cpu.max 50000 100000"]);
        let none = Limits::default();
        assert!(lines(&v1, &none).contains(&"cpu.cfs_quota_us -1".to_owned()));
        assert_eq!(lines(&v2, &none), ["pids.max 4096", "memory.max max", "memory.swap.max max", "cpu.max max 100000"]);
    }
}
