//! Questions that others must answer: passed on as they are to the server's own resolvers, in the order they are listed.

use super::{
    answer::{HEADER, Transport, refusal},
    serve::{read_message, write_message},
};
use hickory_proto::op::ResponseCode;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    net::{TcpStream, UdpSocket},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Questions at once that wait for others. One more is answered by "server failure" at once.
const OUTSTANDING_MAX: usize = 512;
/// How long one resolver may take: less than the five seconds after which most clients ask again (resolv.conf(5), `timeout`).
const PATIENCE: Duration = Duration::from_millis(1500);
/// Resolvers that are asked (resolv.conf(5), `MAXNS`).
const RESOLVERS_MAX: usize = 3;
/// Longest file of resolvers that is read, in bytes.
const FILE_MAX: u64 = 64 * 1024;
/// The file is looked at for changes this often at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The port of DNS (RFC 1035).
const PORT: u16 = 53;
/// Longest answer taken by UDP.
const ANSWER_MAX: usize = 65_535;
/// Datagrams that are not the answer (late or forged) before a resolver is given up.
const STRAY_MAX: usize = 16;

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Upstreams {
    /// Those listed in a file like `/etc/resolv.conf`, which is read again when it has changed.
    File(PathBuf),
    /// These.
    Fixed(Vec<SocketAddr>),
}

/// Passes questions on.
pub struct Forwarder {
    upstreams: Upstreams,
    /// Our own addresses: never asked, or a question would go in circles.
    own: Vec<SocketAddr>,
    room: Arc<Semaphore>,
    read: Mutex<Read>,
}

/// What was last read.
#[derive(Default)]
struct Read {
    looked: Option<Instant>,
    stamp: Option<(SystemTime, u64)>,
    resolvers: Arc<[SocketAddr]>,
}

impl Forwarder {
    /// A forwarder for a server that listens on `own`.
    pub fn new(upstreams: Upstreams, own: Vec<SocketAddr>) -> Self {
        Self { upstreams, own, room: Arc::new(Semaphore::new(OUTSTANDING_MAX)), read: Mutex::default() }
    }

    /// Leave to wait for others; None if too many do already.
    pub fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// The answer of the first resolver that has one, else "server failure"; "refused" if there is no resolver at all.
    pub async fn ask(&self, question: &[u8], transport: Transport) -> Vec<u8> {
        let resolvers = self.resolvers();
        let mut refused = None;
        for resolver in resolvers.iter() {
            let answer = match transport {
                Transport::Udp => timeout(PATIENCE, ask_udp(*resolver, question)).await,
                Transport::Tcp => timeout(PATIENCE, ask_tcp(*resolver, question)).await,
            };
            match answer.unwrap_or_else(|late| Err(late.into())) {
                Ok(answer) if is_final(&answer) => return answer,
                Ok(answer) => refused = Some(answer),
                Err(error) => tracing::debug!(%resolver, %error, "resolver does not answer"),
            }
        }
        let code = if resolvers.is_empty() { ResponseCode::Refused } else { ResponseCode::ServFail };
        refused.unwrap_or_else(|| refusal(question, code))
    }

    /// Who is asked now. Looks at the file at most every [`LOOK_EVERY`], reads it if its time or length is another.
    fn resolvers(&self) -> Arc<[SocketAddr]> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = base::env::instant();
        if read.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY) {
            return Arc::clone(&read.resolvers);
        }
        read.looked = Some(now);
        match &self.upstreams {
            Upstreams::Fixed(addresses) => read.resolvers = self.others(addresses.clone()),
            Upstreams::File(path) => {
                let stamp = stamp(path);
                if read.stamp != stamp {
                    read.stamp = stamp;
                    read.resolvers = self.others(parse(&content(path)));
                }
            }
        }
        Arc::clone(&read.resolvers)
    }

    fn others(&self, mut addresses: Vec<SocketAddr>) -> Arc<[SocketAddr]> {
        addresses.retain(|address| !self.own.iter().any(|own| is_same(*own, *address)));
        addresses.truncate(RESOLVERS_MAX);
        addresses.into()
    }
}

