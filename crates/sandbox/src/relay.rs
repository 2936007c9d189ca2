//! A cable that is slow and loses frames, for kernels without netem: reads each frame at one link, holds it back, and sends it
//! at the other, both ways.

use crate::spawn;
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt},
        time::TimeSpec,
    },
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Frames on their way at once in one direction; more are lost, as on any cable.
pub const QUEUE_MAX: usize = 16_384;
/// Frames read before sending is looked at again.
const BATCH: usize = 256;
/// Longest frame: without segmentation offload no link sends more.
const FRAME_MAX: usize = 65_536 + 64;
/// Bytes the kernel keeps for us while we do not read.
const KERNEL_BUFFER: usize = 8 * 1024 * 1024;
/// `PACKET_IGNORE_OUTGOING` (linux/if_packet.h): what we send ourselves must not come back to us.
const IGNORE_OUTGOING: libc::c_int = 23;

/// How bad the cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    each_way: Duration,
    /// Lost frames per million, each way.
    loss: u32,
    /// Where the random generator begins.
    pub seed: u64,
}

impl Settings {
    /// Delay each way, lost frames per million each way, seed.
    pub const fn new(each_way: Duration, loss: u32, seed: u64) -> Self {
        Self { each_way, loss, seed }
    }

    /// As arguments of the relay's command line.
    pub fn to_args(self) -> [String; 3] {
        [self.each_way.as_micros().to_string(), self.loss.to_string(), self.seed.to_string()]
    }

    fn parse(args: &[String]) -> Option<Self> {
        let [delay, loss, seed] = args else { return None };
        Some(Self::new(Duration::from_micros(delay.parse().ok()?), loss.parse().ok()?, seed.parse().ok()?))
    }
}

/// `sandbox-relay LINK LINK MICROSECONDS LOST-PER-MILLION SEED`: carries frames between two links of its network namespace.
/// `args` are those after the subcommand. Must be called before any thread is started.
pub fn relay_main(args: Vec<OsString>) -> ExitCode {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let (links, rest) = args.split_at(args.len().min(2));
    let (Some(settings), [one, other]) = (Settings::parse(rest), links) else {
        return spawn::say_error("usage: sandbox-relay LINK LINK MICROSECONDS LOST-PER-MILLION SEED");
    };
    spawn::leave_behind(|| match stay(one, other, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox-relay {one} {other}: {error}");
            spawn::say_error(&format!("relay between {one} and {other}: {error}"))
        }
    })
}

fn stay(one: &str, other: &str, settings: Settings) -> io::Result<()> {
    let (one_socket, other_socket) = (open(one)?, open(other)?);
    eprintln!("sandbox-relay {one} {other}: {settings:?}");
    spawn::say_ready()?;
    if !spawn::wait_go() {
        return Ok(());
    }
    carry(&one_socket, &other_socket, settings)
}

/// A socket for every frame that comes in at a link.
fn open(link: &str) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::RcvBufForce, &KERNEL_BUFFER)?;
    let one: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&one)).unwrap_or_default();
    // SAFETY: the option is an int, as packet(7) says.
    if unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, IGNORE_OUTGOING, (&raw const one).cast(), size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    bind(&socket, link)?;
    // What came in at other links before that is not for us.
    let mut buffer = [0; 64];
    for _ in 0..QUEUE_MAX {
        if recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC).is_err() {
            break;
        }
    }
    Ok(socket)
}

