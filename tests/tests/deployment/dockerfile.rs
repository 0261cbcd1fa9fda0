//! Dockerfiles as lists of instructions.

use crate::files;

pub(crate) struct Dockerfile {
    pub(crate) name: &'static str,
    /// Without comments, each on one line.
    instructions: Vec<String>,
}

impl Dockerfile {
    pub(crate) fn read(name: &'static str) -> Self {
        let text = files::read(name).replace("\\\n", " ");
        let is_instruction = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let instructions = text.lines().map(str::trim).filter(is_instruction).map(str::to_owned).collect();
        Self { name, instructions }
    }

    fn start_of_last_stage(&self) -> usize {
        self.instructions.iter().rposition(|line| line.starts_with("FROM ")).expect("a stage")
    }

    pub(crate) fn last_stage(&self) -> impl Iterator<Item = &str> {
        self.instructions[self.start_of_last_stage()..].iter().map(String::as_str)
    }

    pub(crate) fn build_stages(&self) -> &[String] {
        &self.instructions[..self.start_of_last_stage()]
    }

    /// The images that stages begin with, other than stages of this file.
    pub(crate) fn base_images(&self) -> Vec<String> {
        let begins: Vec<Vec<&str>> = self
            .instructions
            .iter()
            .filter_map(|line| line.strip_prefix("FROM "))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let stages: Vec<&str> = begins.iter().filter_map(|words| words.get(2).copied()).collect();
        begins.iter().map(|words| words[0]).filter(|image| !stages.contains(image)).map(str::to_owned).collect()
    }

    /// What `COPY` takes from the repository.
    pub(crate) fn copied_from_the_context(&self) -> Vec<String> {
        let mut sources = Vec::new();
        for line in self.instructions.iter().filter_map(|line| line.strip_prefix("COPY ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.iter().any(|word| word.starts_with("--from=")) {
                let paths: Vec<&str> = words.into_iter().filter(|word| !word.starts_with("--")).collect();
                sources.extend(paths[..paths.len() - 1].iter().map(|path| (*path).to_owned()));
            }
        }
        sources
    }
}

/// Whether an image has a tag that says more than "the newest".
pub(crate) fn is_pinned(image: &str) -> bool {
    matches!(image.rsplit_once(':'), Some((_, tag)) if tag != "latest" && !tag.contains('/'))
}
