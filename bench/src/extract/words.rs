//! How much two texts have in common, by their words.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// The words of a text, each with how often it occurs: as Unicode bounds them (UAX #29), in compatibility form.
#[derive(Debug, Default)]
pub(crate) struct Words {
    counts: HashMap<String, usize>,
    total: usize,
}

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        let text: String = text.nfkc().collect();
        let mut words = Self::default();
        for word in text.unicode_words() {
            *words.counts.entry(word.to_owned()).or_default() += 1;
            words.total += 1;
        }
        words
    }

    pub(crate) fn len(&self) -> usize {
        self.total
    }

    /// The harmonic mean of how many of our words are theirs and how many of theirs are ours, from 0 to 1.
    pub(crate) fn f1(&self, other: &Self) -> f64 {
        if self.total + other.total == 0 {
            return 1.0;
        }
        let shared: usize =
            self.counts.iter().map(|(word, count)| other.counts.get(word).map_or(0, |theirs| *theirs.min(count))).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts of words are far below 2^53")]
        let f1 = 2.0 * shared as f64 / (self.total + other.total) as f64;
        f1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_1_in_whatever_order_and_none_is_0() {
        let words = |text| Words::of(text);
        assert_eq!(words("the wheel, the stone").f1(&words("the stone the wheel")), 1.0);
        assert_eq!(words("ﬁne").f1(&words("fine")), 1.0);
        assert_eq!(words("wheel").f1(&words("stone")), 0.0);
        assert_eq!(words("").f1(&words("")), 1.0);
    }

    #[test]
    fn a_word_counts_as_often_as_both_have_it() {
        let f1 = Words::of("a a a b").f1(&Words::of("a b"));
        assert!((f1 - 2.0 * 2.0 / 6.0).abs() < 1e-9, "{f1}");
    }
}
