//! Extended attributes of a container's files, as they are inside: which are kept, which say something about the overlay,
//! and users and groups in them shifted back.

use driver::image::IdRange;
use nix::errno::Errno;
use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// File capabilities (capability.h).
const CAPABILITY: &[u8] = b"security.capability";
/// Access control lists (acl(5)).
const LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
/// What overlays note beside files (overlayfs documentation), on behalf of root, and of root in a user namespace.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// Longest list of names, and longest value (XATTR_LIST_MAX, XATTR_SIZE_MAX in limits.h).
const LONGEST: usize = 64 << 10;
/// Who is seen inside for users that nobody inside is (kernel.overflowuid).
const NOBODY: u32 = 65_534;

/// What the attributes of one file come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// To be kept, in order of their names.
    pub kept: Vec<(Vec<u8>, Vec<u8>)>,
    /// The directory hides those of lower layers.
    pub opaque: bool,
    /// The file hides a name of lower layers.
    pub whiteout: bool,
    /// It is incomplete without the lower layers: `redirect` or `metacopy`.
    pub incomplete: Option<&'static str>,
}

/// The attributes of an open file or directory.
pub fn read(file: BorrowedFd<'_>, ids: Option<IdRange>) -> io::Result<Attributes> {
    let mut found = Attributes::default();
    for name in names(file)? {
        let mark = OVERLAY.iter().find_map(|prefix| name.strip_prefix(*prefix));
        if mark.is_none() && name != CAPABILITY && !name.starts_with(b"user.") && !LISTS.contains(&name.as_slice()) {
            continue;
        }
        let Some(value) = value(file, &name)? else { continue };
        match mark {
            Some(b"opaque") => found.opaque = value == b"y",
            Some(b"whiteout") => found.whiteout = true,
            Some(b"redirect") => found.incomplete = Some("redirect"),
            Some(b"metacopy") => found.incomplete = Some("metacopy"),
            Some(_) => {}
            None => found.kept.push((name.clone(), inside(&name, value, ids))),
        }
    }
    found.kept.sort();
    Ok(found)
}

/// A user or group as it is inside.
pub fn id(outside: u32, ids: Option<IdRange>) -> u32 {
    match ids {
        None => outside,
        Some(range) => outside.checked_sub(range.first).filter(|inside| *inside < range.count).unwrap_or(NOBODY),
    }
}

fn names(file: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0u8; LONGEST];
    // SAFETY: the buffer outlives the call, which writes at most its length.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), list.as_mut_ptr().cast(), list.len()) };
    match Errno::result(length) {
        Ok(length) => list.truncate(usize::try_from(length).unwrap_or_default()),
        Err(Errno::ENOTSUP) => list.clear(),
        Err(error) => return Err(error.into()),
    }
    Ok(list.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// None when it went meanwhile.
fn value(file: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let name = CString::new(name).map_err(io::Error::other)?;
    let mut value = vec![0u8; LONGEST];
    // SAFETY: name and buffer outlive the call, which writes at most the buffer's length.
    let length = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    match Errno::result(length) {
        Ok(length) => value.truncate(usize::try_from(length).unwrap_or_default()),
        Err(Errno::ENODATA) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    Ok(Some(value))
}

fn inside(name: &[u8], value: Vec<u8>, ids: Option<IdRange>) -> Vec<u8> {
    match ids {
        Some(range) if name == CAPABILITY => capability(value, range),
        Some(range) if LISTS.contains(&name) => list(value, range),
        _ => value,
    }
}

/// Capabilities given by root in a user namespace name that root (revision 3); for root inside they are plain (revision 2).
fn capability(value: Vec<u8>, ids: IdRange) -> Vec<u8> {
    const REVISIONS: u32 = 0xff00_0000;
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;
    const SIZE_2: usize = 20;
    let number = |at: usize| value.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    match (number(0), number(SIZE_2)) {
        (Some(magic), Some(root)) if magic & REVISIONS == REVISION_3 && root == ids.first => {
            let magic = (magic & !REVISIONS | REVISION_2).to_le_bytes();
            magic.into_iter().chain(value.get(4..SIZE_2).unwrap_or_default().iter().copied()).collect()
        }
        _ => value,
    }
}

/// Entries of eight bytes behind a head of four: tag, permissions, and whose (posix_acl_xattr.h).
fn list(mut value: Vec<u8>, ids: IdRange) -> Vec<u8> {
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    for entry in value.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        if matches!(tag, USER | GROUP) {
            let outside = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            entry[4..].copy_from_slice(&id(outside, Some(ids)).to_le_bytes());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: IdRange = IdRange { first: 100_000, count: 65_536 };

    #[test]
    fn users_are_as_inside() {
        assert_eq!(id(0, None), 0);
        assert_eq!(id(100_000, Some(IDS)), 0);
        assert_eq!(id(165_535, Some(IDS)), 65_535);
        assert_eq!((id(0, Some(IDS)), id(165_536, Some(IDS))), (NOBODY, NOBODY));
    }

    #[test]
    fn capabilities_of_root_inside_become_plain() {
        let plain: Vec<u8> = [0x0200_0001u32, 0x400, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
        let named = |root: u32| [0x0300_0001u32, 0x400, 0, 0, 0, root].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(capability(named(100_000), IDS), plain);
        assert_eq!(capability(named(5), IDS), named(5), "another root's");
        assert_eq!(capability(plain.clone(), IDS), plain);
        assert_eq!(capability(vec![1], IDS), [1]);
    }

    #[test]
    fn access_lists_name_users_as_inside() {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[6, 0], &id.to_le_bytes()].concat();
        let of = |user: u32| [vec![2, 0, 0, 0], entry(1, u32::MAX), entry(2, user), entry(0x10, u32::MAX)].concat();
        assert_eq!(list(of(101_000), IDS), of(1_000));
    }
}
