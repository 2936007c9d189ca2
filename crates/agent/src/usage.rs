//! How much of the server is in use.

use crate::engine::Inner;
use api::{quantity::Bytes, report::ServerUsage};
use base::supervise::Scope;
use std::{fs, path::Path, sync::Arc, time::Duration};

/// Looked at this often; as often as an unchanged report is sent.
pub const PERIOD: Duration = Duration::from_secs(5);

/// Processor time since boot, in ticks, over all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
    processors: u64,
}

/// Looks for ever.
pub async fn run(inner: Arc<Inner>) -> Result<(), String> {
    let mut before = Ticks::default();
    loop {
        let state_dir = inner.state_dir.clone();
        let (usage, ticks) = Scope::blocking(move || read(&state_dir, before)).await?;
        before = ticks;
        inner.lock().usage = usage;
        inner.dirty.wake();
        tokio::time::sleep(PERIOD).await;
    }
}

fn read(state_dir: &Path, before: Ticks) -> (ServerUsage, Ticks) {
    let now = ticks(&fs::read_to_string("/proc/stat").unwrap_or_default());
    let memory = memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let disk =
        nix::sys::statvfs::statvfs(state_dir).map_or(0, |stat| stat.blocks_available().saturating_mul(stat.fragment_size()));
    (ServerUsage { memory: Bytes(memory), cpu_milli: milli(before, now), disk_free: Bytes(disk) }, now)
}

/// Thousandths of a core in use between two looks.
fn milli(before: Ticks, now: Ticks) -> u32 {
    let (busy, all) = (now.busy.saturating_sub(before.busy), now.all.saturating_sub(before.all));
    let milli = busy.saturating_mul(1000).saturating_mul(now.processors).checked_div(all).unwrap_or(0);
    u32::try_from(milli).unwrap_or(u32::MAX)
}

/// From /proc/stat (proc_stat(5)): user nice system idle iowait irq softirq steal; the first line sums all processors.
fn ticks(stat: &str) -> Ticks {
    let mut out = Ticks::default();
    for line in stat.lines().take_while(|line| line.starts_with("cpu")) {
        let mut fields = line.split_whitespace();
        if fields.next() != Some("cpu") {
            out.processors += 1;
            continue;
        }
        let values: Vec<u64> = fields.take(8).filter_map(|value| value.parse().ok()).collect();
        let idle: u64 = values.iter().skip(3).take(2).sum();
        out.all = values.iter().sum();
        out.busy = out.all.saturating_sub(idle);
    }
    out
}

/// Bytes that are not available, from /proc/meminfo (proc_meminfo(5)).
fn memory(meminfo: &str) -> u64 {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let total = field("MemTotal:").unwrap_or(0);
    total.saturating_sub(field("MemAvailable:").unwrap_or(total)).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_the_difference_of_two_looks_over_all_cores() {
        let first = ticks("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1\ncpu1 1 1\nintr 5\n");
        let second = ticks("cpu  150 0 150 750 150 0 0 0 0 0\ncpu0 1 1\ncpu1 1 1\nintr 5\n");
        assert_eq!(first, Ticks { busy: 200, all: 1000, processors: 2 });
        assert_eq!(milli(first, second), 1000);
        assert_eq!(milli(first, first), 0);
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        assert_eq!(memory("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  400 kB\n"), 600 * 1024);
        assert_eq!(memory(""), 0);
    }

    #[test]
    fn this_machine_has_processors_and_memory() {
        let (usage, now) = read(Path::new("/"), Ticks::default());
        assert!(now.processors > 0 && usage.memory.0 > 0 && usage.disk_free.0 > 0);
    }
}