fn bind(socket: &OwnedFd, link: &str) -> io::Result<()> {
    let index = nix::net::if_::if_nametoindex(link)?;
    // SAFETY: all zero bytes are a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default();
    // SAFETY: the address lives until after the call and has this size.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn carry(one: &OwnedFd, other: &OwnedFd, settings: Settings) -> io::Result<()> {
    let mut dice = Dice(settings.seed);
    let mut ways = [Way::new(one, other, settings), Way::new(other, one, settings)];
    let mut buffer = vec![0; FRAME_MAX];
    loop {
        let now = base::env::instant();
        ways.iter_mut().for_each(|way| way.send(now));
        let next = ways.iter().filter_map(|way| way.line.next()).min();
        let pause = next.map(|at| TimeSpec::from_duration(at.saturating_duration_since(base::env::instant())));
        let mut ready = [PollFd::new(one.as_fd(), PollFlags::POLLIN), PollFd::new(other.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut ready, pause, None) {
            Err(nix::errno::Errno::EINTR) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let came = ready.map(|fd| fd.any().unwrap_or(false));
        for (way, _) in ways.iter_mut().zip(came).filter(|(_, came)| *came) {
            way.receive(&mut buffer, &mut dice)?;
        }
    }
}

/// One direction of the cable.
struct Way<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    line: Line,
}

impl<'a> Way<'a> {
    fn new(from: &'a OwnedFd, to: &'a OwnedFd, settings: Settings) -> Self {
        Self { from, to, line: Line { settings, frames: VecDeque::new() } }
    }

    /// Sends what is due. A frame the kernel does not take (its link is down, its queue full) is lost.
    fn send(&mut self, now: Instant) {
        while let Some(frame) = self.line.due(now) {
            let _ = send(self.to.as_raw_fd(), &frame, MsgFlags::empty());
        }
    }

    fn receive(&mut self, buffer: &mut [u8], dice: &mut Dice) -> io::Result<()> {
        use nix::errno::Errno;
        for _ in 0..BATCH {
            match recv(self.from.as_raw_fd(), buffer, MsgFlags::empty()) {
                Ok(size) => self.line.push(buffer.get(..size).unwrap_or_default(), base::env::instant(), dice),
                // A link that is down says so once, then is silent.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Frames on their way. The delay is the same for all, so the first in is the first out.
struct Line {
    settings: Settings,
    frames: VecDeque<(Instant, Vec<u8>)>,
}

impl Line {
    fn push(&mut self, frame: &[u8], now: Instant, dice: &mut Dice) {
        if !dice.falls(self.settings.loss) && self.frames.len() < QUEUE_MAX {
            self.frames.push_back((now + self.settings.each_way, frame.to_vec()));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.frames.front().map(|(at, _)| *at)
    }

    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let due = self.next().is_some_and(|at| at <= now);
        due.then(|| self.frames.pop_front()).flatten().map(|(_, frame)| frame)
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): small, and the same from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True so many times in a million.
    fn falls(&mut self, per_million: u32) -> bool {
        self.roll() % 1_000_000 < u64::from(per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(loss: u32) -> Line {
        Line { settings: Settings::new(Duration::from_millis(10), loss, 1), frames: VecDeque::new() }
    }

    #[test]
    fn holds_each_frame_back_and_keeps_their_order() {
        let (mut line, mut dice, start) = (line(0), Dice(1), base::env::instant());
        line.push(b"a", start, &mut dice);
        line.push(b"b", start + Duration::from_millis(1), &mut dice);
        assert_eq!(line.due(start + Duration::from_millis(9)), None);
        assert_eq!(line.due(start + Duration::from_millis(10)), Some(b"a".to_vec()));
        assert_eq!(line.due(start + Duration::from_millis(10)), None);
        assert_eq!(line.due(start + Duration::from_millis(11)), Some(b"b".to_vec()));
    }

    #[test]
    fn loses_about_as_many_as_told_the_same_ones_from_the_same_seed() {
        let passed = |seed| {
            let (mut line, mut dice, now) = (line(100_000), Dice(seed), base::env::instant());
            (0..10_000_u32).for_each(|n| line.push(&n.to_be_bytes(), now, &mut dice));
            line.frames.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>()
        };
        assert!((8_800..9_200).contains(&passed(7).len()), "{}", passed(7).len());
        assert_eq!(passed(7), passed(7));
        assert_ne!(passed(7), passed(8));
    }

    #[test]
    fn a_full_line_loses_the_newest() {
        let (mut line, mut dice, now) = (line(0), Dice(1), base::env::instant());
        (0..QUEUE_MAX + 10).for_each(|_| line.push(b"x", now, &mut dice));
        assert_eq!(line.frames.len(), QUEUE_MAX);
    }

    #[test]
    fn settings_survive_the_command_line() {
        let settings = Settings::new(Duration::from_micros(1234), 50_000, u64::MAX);
        assert_eq!(Settings::parse(&settings.to_args()), Some(settings));
        assert_eq!(Settings::parse(&["1".into()]), None);
    }
}
