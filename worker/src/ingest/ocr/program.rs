//! Finding tesseract when the worker starts, and whether it can do what is asked of it.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use millrace_shared::config::OcrConfig;

use super::{LAUNCH_COMMAND, Launch, OcrLimits};

const NAME: &str = "tesseract";
/// Data by which it tells how a page lies, which is no language.
const ORIENTATION: &str = "osd";
/// How long it may take to list its languages.
const PATIENCE: Duration = Duration::from_secs(30);

/// Recognition is turned on, and cannot be done here.
#[derive(Debug, thiserror::Error)]
pub enum OcrUnavailable {
    /// There is no such program.
    #[error(
        "MILLRACE_OCR_LANGUAGES turns on character recognition, which needs the program `tesseract`, and there is none on PATH: install it \
         (Debian: apt-get install tesseract-ocr), or unset MILLRACE_OCR_LANGUAGES"
    )]
    NoProgram,
    /// It is there and does not run.
    #[error(
        "MILLRACE_OCR_LANGUAGES turns on character recognition, and {} does not run: {reason}",
        program.display()
    )]
    DoesNotRun {
        /// Where it is.
        program: PathBuf,
        /// What it said, or how it ended.
        reason: String,
    },
    /// It lacks a language.
    #[error(
        "MILLRACE_OCR_LANGUAGES names {}, which tesseract does not have (it has {}): install the language (Debian: apt-get install \
         tesseract-ocr-{}), set TESSDATA_PREFIX to where it is, or do not name it",
        missing.join(" and "), present.join(", "), missing.first().map_or("", String::as_str).replace('_', "-")
    )]
    NoLanguage {
        /// What is named and not there.
        missing: Vec<String>,
        /// What is there.
        present: Vec<String>,
    },
}

impl OcrLimits {
    /// Looks for tesseract in the directories of `PATH`, and asks it, confined as it will be, for its languages. `own_program` is the program that
    /// is started as a child. It blocks.
    ///
    /// # Errors
    /// Where it cannot do what the configuration asks for.
    pub fn find(config: &OcrConfig, own_program: &Path) -> Result<Self, OcrUnavailable> {
        let mut limits = Self {
            program: on_path().ok_or(OcrUnavailable::NoProgram)?,
            tessdata: config.tessdata.clone(),
            languages: config.languages.clone(),
            tells_orientation: false,
            page_limit: config.page_timeout,
            max_pages: config.max_pages,
            dpi: config.dpi,
            memory_limit_bytes: config.memory_bytes,
        };
        let present = limits.languages_present(own_program).map_err(|error| OcrUnavailable::DoesNotRun {
            program: limits.program.clone(),
            reason: error.to_string(),
        })?;
        let is_missing = |language: &&String| !present.contains(*language);
        let missing: Vec<String> = limits.languages.iter().filter(is_missing).cloned().collect();
        if !missing.is_empty() {
            return Err(OcrUnavailable::NoLanguage { missing, present });
        }
        limits.tells_orientation = present.iter().any(|name| name == ORIENTATION);
        Ok(limits)
    }

    fn languages_present(&self, own_program: &Path) -> io::Result<Vec<String>> {
        let settings = serde_json::to_string(&Launch::list(self))?;
        let child = Command::new(own_program)
            .args([LAUNCH_COMMAND, &settings])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let id = child.id();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(PATIENCE) else {
            let pid = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            return Err(io::Error::other(format!("it does not answer within {} seconds", PATIENCE.as_secs())));
        };
        let Output { status, stdout, stderr } = output?;
        if !status.success() {
            let said = String::from_utf8_lossy(&stderr);
            return Err(io::Error::other(format!("{status}, {}", said.lines().next().unwrap_or("without a word"))));
        }
        // A headline, then a language a line; older versions write to the standard error.
        let said = [stdout, stderr].concat();
        let lines = String::from_utf8_lossy(&said).lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
        Ok(lines.into_iter().filter(|line| !line.is_empty() && !line.contains(' ')).collect())
    }
}

fn on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(NAME))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}
