//! Words that are parted by a hyphen at the end of a line.

/// Whether a line ends inside a word that the next one continues.
pub(super) fn joins(line: &str, next: &str) -> bool {
    let stem = without_hyphen(line);
    stem.len() < line.len()
        && stem.chars().next_back().is_some_and(char::is_lowercase)
        && next.chars().next().is_some_and(char::is_lowercase)
}

pub(super) fn without_hyphen(line: &str) -> &str {
    line.strip_suffix(['-', '\u{2010}', '\u{ad}']).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_parted_at_a_line_end_are_joined() {
        assert!(joins("the water-", "wheel turns"));
        assert!(!joins("pages 10-", "12"));
        assert!(!joins("the North-", "Western"));
        assert!(!joins("a dash -", "then more"));
    }
}
