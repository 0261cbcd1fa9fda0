//! What was wrong with the configuration: every problem at once, never a value.

use std::fmt;

use super::settings::Setting;

/// One variable and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable's name.
    pub variable: String,
    /// What is wrong, as the end of a sentence that starts with the name. Holds no secret.
    pub problem: String,
    /// A value that would be accepted.
    pub example: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(variable: &str, problem: String, example: Option<&'static str>) -> Self {
        Self { variable: variable.to_owned(), problem, example }
    }

    pub(super) fn with(setting: &Setting, problem: impl Into<String>) -> Self {
        Self::new(setting.name, problem.into(), Some(setting.example))
    }
}

/// The configuration was refused. Lists all problems, so that one start shows them all.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the configuration was refused:")?;
        for Problem { variable, problem, example } in &self.problems {
            write!(formatter, "\n  {variable} {problem}")?;
            if let Some(example) = example {
                write!(formatter, "; example: {variable}={example}")?;
            }
        }
        formatter.write_str("\nall settings: docs/configuration.md")
    }
}

/// The name nearest to `name`, where it is near enough to be a slip of the finger.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 4)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, by one row at a time.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, have) in from.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, want) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(have != *want);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
