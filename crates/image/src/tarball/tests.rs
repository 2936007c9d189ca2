//! Archives through one door.

use super::*;
use tar::Builder;

fn all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut walker = Walker::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = walker.advance()? {
        let mut data = Vec::new();
        walker.read_to_end(&mut data).map_err(read_error(0))?;
        found.push((entry, data));
    }
    Ok(found)
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1_700_000_000);
    header
}

#[test]
fn reads_what_the_tar_crate_writes() {
    let long = format!("{}/end", "d".repeat(300));
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut header(EntryType::Regular, 5), "bin/tool", &b"hello"[..]).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 1), &long, &b"x"[..]).unwrap();
    builder.append_link(&mut header(EntryType::Symlink, 0), "lib", "usr/lib").unwrap();
    builder
        .append_pax_extensions([
            ("mtime", &b"12.5"[..]),
            ("path", b"renamed"),
            ("SCHILY.xattr.security.capability", b"\x01\n\x02"),
        ])
        .unwrap();
    builder.append_data(&mut header(EntryType::Regular, 0), "short", &b""[..]).unwrap();
    let found = all(&builder.into_inner().unwrap()).unwrap();
    let (tool, data) = &found[0];
    assert_eq!((&tool.path[..], &data[..], tool.mode, tool.uid, tool.gid), (&b"bin/tool"[..], &b"hello"[..], 0o4755, 7, 8));
    assert_eq!((tool.mtime, tool.kind, tool.size), ((1_700_000_000, 0), Kind::File, 5));
    assert_eq!(found[1].0.path, long.as_bytes());
    assert_eq!((&found[2].0.link[..], found[2].0.kind), (&b"usr/lib"[..], Kind::Symlink));
    let last = &found[3].0;
    assert_eq!(
        (&last.path[..], last.mtime, last.xattrs.first().map(|(_, value)| value.as_slice())),
        (&b"renamed"[..], (12, 500_000_000), Some(&b"\x01\n\x02"[..]))
    );
}

#[test]
fn every_cut_is_noticed_or_leaves_no_end_marker() {
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut header(EntryType::Regular, 700), "a", &[1u8; 700][..]).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 10), "b", &[2u8; 10][..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let end = bytes.len() - 2 * BLOCK;
    for cut in 1..=end {
        let mut walker = Walker::new(&bytes[..cut]);
        let outcome = loop {
            match walker.advance() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        assert!(matches!(outcome, Err(TarError::Truncated(_))) || !walker.marked_end(), "cut at {cut}: {outcome:?}");
    }
}

#[test]
fn claims_are_bounded_before_they_are_believed() {
    let huge = |kind| {
        let mut header = header(kind, 1 << 40);
        header.set_path("././@LongLink").unwrap();
        header.set_cksum();
        all(header.as_bytes()).unwrap_err().to_string()
    };
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        assert!(huge(kind).contains("too long"), "{kind:?}");
    }
    assert!(all(&[b'x'; 512]).unwrap_err().to_string().contains("check sum"));
    let mut strange = header(EntryType::new(b'Q'), 0);
    strange.set_path("what").unwrap();
    strange.set_cksum();
    assert!(all(strange.as_bytes()).unwrap_err().to_string().contains("unknown type"));
}

#[test]
fn what_is_quoted_of_a_damaged_header_cannot_act_on_a_terminal() {
    let mut device = header(EntryType::Char, 0);
    device.set_path("null").unwrap();
    device.as_gnu_mut().unwrap().dev_major.copy_from_slice(b"\x1b[2J\x1b[1m");
    device.set_cksum();
    let says = all(device.as_bytes()).unwrap_err().to_string();
    assert!(says.contains(r"\u{1b}[2J") && !says.contains(char::is_control), "{says}");
}

#[test]
fn malformed_pax_records_are_refused() {
    for bad in ["5 a=b\n", "999 a=b\n", "x a=b\n", "7 size=", "12 size=-10\n", "6 abc\n", "22 GNU.sparse.major=1\n"] {
        let mut extension = extension::Extension::default();
        assert!(extension.take(EntryType::XHeader, bad.as_bytes().to_vec()).is_err(), "{bad:?}");
    }
}

#[test]
fn sparse_files_keep_their_pieces() {
    let mut bytes = header(EntryType::GNUSparse, 512 + 10);
    let gnu = bytes.as_gnu_mut().unwrap();
    gnu.name[..4].copy_from_slice(b"disk");
    for (piece, (offset, length)) in gnu.sparse.iter_mut().zip([(0u64, 512u64), (1 << 20, 10)]) {
        piece.offset.copy_from_slice(format!("{offset:011o}\0").as_bytes());
        piece.numbytes.copy_from_slice(format!("{length:011o}\0").as_bytes());
    }
    gnu.set_real_size(1 << 21);
    bytes.set_cksum();
    let mut archive = bytes.as_bytes().to_vec();
    archive.extend([7u8; 522]);
    archive.extend([0u8; 502 + 1024]);
    let found = all(&archive).unwrap();
    assert_eq!((found[0].0.size, &found[0].0.pieces[..]), (1 << 21, &[(0, 512), (1 << 20, 10)][..]));
    assert_eq!(found[0].1.len(), 522);
}

proptest::proptest! {
    #[test]
    fn no_input_makes_it_panic_or_read_without_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4096)) {
        let _either = all(&bytes);
    }

    #[test]
    fn flipped_bytes_never_panic(at in 0usize..3072, with in 1u8..) {
        let mut builder = Builder::new(Vec::new());
        builder.append_pax_extensions([("mtime", &b"12.5"[..])]).unwrap();
        builder.append_data(&mut header(EntryType::Regular, 3), "a", &b"abc"[..]).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        let at = at % bytes.len();
        bytes[at] ^= with;
        let _either = all(&bytes);
    }
}
