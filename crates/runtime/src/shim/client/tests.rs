//! What clients say in pieces, and slow ones.

use super::*;

fn pair() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Client::new(ours).unwrap(), theirs)
}

fn console(awaited: bool) -> (Client, UnixStream) {
    let (mut client, theirs) = pair();
    client.open(0, awaited, base::env::instant());
    (client, theirs)
}

fn all(client: &mut Client) -> Vec<Said> {
    std::iter::from_fn(|| client.said().unwrap()).collect()
}

/// Frames of a whole conversation, cut up: kind and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        all.push((header[0], rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    all
}

#[test]
fn requests_come_in_lines_and_a_consoles_frames_in_pieces() {
    let (mut client, mut theirs) = pair();
    theirs.write_all(b"\"status\"\n{\"si").unwrap();
    assert!(client.hear());
    assert_eq!(all(&mut client), [Said::Request(Request::Status)]);
    theirs.write_all(b"gnal\":9}\n").unwrap();
    assert!(client.hear());
    assert_eq!(all(&mut client), [Said::Request(Request::Signal(9))]);
    client.open(0, false, base::env::instant());
    let sent: Vec<u8> = frame(FrameKind::Stdin, b"word")
        .chain(frame(FrameKind::Resize, &[0, 80, 0, 24]))
        .chain(frame(FrameKind::Stdin, b""))
        .collect();
    let mut said = Vec::new();
    for byte in sent {
        theirs.write_all(&[byte]).unwrap();
        assert!(client.hear());
        said.extend(all(&mut client));
    }
    let typed: Vec<u8> =
        said.iter().flat_map(|said| if let Said::Input(bytes) = said { bytes.clone() } else { Vec::new() }).collect();
    assert_eq!(typed, b"word");
    assert_eq!(said[4..], [Said::Resize(80, 24), Said::End]);
    drop(theirs);
    assert!(!client.hear());
}

#[test]
fn nonsense_is_noticed_before_it_fills_memory() {
    let (mut client, mut theirs) = pair();
    theirs.write_all(&[b'x'; LINE_MAX + 1]).unwrap();
    assert!(client.hear() && client.said().is_ok_and(|said| said.is_none()));
    assert!(client.hear() && client.said().is_err());
    for bad in [[0, 0xff, 0, 0, 0], [3, 0, 0, 0, 99], [1, 0, 0, 0, 0], [99, 0, 0, 0, 0]] {
        let (mut client, mut theirs) = console(false);
        theirs.write_all(&bad).unwrap();
        assert!(client.hear() && client.said().is_err(), "{bad:?}");
    }
}

#[test]
fn a_slow_one_costs_one_read_and_is_told_what_it_missed() {
    let (mut client, mut theirs) = console(false);
    let (now, chunk) = (base::env::instant(), vec![b'x'; 30_000]);
    let rounds = 1000_u64;
    for _ in 0..rounds {
        assert!(client.tell(FrameKind::Stdout, &chunk, now));
        assert!(client.console.as_ref().unwrap().unsent.len() <= chunk.len() + HEADER);
    }
    assert!(client.waited_for(now).is_none());
    assert!(client.conclude(FrameKind::Exit, &[0; 4], now));
    theirs.set_nonblocking(true).unwrap();
    let (mut got, mut buffer) = (Vec::new(), vec![0; 100_000]);
    loop {
        match theirs.read(&mut buffer) {
            Ok(length) => got.extend_from_slice(&buffer[..length]),
            Err(_) if client.has_unsent() => assert!(client.flush(now)),
            Err(_) => break,
        }
    }
    let frames = frames(&got);
    let shown: u64 = frames.iter().filter(|(kind, _)| *kind == 1).map(|(_, bytes)| bytes.len() as u64).sum();
    let missed: u64 =
        frames.iter().filter(|(kind, _)| *kind == 7).map(|(_, bytes)| u64::from_be_bytes(bytes[..].try_into().unwrap())).sum();
    assert!(missed > 0 && shown > 100_000);
    assert_eq!(shown + missed, rounds * 30_000);
    assert_eq!(frames.last().unwrap(), &(4, vec![0; 4]));
}

#[test]
fn the_awaited_one_is_waited_for_but_not_for_long() {
    let (mut client, theirs) = console(true);
    let now = base::env::instant();
    assert!(client.waited_for(now).is_none());
    while !client.has_unsent() {
        assert!(client.tell(FrameKind::Stderr, &[b'x'; 30_000], now));
    }
    assert_eq!(client.waited_for(now), Some(now + PAUSE));
    assert!(client.waited_for(now + PAUSE).is_none());
    drop(theirs);
    assert!(!client.flush(now));
}
