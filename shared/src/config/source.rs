//! The environment as a value, so that tests never touch the process's own.

use std::collections::BTreeMap;
use std::fmt;

use super::error::Problem;

/// Where tesseract looks for its languages: its own variable, not ours.
const TESSDATA_PREFIX: &str = "TESSDATA_PREFIX";

/// The variables that concern Millrace: `DATABASE_URL`, `REDIS_URL`, `TESSDATA_PREFIX`, `AWS_*` and `MILLRACE_*`.
///
/// Its `Debug` shows names only, since values may be secret.
#[derive(Clone, Default)]
pub struct Source {
    values: BTreeMap<String, String>,
    not_unicode: Vec<String>,
}

impl Source {
    /// Takes a copy of the process's environment.
    #[must_use]
    pub fn from_process() -> Self {
        let mut source = Self::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if !concerns_us(&name) {
                continue;
            }
            match value.into_string() {
                Ok(value) => source.insert(name, value),
                Err(_) => source.not_unicode.push(name),
            }
        }
        source
    }

    fn insert(&mut self, name: String, value: String) {
        // Compose files and shells often pass `NAME=` for "not set".
        if !value.trim().is_empty() {
            self.values.insert(name, value);
        }
    }

    /// A copy in which `name` is `value`.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut copy = self.clone();
        copy.insert(name.to_owned(), value.to_owned());
        copy
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The `AWS_*` variables, for the object store's own configuration.
    pub(super) fn aws(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .filter(|(name, _)| name.starts_with("AWS_"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Where tesseract's languages are, if not in their usual place.
    pub(super) fn tessdata(&self) -> Option<&str> {
        self.get(TESSDATA_PREFIX)
    }

    pub(super) fn encoding_problems(&self) -> impl Iterator<Item = Problem> {
        self.not_unicode.iter().map(|name| Problem::new(name, "is not valid UTF-8".to_owned(), None))
    }
}

fn concerns_us(name: &str) -> bool {
    matches!(name, "DATABASE_URL" | "REDIS_URL" | TESSDATA_PREFIX)
        || name.starts_with("AWS_")
        || name.starts_with("MILLRACE_")
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Source {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut source = Self::default();
        for (name, value) in pairs {
            let name = name.into();
            if concerns_us(&name) {
                source.insert(name, value.into());
            }
        }
        source
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.values.keys()).finish()
    }
}
