//! Counting connections to a pod from the kernel's list of sockets.

use crate::error::{Error, Result};
use std::{collections::BTreeSet, fs, io};

/// State numbers in `/proc/net/tcp` (`include/net/tcp_states.h`).
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// Established connections to servers in the calling thread's network namespace.
pub fn count() -> Result<u32> {
    let mut tables = String::new();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match fs::read_to_string(table) {
            Ok(text) => tables += &text,
            // A kernel without IPv6 has no second table.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::kernel(format!("read {table}"), e)),
        }
    }
    Ok(count_established(&tables))
}

/// Established connections in such tables that came in: those on a port that somebody listens on. What the pod itself
/// opened to others, and what its own programs say to each other on 127.0.0.1, keeps nobody from stopping it.
fn count_established(tables: &str) -> u32 {
    let rows = || {
        tables.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let (address, port) = words.next()?.split_once(':')?;
            Some((address, port, words.nth(1)?))
        })
    };
    let served: BTreeSet<_> = rows().filter(|(_, _, state)| *state == LISTEN).map(|(_, port, _)| port).collect();
    let came_in = |address: &str, port: &str, state: &str| state == ESTABLISHED && served.contains(port) && !is_loopback(address);
    rows().filter(|(address, port, state)| came_in(address, port, state)).count().try_into().unwrap_or(u32::MAX)
}

/// Addresses are printed as words of four bytes in the machine's order: 127.0.0.1 is `0100007F` on little-endian machines.
fn is_loopback(address: &str) -> bool {
    let words: Vec<_> =
        address.as_bytes().chunks(8).filter_map(|word| u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()).collect();
    let first_byte = |word: u32| word.to_ne_bytes()[0];
    match words[..] {
        [v4] => first_byte(v4) == 127,
        [0, 0, 0, last] => last == 1u32.to_be(),
        [0, 0, mapped, v4] => mapped == 0xffffu32.to_be() && first_byte(v4) == 127,
        _ => false,
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn counts_what_came_in_from_outside() {
        let tables = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0205580A:0050 0A00000A:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0205580A:0050 0A00000A:D432 08 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0205580A:C001 0305580A:1538 01 00000000:00000000 00:00000000 00000000     0        0 4 1
   4: 0100007F:0050 0100007F:C002 01 00000000:00000000 00:00000000 00000000     0        0 5 1
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0
   1: 0000000000000000FFFF00000205580A:1F90 0000000000000000FFFF00000A00000A:D433 01 0:0 0:0
   2: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:D434 01 0:0 0:0
   3: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:D435 01 0:0 0:0
";
        assert_eq!(count_established(tables), 2);
        assert_eq!(count_established(""), 0);
    }
}
