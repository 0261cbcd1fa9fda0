//! `target/dev/env`: shell assignments that lead scripts and the CLI to the site that runs. It holds a key and passwords, so
//! only its owner may read it.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};

/// The file of this run. Dropping it removes the file, unless another run has replaced it.
#[derive(Debug)]
pub(crate) struct EnvFile {
    path: PathBuf,
    content: String,
}

impl EnvFile {
    /// Writes `variables` to `<root>/target/dev/env`, replacing what another run has left.
    pub(crate) fn write(root: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let dir = root.join("target").join("dev");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join("env");
        let mut content = format!("# Written by `cargo xtask`, process {}; valid while that runs.\n", process::id());
        for (name, value) in variables {
            content.push_str(&format!("{name}={}\n", quoted(value)));
        }
        // Put in place whole: a script that reads it sees the old one or the new one.
        let draft = dir.join(format!(".env-{}", process::id()));
        let write = || -> std::io::Result<()> {
            let _ = fs::remove_file(&draft);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(content.as_bytes())?;
            fs::rename(&draft, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, content })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|found| found == self.content) {
            // What cannot be removed says itself that it is valid no longer.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A value as a shell reads it back; plain ones stay plain, for readers that are no shell.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct TempDir(PathBuf);

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn temp_dir(name: &str) -> TempDir {
        let dir = std::env::temp_dir().join(format!("millrace-xtask-{name}-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let root = temp_dir("shell");
        let values = [("PLAIN", "postgres://a:b@127.0.0.1:5/x"), ("ODD", "it's $HOME & `more`?a=b"), ("EMPTY", "")];
        let file = EnvFile::write(&root.0, &values).unwrap();
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let script = format!(". {}; printf '%s\\n' \"$PLAIN\" \"$ODD\" \"$EMPTY\"", file.path().display());
        let output = process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let lines = values.map(|(_, value)| format!("{value}\n")).concat();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), lines);
    }

    #[test]
    fn only_its_own_file_is_removed_at_the_end() {
        let root = temp_dir("own");
        let first = EnvFile::write(&root.0, &[("A", "1")]).unwrap();
        let second = EnvFile::write(&root.0, &[("A", "2")]).unwrap();
        let path = first.path().to_owned();
        drop(first);
        assert!(path.is_file(), "the second run's file stays");
        drop(second);
        assert!(!path.exists());
    }
}
