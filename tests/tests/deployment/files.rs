//! The repository's files.

use std::{collections::BTreeSet, fs, path::Path};

pub(crate) fn root() -> &'static Path {
    millrace_harness::workspace_root()
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names at the top that `.dockerignore` makes exceptions of, after it has excluded everything.
pub(crate) fn let_through_to_the_builder() -> BTreeSet<String> {
    let text = read(".dockerignore");
    let mut rules = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "all is excluded first");
    rules.filter_map(|rule| rule.strip_prefix('!')).map(str::to_owned).collect()
}

pub(crate) fn workspace_members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let list =
        manifest.lines().find_map(|line| line.strip_prefix("members = ")).expect("a list of members, in one line");
    serde_json::from_str(list).expect("the list")
}
