//! The file: formats, locks, being opened again.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn io(path: &Path, cause: &str) -> String {
    format!("store {}: {cause}", path.display())
}

fn refusal(path: &Path) -> String {
    Embedded::open(path).map(|_| ()).unwrap_err().to_string()
}

#[tokio::test]
async fn what_was_committed_is_there_when_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = Embedded::open(&path).unwrap();
    let history = store.history();
    assert_eq!(store.commit(Commit::new().put("a", "1").put("b", "1")).await, Ok(1));
    assert_eq!(store.commit(Commit::new().delete("a")).await, Ok(2));
    let before = store.read("").await.unwrap();
    drop(store);
    let store = Embedded::open(&path).unwrap();
    assert_eq!((store.read("").await.unwrap(), store.history()), (before, history));
    assert_eq!(store.commit(Commit::new().if_unchanged("b", 1)).await, Ok(3));
    // What came before is not in memory any more.
    let mut old = store.watch("b", 1).await.unwrap();
    assert!(matches!(old.next().await, Ok(crate::Event::StartOver { revision: 3, .. })));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn histories_differ() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| Embedded::open(&directory.path().join(name)).unwrap());
    assert_ne!(a.history(), b.history());
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(Embedded::open(&path).unwrap());
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(file::NUMBERS).unwrap().insert("format", FILE_FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let sentence = "has format 2, but this version reads formats up to 1; run the version that wrote it or a newer one";
    assert_eq!(refusal(&path), io(&path, sentence));
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text");
    std::fs::write(&text, "some words that are no store").unwrap();
    let said = refusal(&text);
    assert!(said.contains("magic number"), "{said}");
    assert_eq!(std::fs::read_to_string(&text).unwrap(), "some words that are no store");

    let other = directory.path().join("other");
    drop(Database::create(&other).unwrap());
    assert!(refusal(&other).starts_with(&io(&other, "is not a store of ours")), "{}", refusal(&other));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none/store");
    let said = refusal(&path);
    assert!(said.starts_with(&io(&path, "directory ")) && said.contains("No such file"), "{said}");
}

#[test]
fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let first = Embedded::open(&path).unwrap();
    assert_eq!(refusal(&path), io(&path, "is in use by another process"));
    drop(first);
    drop(Embedded::open(&path).unwrap());
}

#[test]
fn a_store_half_made_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let beside = directory.path().join("store.new");
    std::fs::write(&beside, [0; 5_000]).unwrap();
    drop(Embedded::open(&path).unwrap());
    assert!(!beside.exists());
}

#[test]
fn of_many_that_make_it_at_once_one_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let stores: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Embedded::open(&path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (open, refused): (Vec<_>, Vec<_>) = stores.into_iter().partition(Result::is_ok);
    assert_eq!(open.len(), 1);
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!(error.to_string(), io(&path, "is in use by another process"));
    }
}

#[tokio::test]
async fn more_commits_than_the_queue_holds_are_all_done() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(&directory.path().join("store")).unwrap();
    let commits = (0..2 * MAX_QUEUED as u64).map(|n| store.commit(Commit::new().put(format!("{n:04}"), "")));
    let mut revisions: Vec<_> = futures_util::future::join_all(commits).await.into_iter().map(Result::unwrap).collect();
    revisions.sort_unstable();
    assert!(revisions.into_iter().eq(1..=2 * MAX_QUEUED as u64));
    assert_eq!(store.read("").await.unwrap().1.len(), 2 * MAX_QUEUED);
}
