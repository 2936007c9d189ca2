//! `stats` and `top`: use of resources.

use crate::output::{self, Column, ListArgs, column, or_dash, wide};
use api::{Result, path, view::StatsView};
use clap::Args;
use serde::Serialize;
use std::{collections::BTreeMap, io::IsTerminal, time::Duration};
use wire::client::Client;

/// Show what containers use now, measured over half a second
///
/// Example: roost stats -o json
#[derive(Args)]
pub struct StatsArgs {
    /// Only these
    pub names: Vec<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// Show the containers that use most, again and again
///
/// Example: roost top
#[derive(Args)]
pub struct TopArgs {
    /// Show so many times; for ever on a terminal, once otherwise, when absent
    #[arg(short = 'n', long)]
    pub times: Option<u32>,
    /// Sort by cpu or memory
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "memory"])]
    pub by: String,
}

/// Time over which processor use is measured.
const WINDOW: Duration = Duration::from_millis(500);
/// Time between two screens of `top`.
const REFRESH: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    now: StatsView,
    cpu_percent: f64,
}

const COLUMNS: &[Column<Row>] = &[
    column("NAME", |row| row.now.name.clone()),
    column("SERVER", |row| row.now.server.to_string()),
    column("CPU", |row| format!("{:.1}%", row.cpu_percent)),
    column("MEMORY", |row| row.now.stats.memory.to_string()),
    column("LIMIT", |row| or_dash(row.now.memory_limit)),
    column("PIDS", |row| row.now.stats.pids.to_string()),
    column("RECEIVED", |row| row.now.stats.received.to_string()),
    column("SENT", |row| row.now.stats.sent.to_string()),
    wide("CPU-SECONDS", cpu_seconds),
];

#[allow(clippy::cast_precision_loss)]
fn cpu_seconds(row: &Row) -> String {
    format!("{:.2}", row.now.stats.cpu_micros as f64 / 1e6)
}

/// Two looks, a window apart: use of the processor is the difference.
async fn measure(client: &Client) -> Result<Vec<Row>> {
    let before: Vec<StatsView> = client.get(path::STATS).await?;
    tokio::time::sleep(WINDOW).await;
    let after: Vec<StatsView> = client.get(path::STATS).await?;
    let before: BTreeMap<_, _> = before.into_iter().map(|stat| ((stat.name.clone(), stat.server.clone()), stat)).collect();
    let row = |now: StatsView| {
        let earlier = before.get(&(now.name.clone(), now.server.clone()));
        let cpu_percent = earlier.map_or(0.0, |earlier| percent(earlier, &now));
        Row { now, cpu_percent }
    };
    Ok(after.into_iter().map(row).collect())
}

/// Share of one core between two looks.
#[allow(clippy::cast_precision_loss)]
fn percent(earlier: &StatsView, now: &StatsView) -> f64 {
    let micros = now.stats.cpu_micros.saturating_sub(earlier.stats.cpu_micros) as f64;
    let millis = now.at.since(earlier.at).0.max(1) as f64;
    micros / millis / 10.0
}

/// `roost stats`.
pub async fn stats(client: &Client, args: StatsArgs) -> Result<()> {
    loop {
        let mut rows = measure(client).await?;
        if !args.names.is_empty() {
            rows.retain(|row| args.names.contains(&row.now.name));
        }
        output::list(rows, COLUMNS, &args.list)?;
        if !args.list.watch {
            return Ok(());
        }
        output::print("\n")?;
    }
}

/// `roost top`.
pub async fn top(client: &Client, args: TopArgs) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut left = args.times.unwrap_or(if terminal { u32::MAX } else { 1 });
    while left > 0 {
        let mut rows = measure(client).await?;
        if args.by == "memory" {
            rows.sort_by_key(|row| std::cmp::Reverse(row.now.stats.memory));
        } else {
            rows.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent));
        }
        if terminal {
            output::print("\u{1b}[2J\u{1b}[H")?;
        }
        output::list(rows, COLUMNS, &ListArgs::default())?;
        left -= 1;
        if left > 0 {
            tokio::time::sleep(REFRESH).await;
        }
    }
    Ok(())
}
