//! Beats arrive, and nothing else counts as one.

use super::*;
use proptest::prelude::*;
use std::time::Instant;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

async fn listener() -> Listener {
    Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap()
}

async fn next(listener: &Listener) -> Option<Name> {
    tokio::time::timeout(Duration::from_secs(2), listener.next()).await.ok().map(Result::unwrap)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn beats_arrive_five_times_a_second_until_dropped() {
    let listener = listener().await;
    let key = Key::random();
    listener.set_key(&name("s1"), key.clone());
    let sender = Sender::start(name("s1"), listener.address().unwrap(), key);
    assert_eq!(next(&listener).await, Some(name("s1")));
    let began: Instant = env::instant();
    for _ in 0..4 {
        assert_eq!(next(&listener).await, Some(name("s1")));
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(4), "{took:?}");
    drop(sender);
    let began = env::instant();
    while next(&listener).await.is_some() {
        assert!(began.elapsed() < Duration::from_secs(5), "beats after the end");
    }
}

#[tokio::test]
async fn a_sender_that_is_dropped_does_not_wait_for_its_next_beat() {
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let (listener, key) = (listener().await, Key::random());
        listener.set_key(&name("s1"), key.clone());
        let sender = Sender::start(name("s1"), listener.address().unwrap(), key);
        assert_eq!(next(&listener).await, Some(name("s1")));
        let began = env::instant();
        drop(sender);
        shortest = shortest.min(began.elapsed());
    }
    assert!(shortest < INTERVAL / 2, "{shortest:?}");
}

#[tokio::test]
async fn the_thread_survives_errors_and_follows_the_manager() {
    let (first, second) = (listener().await, listener().await);
    let key = Key::random();
    first.set_key(&name("s1"), key.clone());
    second.set_key(&name("s1"), key.clone());
    // A network that no datagram may be sent to: broadcast without permission.
    let sender = Sender::start(name("s1"), ([255, 255, 255, 255], 7443).into(), key);
    tokio::time::sleep(Duration::from_millis(450)).await;
    sender.set_manager(first.address().unwrap());
    assert_eq!(next(&first).await, Some(name("s1")));
    sender.set_manager("[::1]:9".parse().unwrap());
    tokio::time::sleep(Duration::from_millis(250)).await;
    sender.set_manager(second.address().unwrap());
    assert_eq!(next(&second).await, Some(name("s1")));
}

#[test]
fn replayed_forged_and_foreign_datagrams_do_not_count() {
    runtime().block_on(async {
        let (listener, key) = (listener().await, Key::random());
        let s1 = name("s1");
        assert_eq!(listener.accept(&seal(&s1, 1, &key)), None, "no session yet");
        listener.set_key(&s1, key.clone());
        assert_eq!(listener.accept(&seal(&s1, 5, &key)), Some(s1.clone()));
        assert_eq!(listener.accept(&seal(&s1, 5, &key)), None, "the same again");
        assert_eq!(listener.accept(&seal(&s1, 4, &key)), None, "an older one");
        listener.set_key(&s1, key.clone());
        assert_eq!(listener.accept(&seal(&s1, 5, &key)), None, "the same key again opens no door to replays");
        assert_eq!(listener.accept(&seal(&s1, u64::MAX, &Key::random())), None, "another key");
        assert_eq!(listener.accept(&seal(&name("s2"), 6, &key)), None, "in another's name");
        assert_eq!(listener.accept(&seal(&s1, 6, &key)), Some(s1.clone()), "a forged counter has moved nothing");
        listener.set_key(&s1, Key::random());
        assert_eq!(listener.accept(&seal(&s1, 7, &key)), None, "of the session before");
        listener.forget(&s1);
        assert_eq!(listener.accept(&seal(&s1, 8, &key)), None);
    });
}

#[tokio::test]
async fn junk_does_not_stop_the_listener() {
    let (listener, key) = (listener().await, Key::random());
    listener.set_key(&name("s1"), key.clone());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for junk in [vec![], vec![0; 10], vec![0xff; 2000], MAGIC.repeat(20)] {
        socket.send_to(&junk, listener.address().unwrap()).unwrap();
    }
    socket.send_to(&seal(&name("s1"), 1, &key), listener.address().unwrap()).unwrap();
    assert_eq!(next(&listener).await, Some(name("s1")));
}

#[test]
fn keys_as_text() {
    let key = Key::random();
    assert_eq!(Key::from_hex(&key.to_hex()).unwrap(), key);
    for bad in ["", "ab", &"g".repeat(64), &"a".repeat(66)] {
        assert_eq!(Key::from_hex(bad).unwrap_err().message, "roost-heartbeat-key must be 64 hex digits");
    }
    assert_eq!(format!("{key:?}"), "Key(..)");
}

#[test]
fn the_tag_is_the_standards() {
    // HMAC-SHA256 with a 32-byte key, computed with Python's hmac module:
    // hmac.new(bytes(range(32)), b"rhb1" + (1).to_bytes(8, "big") + b"s1", "sha256").hexdigest()[:32]
    let key = Key(std::array::from_fn(|i| u8::try_from(i).unwrap()));
    let datagram = seal(&name("s1"), 1, &key);
    assert_eq!(hex::encode(&datagram[datagram.len() - TAG..]), "75878dd7093e380512834aa385b8cbce");
    assert_eq!(seal(&name(&"a".repeat(63)), 1, &key).len(), DATAGRAM_MAX);
}

proptest! {
    #[test]
    fn one_wrong_bit_is_noticed(counter in 1u64.., at: prop::sample::Index, bit in 0u8..8, text in "[a-z]{1,63}") {
        runtime().block_on(async {
            let (listener, key) = (listener().await, Key::random());
            listener.set_key(&name(&text), key.clone());
            let sealed = seal(&name(&text), counter, &key);
            let mut bad = sealed.clone();
            bad[at.index(sealed.len())] ^= 1 << bit;
            assert_eq!(listener.accept(&bad), None);
            assert_eq!(listener.accept(&sealed[..sealed.len() - 1]), None);
            assert_eq!(listener.accept(&sealed), Some(name(&text)));
        });
    }
}
