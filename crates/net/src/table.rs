//! Our nftables table: made equal to a [`Ruleset`] by transactions of `nft`, each whole or not at all.

use crate::{
    error::{Error, Result},
    nfnetlink::Netfilter,
    rules::{Ruleset, render_changes, render_whole},
};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Longest part of nft's complaint that is passed on, in characters.
const COMPLAINT_MAX: usize = 500;

/// The table as we left it.
pub struct Table {
    nft: PathBuf,
    netfilter: Netfilter,
    /// What we last put there, and the rules' generation after that. None: unknown, so the whole is put there anew.
    left: Option<(Ruleset, u32)>,
}

impl Table {
    /// Nothing is known of the table yet. `nft` is the program.
    pub fn open(nft: PathBuf) -> Result<Self> {
        Ok(Self { nft, netfilter: Netfilter::open()?, left: None })
    }

    /// Makes the table equal to `wanted`; says whether that took a transaction.
    ///
    /// As long as nobody else has changed any rules since our last transaction, one carries the differences only, so that a
    /// route costs the same whatever else is there. Otherwise the whole table is replaced, which no connection notices.
    pub fn ensure(&mut self, wanted: Ruleset) -> Result<bool> {
        let generation = self.netfilter.generation()?;
        let left = self.left.take().filter(|(_, left_at)| *left_at == generation);
        let text = match &left {
            Some((applied, _)) => render_changes(applied, &wanted),
            None => Some(render_whole(&wanted)),
        };
        let gone = left.map(|(applied, _)| applied.udp_targets_gone(&wanted)).unwrap_or_default();
        if let Some(text) = &text {
            apply(&self.nft, text)?;
        }
        for target in gone {
            self.netfilter.forget_udp(target)?;
        }
        let now = self.netfilter.generation()?;
        let steps = u32::from(text.is_some());
        // Another one's transaction in between may have been about our table: then nothing is known.
        self.left = (now == generation.wrapping_add(steps)).then_some((wanted, now));
        Ok(steps > 0)
    }

    /// Removes the table.
    pub fn clear(&mut self) -> Result<()> {
        self.left = None;
        apply(&self.nft, "add table inet roost\ndelete table inet roost\n")
    }
}

/// Runs one transaction in the calling thread's network namespace.
pub fn apply(nft: &Path, text: &str) -> Result<()> {
    run(nft, &["-f", "-"], text).map(|_| ())
}

/// Runs `nft` and hands back what it printed.
pub fn run(nft: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let missing = |source| Error::NoNft { program: nft.display().to_string(), source };
    let failed = |e| Error::kernel("run nft", e);
    let mut command = Command::new(nft);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        // nft reads all before it prints, and a refusal is told by its exit: a broken pipe says nothing more.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Rules(String::from_utf8_lossy(&output.stderr).trim().chars().take(COMPLAINT_MAX).collect()))
}
