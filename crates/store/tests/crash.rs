//! A process killed at any moment loses nothing it acknowledged, and leaves no commit half done.
//!
//! The test starts itself again as the process to be killed.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};
use store::{Commit, Entry, Revision, Store, embedded::Embedded};

const THIS_TEST: &str = "a_killed_store_keeps_what_it_acknowledged";
/// Says which file to commit to, and thereby that this process is the one to be killed.
const VICTIM: &str = "ROOST_TEST_STORE_VICTIM";
const ROUNDS: u64 = 12;
/// Further rounds are added on a machine so busy that little happens in each.
const MAX_ROUNDS: u64 = 200;
/// Fewer acknowledged commits than this prove nothing.
const ENOUGH: u64 = 100;
const CLIENTS: u64 = 4;

#[test]
fn a_killed_store_keeps_what_it_acknowledged() {
    if let Ok(path) = std::env::var(VICTIM) {
        victim(Path::new(&path));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut acknowledged = BTreeMap::new();
    for round in 0..MAX_ROUNDS {
        if round >= ROUNDS && acknowledged.values().sum::<u64>() >= ENOUGH {
            return;
        }
        for (client, n) in kill_after(&path, pause(round)) {
            let before = acknowledged.insert(client, n);
            assert!(before < Some(n), "client {client} committed {n} after {before:?}");
        }
        runtime().block_on(examine(&path, &acknowledged));
    }
    panic!("too little happened in {MAX_ROUNDS} rounds to mean anything: {acknowledged:?}");
}

/// The first rounds end while the file is being made or opened, later ones anywhere in the work.
fn pause(round: u64) -> Duration {
    let seed = u64::from_le_bytes(base::env::random_bytes());
    Duration::from_micros(if round < 4 { seed % 20_000 } else { 20_000 + seed % 200_000 })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Killed and collected, whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a victim work for so long. What each client was told, in order.
fn kill_after(path: &Path, pause: Duration) -> Vec<(u64, u64)> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([THIS_TEST, "--exact", "--nocapture"]).env(VICTIM, path);
    let mut child = Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let pipe = child.0.stderr.take().unwrap();
    let reader = std::thread::spawn(move || acknowledgements(pipe));
    std::thread::sleep(pause);
    drop(child);
    reader.join().unwrap()
}

/// The lines that are whole: the kill may have cut off the last.
fn acknowledgements(mut pipe: ChildStderr) -> Vec<(u64, u64)> {
    let mut said = String::new();
    pipe.read_to_string(&mut said).unwrap();
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line: &str| {
        let (client, n) = line.strip_prefix("done ")?.split_once(' ')?;
        Some((client.parse().ok()?, n.parse().ok()?))
    };
    whole.lines().map(|line| parse(line).unwrap_or_else(|| panic!("the victim said: {said}"))).collect()
}

/// Commits until it is killed.
fn victim(path: &Path) {
    let store = Embedded::open(path).unwrap();
    runtime().block_on(async {
        futures_util::future::join_all((0..CLIENTS).map(|client| work(&store, client))).await;
    });
}

/// Commit number n of a client puts two keys and its own number, and deletes the two keys of number n - 3.
async fn work(store: &Embedded, client: u64) {
    let last = format!("last/{client}");
    let found = store.get(&last).await.unwrap();
    let mut revision = found.as_ref().map_or(0, |entry| entry.revision);
    let next = found.map_or(1, |entry| number(&entry) + 1);
    for n in next.. {
        let mut commit = Commit::new().if_unchanged(last.clone(), revision).put(last.clone(), n.to_string());
        for half in ["left", "right"] {
            let size = usize::try_from(n * 37 % 3_000).unwrap();
            commit = commit.put(format!("n/{client}/{n}/{half}"), vec![b'x'; size]);
            if n > 3 {
                commit = commit.delete(format!("n/{client}/{}/{half}", n - 3));
            }
        }
        revision = store.commit(commit).await.unwrap();
        std::io::stderr().write_all(format!("done {client} {n}\n").as_bytes()).unwrap();
    }
}

fn number(entry: &Entry) -> u64 {
    std::str::from_utf8(&entry.value).unwrap().parse().unwrap()
}

async fn examine(path: &Path, acknowledged: &BTreeMap<u64, u64>) {
    let store = Embedded::open(path).unwrap();
    let mut commits: Revision = 0;
    for client in 0..CLIENTS {
        let last = store.get(&format!("last/{client}")).await.unwrap().map_or(0, |entry| number(&entry));
        let told = acknowledged.get(&client).copied().unwrap_or(0);
        assert!(last >= told, "client {client} was told {told}, but the store ends at {last}");
        // Only what was on its way may be there beyond what was told, and a client has one commit on its way.
        let (_, entries) = store.read(&format!("n/{client}/")).await.unwrap();
        let mut found: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
        found.sort();
        let numbers = last.saturating_sub(2).max(1)..=last;
        let mut expected: Vec<_> = numbers.flat_map(|n| ["left", "right"].map(|half| format!("n/{client}/{n}/{half}"))).collect();
        expected.sort();
        assert_eq!(found, expected, "client {client} at {last}");
        commits += last;
    }
    assert_eq!(store.read("last/").await.unwrap().0, commits, "the revision counts the commits");
}
