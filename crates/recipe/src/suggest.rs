//! The nearest known word, for people who mistyped one.

/// Longest word that is compared: longer ones are no slips of a finger.
const WORD_MAX: usize = 40;
/// So many letters may differ.
const DISTANCE_MAX: usize = 2;

/// The option that is nearest to the word, if one is near. Capital and small letters are the same.
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(WORD_MAX + 1).collect();
    if word.len() > WORD_MAX {
        return None;
    }
    let near = |option: &'a str| {
        let letters: Vec<char> = option.to_lowercase().chars().take(WORD_MAX + 1).collect();
        let distance = distance(&word, &letters);
        (distance <= DISTANCE_MAX && distance < word.len().max(2)).then_some((distance, option))
    };
    options.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, option)| option)
}

/// `: did you mean RUN?`, or what there is.
pub fn hint(word: &str, what: &str, options: &[&str]) -> String {
    match nearest(word, options.iter().copied()) {
        Some(option) => format!(": did you mean {option}?"),
        None => format!(": {what} {}", options.join(", ")),
    }
}

/// Letters to add, remove or replace to make one word the other (Levenshtein).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        let words = ["RUN", "COPY", "CMD", "ENTRYPOINT"];
        let near = |word: &str| nearest(word, words);
        assert_eq!(near("RUNN"), Some("RUN"));
        assert_eq!(near("copi"), Some("COPY"));
        assert_eq!(near("ENTRYPINT"), Some("ENTRYPOINT"));
        assert_eq!(near("COMD"), Some("CMD"));
        assert_eq!(near("LABEL"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"x".repeat(10_000)), None);
    }
}
