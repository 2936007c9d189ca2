//! A pull over a connection that is cut again and again, by a proxy that counts what it lets through.

use crate::{bed::*, registry::Registry};
use api::view::PullRequest;
use driver::Images as _;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// A proxy that ends each connection after so many bytes of answers.
struct Proxy {
    address: String,
    passed: Arc<AtomicU64>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// The threads end with the process: they only wait for connections.
    fn before(registry: &str, cut_after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap().to_string(), passed: Arc::default(), cuts: Arc::default() };
        let (registry, passed, cuts) = (registry.to_owned(), Arc::clone(&proxy.passed), Arc::clone(&proxy.cuts));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&registry).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let (passed, cuts) = (Arc::clone(&passed), Arc::clone(&cuts));
                std::thread::spawn(move || relay((server, client), cut_after, (&passed, &cuts)));
            }
        });
        proxy
    }
}

fn relay((mut from, mut to): (TcpStream, TcpStream), cut_after: u64, (passed, cuts): (&AtomicU64, &AtomicUsize)) {
    let (mut left, mut piece) = (cut_after, [0; 16 << 10]);
    while let Ok(n) = from.read(&mut piece) {
        let n = n.min(usize::try_from(left).unwrap());
        if n == 0 || to.write_all(&piece[..n]).is_err() {
            break;
        }
        passed.fetch_add(n as u64, Ordering::Relaxed);
        left -= n as u64;
        if left == 0 {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    for end in [&from, &to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[test]
fn a_pull_that_is_cut_goes_on_where_it_was() {
    /// Two layers that do not compress.
    const LAYER: usize = 24 << 20;
    let registry = Registry::start();
    let noise = || -> Vec<u8> { std::iter::repeat_with(base::env::random_bytes::<1024>).take(LAYER / 1024).flatten().collect() };
    let layers: Vec<_> = ["one", "two"].iter().map(|name| Tar::new().file(name, &noise()).done()).collect();
    let digest = registry.push("web:1", &layers);
    let proxy = Proxy::before(&registry.address, 3 << 20);
    let bed = bed();
    let request = PullRequest { image: format!("{}/web:1", proxy.address), server: None, insecure: false, login: None };
    let image = bed.store.pull(&request, &quiet).unwrap();
    assert_eq!(image.digest, digest);
    let (passed, cuts) = (proxy.passed.load(Ordering::Relaxed), proxy.cuts.load(Ordering::Relaxed));
    // Sixteen pieces of three megabytes each; had it begun anew each time it would never have come to an end.
    assert!(cuts >= 14, "{cuts} cuts");
    assert!(passed < 2 * LAYER as u64 + (8 << 20), "{passed} bytes for {} bytes of layers", 2 * LAYER);
}
