//! Files and directories without a name: however the process ends, nothing of them stays on the disk.
//!
//! They are reached by their descriptors: opening `/proc/self/fd/N` opens what it stands for, name or none (proc(5)).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A file, or an empty directory in which nothing can be made.
#[derive(Debug)]
pub(crate) struct Nameless {
    path: PathBuf,
    _descriptor: File,
}

impl Nameless {
    /// A file for this process to write and read, among the temporary ones.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn file() -> io::Result<Self> {
        tempfile::tempfile().map(Self::of)
    }

    /// A directory for a process to be started in. Only one that is killed within the few system calls here leaves it behind, and empty.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn directory() -> io::Result<Self> {
        let directory = TempDir::with_prefix("millrace-extract-")?;
        let opened = File::open(directory.path())?;
        directory.close()?;
        Ok(Self::of(opened))
    }

    fn of(descriptor: File) -> Self {
        Self { path: format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into(), _descriptor: descriptor }
    }

    /// Leads to it for as long as it is there: in this process, and in a child of it until that runs a program.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_its_path_is_read_by_its_path_and_has_no_name() {
        let file = Nameless::file().expect("a file");
        for content in ["longer words", "words"] {
            std::fs::write(file.path(), content).expect("written");
            assert_eq!(std::fs::read_to_string(file.path()).expect("read"), content);
        }
        let leads_to = std::fs::read_link(file.path()).expect("a link");
        assert!(!leads_to.exists(), "{}", leads_to.display());
    }

    #[test]
    fn a_process_can_be_started_in_a_directory_without_a_name_and_make_nothing_there() {
        let directory = Nameless::directory().expect("a directory");
        assert!(!std::fs::read_link(directory.path()).expect("a link").exists());
        let mut command = std::process::Command::new("sh");
        let ended = command.args(["-c", "! echo > file 2>/dev/null"]).current_dir(directory.path()).status();
        assert!(ended.expect("started").success());
    }
}