/// Whether what is sent to `address` arrives at a socket bound to `own`.
fn is_same(own: SocketAddr, address: SocketAddr) -> bool {
    own.port() == address.port() && (own.ip() == address.ip() || (own.ip().is_unspecified() && address.ip().is_loopback()))
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// A file that cannot be read, or is absurdly long, names nobody.
fn content(path: &Path) -> String {
    let short = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= FILE_MAX);
    if short { fs::read_to_string(path).unwrap_or_default() } else { String::new() }
}

/// The `nameserver` lines. A link-local address with its interface (`fe80::1%eth0`) cannot be asked from here and is passed over.
fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    servers.map(|address| SocketAddr::new(address, PORT)).collect()
}

/// Whether another resolver need not be asked: its code is neither "server failure" (2) nor "refused" (5).
fn is_final(answer: &[u8]) -> bool {
    answer.get(3).is_some_and(|byte| !matches!(byte & 0x0f, 2 | 5))
}

/// Asks from a port of its own with an id of its own, so that answers are hard to forge (RFC 5452).
async fn ask_udp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    let asked = with_id(question, base::env::random_bytes());
    socket.send(&asked).await?;
    let mut buffer = vec![0; ANSWER_MAX];
    for _ in 0..STRAY_MAX {
        let length = socket.recv(&mut buffer).await?;
        if answers(&asked, &buffer[..length]) {
            return Ok(with_id(&buffer[..length], [question[0], question[1]]));
        }
    }
    Err(io::Error::other("too many datagrams that are no answers"))
}

async fn ask_tcp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let asked = with_id(question, base::env::random_bytes());
    write_message(&mut stream, &asked).await?;
    let answer = read_message(&mut stream).await?;
    if !answers(&asked, &answer) {
        return Err(io::Error::other("not an answer to what was asked"));
    }
    Ok(with_id(&answer, [question[0], question[1]]))
}

fn with_id(message: &[u8], id: [u8; 2]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[..2].copy_from_slice(&id);
    message
}

/// Whether a message answers a question: same id, marked as answer, and, unless it is only a code, the same name asked for.
fn answers(question: &[u8], answer: &[u8]) -> bool {
    if answer.len() < HEADER || answer[..2] != question[..2] || answer[2] & 0x80 == 0 {
        return false;
    }
    let counted = u16::from_be_bytes([answer[4], answer[5]]);
    let end = name_end(question).map_or(HEADER, |end| end + 4);
    counted == 0
        || answer.get(HEADER..end).is_some_and(|asked| asked.eq_ignore_ascii_case(&question[HEADER..end.min(question.len())]))
}

/// Where the first question's name ends.
fn name_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + length,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_reads_them() {
        let text = "# nameserver 1.1.1.1\nsearch example\nnameserver 10.0.0.1\n nameserver\t10.0.0.2 # two\nnameserver fd00::3\nnameserver fe80::1%eth0\nnameserver x\n";
        let expected: Vec<SocketAddr> = ["10.0.0.1:53", "10.0.0.2:53", "[fd00::3]:53"].map(|a| a.parse().unwrap()).to_vec();
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn we_never_ask_ourselves() {
        let own = vec!["10.88.1.1:53".parse().unwrap(), "0.0.0.0:5353".parse().unwrap()];
        let fixed = ["10.88.1.1:53", "127.0.0.1:5353", "127.0.0.53:53"].map(|a| a.parse().unwrap()).to_vec();
        let forwarder = Forwarder::new(Upstreams::Fixed(fixed), own);
        assert_eq!(forwarder.resolvers()[..], ["127.0.0.53:53".parse().unwrap()]);
    }

    #[test]
    fn an_answer_has_the_question_in_it() {
        let question = b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01".to_vec();
        let mut answer = question.clone();
        assert!(!answers(&question, &answer));
        answer[2] = 0x81;
        assert!(answers(&question, &answer));
        answer[13] = b'A';
        assert!(answers(&question, &answer));
        answer[13] = b'b';
        assert!(!answers(&question, &answer));
        answer[0] = 9;
        assert!(!answers(&question, &answer));
        assert!(!answers(&question, &answer[..5]));
    }
}
