//! What somebody meant who mistyped: edit distance, and the nearest of the known words.

/// Letters of a word for each letter that may be wrong in it.
const LETTERS_PER_MISTAKE: usize = 3;

/// Letters to be added, left out, replaced or swapped with the next to make one word of the other, without regard to case.
pub fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// How far a word is from a known one, if it is near enough to have been meant: a letter must be right, at least.
pub fn nearness(word: &str, known: &str) -> Option<usize> {
    let length = word.chars().count();
    let allowed = (length / LETTERS_PER_MISTAKE).max(1).min(length.saturating_sub(1));
    Some(distance(word, known)).filter(|letters| *letters <= allowed)
}

/// The known word that was probably meant; the first of several that are equally near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().filter_map(|known| Some((nearness(word, known)?, known)));
    near.min_by_key(|(letters, _)| *letters).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (a, b, letters) in
            [("", "", 0), ("", "abc", 3), ("ghost", "GHOST", 0), ("gohst", "ghost", 1), ("kitten", "sitting", 3), ("ab", "ba", 1)]
        {
            assert_eq!(distance(a, b), letters, "{a} {b}");
            assert_eq!(distance(b, a), letters, "{b} {a}");
        }
    }

    #[test]
    fn only_what_is_near_is_meant() {
        let known = ["wordpress", "wordcount", "ghost"];
        assert_eq!(nearest("wordpres", known), Some("wordpress"));
        assert_eq!(nearest("gost", known), Some("ghost"));
        assert_eq!(nearest("nextcloud", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x", ["", "y", "xy"]), None);
        assert_eq!(nearest("xy", ["xz"]), Some("xz"));
    }
}
