//! Clients of published ports and of DNS that run in a thread of the test, in the network of a server or outside.

use crate::Place;
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Failures that are written down; more are only counted.
const FAILURES_KEPT: usize = 20;

/// What can be asked from the thread this is called in.
pub struct Client;

impl Client {
    /// One GET on a connection of its own: the body of an answer 200.
    pub fn get(to: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(format!("GET / HTTP/1.0\r\nHost: {to}\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(format!("cut off: {text:?}")))?;
        if head.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(format!("answer: {head:?}")));
        }
        Ok(body.to_owned())
    }

    /// Asks a DNS server for IPv4 addresses (RFC 1035); none when there is no such name.
    pub fn resolve(server: Ipv4Addr, name: &str) -> io::Result<Vec<Ipv4Addr>> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.send_to(&question(name), (server, 53))?;
        let mut buffer = [0; 1232];
        let (count, _) = socket.recv_from(&mut buffer)?;
        addresses(&buffer[..count]).ok_or_else(|| io::Error::other("an answer that cannot be read"))
    }
}

/// A question for one name's addresses, recursion desired.
fn question(name: &str) -> Vec<u8> {
    let [a, b] = base::env::random_bytes::<2>();
    let mut out = vec![a, b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        out.push(u8::try_from(label.len()).unwrap_or_else(|_| panic!("{name} is no name")));
        out.extend_from_slice(label.as_bytes());
    }
    out.extend_from_slice(&[0, 0, 1, 0, 1]);
    out
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The addresses in an answer's first section.
fn addresses(bytes: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let mut at = skip_name(bytes, 12)? + 4;
    let mut found = Vec::new();
    for _ in 0..word(bytes, 6)? {
        at = skip_name(bytes, at)?;
        let (kind, length) = (word(bytes, at)?, usize::from(word(bytes, at + 8)?));
        let data = bytes.get(at + 10..at + 10 + length)?;
        if let (1, Ok(octets)) = (kind, <[u8; 4]>::try_from(data)) {
            found.push(Ipv4Addr::from(octets));
        }
        at += 10 + length;
    }
    Some(found)
}

/// What constant requests came to.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Answered.
    pub good: u64,
    /// Not answered, or wrongly.
    pub bad: u64,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// Every body that came, each once.
    pub bodies: std::collections::BTreeSet<String>,
}

/// Constant requests that run until told to stop.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Requests>>,
}

impl Requests {
    /// One request after another from this place, a fresh connection each, over these ports in turn.
    pub fn start(place: &Place, targets: Vec<SocketAddr>) -> Running {
        Self::each(place, move |n| {
            let to = targets[usize::try_from(n).unwrap_or(0) % targets.len()];
            Client::get(to).map(Some).map_err(|error| format!("{to}: {error}"))
        })
    }

    /// One try after another from this place: a body, nothing to count, or what went wrong.
    pub fn each(place: &Place, mut work: impl FnMut(u64) -> Result<Option<String>, String> + Send + 'static) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let (place, told) = (place.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            place.enter();
            let mut all = Self::default();
            let mut number = 0;
            while !told.load(Ordering::Relaxed) {
                all.count(work(number));
                number += 1;
            }
            all
        });
        Running { stop, thread: Some(thread) }
    }

    fn count(&mut self, outcome: Result<Option<String>, String>) {
        match outcome {
            Ok(None) => {}
            Ok(Some(body)) => {
                self.good += 1;
                self.bodies.insert(body);
            }
            Err(why) => {
                self.bad += 1;
                if self.failures.len() < FAILURES_KEPT {
                    self.failures.push(format!("{} {why}", base::env::now_millis()));
                }
            }
        }
    }

    /// Panics unless there were at least so many requests and none was lost.
    #[track_caller]
    pub fn none_lost(&self, least: u64) {
        eprintln!("{} of {} requests lost", self.bad, self.good + self.bad);
        assert!(self.bad == 0, "{} of {} requests lost: {:#?}", self.bad, self.good + self.bad, self.failures);
        assert!(self.good >= least, "only {} requests", self.good);
    }
}

impl Running {
    /// Stops; what it came to.
    pub fn stop(mut self) -> Requests {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(JoinHandle::join);
        thread.and_then(Result::ok).unwrap_or_else(|| panic!("the client died"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_are_those_of_the_standard() {
        let asked = question("web.internal");
        assert_eq!(&asked[12..], b"\x03web\x08internal\0\0\x01\0\x01");
        let mut answer = asked.clone();
        answer[7] = 2;
        for last in [7, 8] {
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 1, last]);
        }
        assert_eq!(addresses(&answer).unwrap(), [Ipv4Addr::new(10, 0, 1, 7), Ipv4Addr::new(10, 0, 1, 8)]);
        assert!(addresses(&asked).unwrap().is_empty());
        assert!(addresses(&answer[..answer.len() - 1]).is_none());
    }
}
