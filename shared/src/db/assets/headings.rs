//! Under which headings a piece of text stands.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Parts titles where a path is one string: titles hold no control characters.
pub(super) const SEPARATOR: char = '\u{1f}';

/// Titles of headings, the outermost first. The pieces of a section share one path, so that a long document with deep headings costs
/// little more than its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadingPath(Arc<[Arc<str>]>);

impl HeadingPath {
    /// The titles, the outermost first.
    pub fn titles(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The path without what lies deeper than `depth` headings.
    #[must_use]
    pub fn outer(&self, depth: usize) -> Self {
        if depth >= self.0.len() { self.clone() } else { Self(Arc::from(&self.0[..depth])) }
    }

    /// The titles as one string, for arrays of arrays, which Postgres wants to be of one length.
    pub(super) fn joined(&self) -> String {
        let mut joined = String::new();
        for (title, index) in self.titles().zip(0..) {
            if index > 0 {
                joined.push(SEPARATOR);
            }
            joined.extend(title.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
        joined
    }
}

impl FromIterator<Arc<str>> for HeadingPath {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(titles: I) -> Self {
        Self(titles.into_iter().collect())
    }
}

impl Serialize for HeadingPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.titles())
    }
}

impl<'de> Deserialize<'de> for HeadingPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let titles = Vec::<String>::deserialize(deserializer)?;
        Ok(titles.into_iter().map(Arc::from).collect())
    }
}
