//! How large files and functions are, beside the numbers the house aims at.

use std::fmt;

/// Lines of something with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many.
    pub lines: usize,
    /// Where it is.
    pub name: String,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Stats {
    /// Files without their tests.
    pub files: Vec<Size>,
    /// Functions.
    pub functions: Vec<Size>,
}

/// What the house aims at, beside the hard limits: median and 90th percentile.
const FILES: (usize, usize) = (150, 400);
const FUNCTIONS: (usize, usize) = (9, 40);

/// The smallest size that so many percent do not exceed.
fn percentile(sizes: &[Size], percent: usize) -> Option<usize> {
    let mut lines: Vec<_> = sizes.iter().map(|size| size.lines).collect();
    lines.sort_unstable();
    let rank = (lines.len() * percent).div_ceil(100).max(1);
    lines.get(rank - 1).copied()
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, sizes: &[Size], aims: (usize, usize)) -> fmt::Result {
    let largest = sizes.iter().max_by_key(|size| size.lines);
    let (Some(median), Some(most), Some(largest)) = (percentile(sizes, 50), percentile(sizes, 90), largest) else {
        return writeln!(f, "no {what}");
    };
    let judge = |found: usize, aim: usize| if found > aim { format!("{found} (aim: {aim})") } else { found.to_string() };
    let (median, most) = (judge(median, aims.0), judge(most, aims.1));
    let count = sizes.len();
    writeln!(f, "{count} {what}: median {median} lines, 90th percentile {most}, largest {} ({})", largest.lines, largest.name)
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "files", &self.files, FILES)?;
        line(f, "functions", &self.functions, FUNCTIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(lines: &[usize]) -> Vec<Size> {
        lines.iter().map(|&lines| Size { lines, name: format!("n{lines}") }).collect()
    }

    #[test]
    fn percentiles() {
        let ten = sizes(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!((percentile(&ten, 50), percentile(&ten, 90), percentile(&ten, 100)), (Some(5), Some(9), Some(10)));
        assert_eq!(percentile(&sizes(&[7]), 50), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn says_what_is_over_its_aim() {
        let stats = Stats { files: sizes(&[10, 20, 500]), functions: sizes(&[10, 12]) };
        insta::assert_snapshot!(stats, @r"
        3 files: median 20 lines, 90th percentile 500 (aim: 400), largest 500 (n500)
        2 functions: median 10 (aim: 9) lines, 90th percentile 12, largest 12 (n12)
        ");
    }
}
