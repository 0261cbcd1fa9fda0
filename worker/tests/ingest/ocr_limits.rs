//! tesseract is confined, and always ends. A program that sleeps stands in for one that does not come to an end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use millrace_worker::ingest::{ExtractError, Extractor, IngestLimits, OcrLimits, WarningCode};
use rustix::process::Pid;
use tempfile::{NamedTempFile, TempDir};
use tokio_util::sync::CancellationToken;

use crate::confinement::{Observed, limit};
use crate::extract_bytes;
use crate::ocr::{Page, pdf_of, scan, with_ocr};

/// A program of that name that lists languages as tesseract does, and otherwise runs this line.
fn stand_in(line: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tesseract");
    let script = format!("#!/bin/sh\ncase \"$1\" in --list-langs) echo 'List of 1:'; echo eng;; *) {line};; esac\n");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Limits under which that program reads the pages, but one that is real for the page's time.
fn limits_with(folder: &TempDir, page_limit: Duration) -> IngestLimits {
    let limits = with_ocr();
    // Coarse, so that drawing is a small part of that time.
    let program = folder.path().join("tesseract");
    let ocr = limits.ocr.clone().map(|ocr| OcrLimits { program, page_limit, dpi: 70, ..ocr });
    IngestLimits { ocr, warm_children: 0, ..limits }
}

/// The process that sleeps so long, once it does.
async fn sleeper(seconds: u32) -> Observed {
    let deadline = Instant::now() + Duration::from_secs(30);
    let command = format!("sleep\0{seconds}\0");
    while Instant::now() < deadline {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            let process = pid.and_then(Observed::new).filter(|process| process.read("cmdline") == command);
            if let Some(process) = process {
                return process;
            }
        }
        tokio::task::yield_now().await;
    }
    panic!("nobody sleeps for {seconds} seconds");
}

fn scanned_file() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pdf_of(&[Page::Scan(&scan())])).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_takes_too_long_is_a_warning_and_its_process_is_gone() {
    const SECONDS: u32 = 40_001;
    let folder = stand_in(&format!("exec sleep {SECONDS}"));
    let limits = limits_with(&folder, Duration::from_secs(8));
    let file = pdf_of(&[Page::Text("Words that stay."), Page::Scan(&scan())]);
    let task = tokio::spawn(async move { extract_bytes(&file, limits).await });
    let sleeper = sleeper(SECONDS).await;
    let document = task.await.unwrap().unwrap();
    assert!(sleeper.ends_within(Duration::ZERO), "it outlived its time");
    assert_eq!(document.text, "Words that stay.");
    assert_eq!(document.warnings.len(), 1);
    let warning = &document.warnings[0];
    assert_eq!((warning.code, warning.page), (WarningCode::OcrFailed, Some(2)));
    assert!(warning.message.starts_with("character recognition of page 2 failed: it took longer than "), "{warning:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tesseract_is_confined_and_dies_when_cancelled_or_dropped() {
    const SECONDS: u32 = 40_002;
    let (folder, file) = (stand_in(&format!("exec sleep {SECONDS}")), scanned_file());
    let extractor = Extractor::new(limits_with(&folder, Duration::from_secs(100))).unwrap();
    let cancel = CancellationToken::new();
    let start = |cancel: CancellationToken| {
        let (extractor, path) = (extractor.clone(), file.path().to_owned());
        tokio::spawn(async move { extractor.extract(&path, &cancel).await })
    };
    let task = start(cancel.clone());
    let running = sleeper(SECONDS).await;
    // The shell that stands in adds its directory.
    let environment = running.read("environ");
    assert!(
        environment.starts_with("OMP_THREAD_LIMIT=1\0PWD=") && environment.matches('\0').count() == 2,
        "{environment}"
    );
    let status = running.read("status");
    assert!(status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    assert_eq!(limit(&running, "Max address space"), 512 << 20);
    assert_eq!(limit(&running, "Max cpu time"), 101);
    assert_eq!(limit(&running, "Max file size"), 16 << 20);
    assert!(limit(&running, "Max open files") <= 32);
    let own = Path::new("/proc").join(running.id().to_string());
    let directory = own.join("cwd");
    assert_eq!(directory.read_dir().unwrap().count(), 0);
    assert!(!directory.read_link().unwrap().exists(), "its directory has a name");
    let open = own.join("fd").read_dir().unwrap().map(|entry| entry.unwrap().path().read_link().unwrap());
    assert!(open.into_iter().all(|open| open != file.path()), "it has the document open");

    cancel.cancel();
    assert!(matches!(task.await.unwrap(), Err(ExtractError::Cancelled)));
    assert!(running.ends_within(Duration::ZERO), "it outlived the cancellation");

    let dropped = start(CancellationToken::new());
    let running = sleeper(SECONDS).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    assert!(running.ends_within(Duration::from_secs(10)), "it outlived the dropped future");
}

#[tokio::test]
async fn tesseract_dies_with_a_killed_worker() {
    const SECONDS: u32 = 40_003;
    let (folder, file) = (stand_in(&format!("exec sleep {SECONDS}")), scanned_file());
    let mut worker = tokio::process::Command::new(crate::limits().program)
        .args(["extract", "--ocr", "eng"])
        .arg(file.path())
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let running = sleeper(SECONDS).await;
    worker.kill().await.unwrap();
    assert!(running.ends_within(Duration::from_secs(10)), "it is an orphan");
}

#[tokio::test]
async fn a_page_that_takes_too_much_memory_is_a_warning() {
    let mut limits = with_ocr();
    limits.ocr.as_mut().unwrap().memory_limit_bytes = 100 << 20;
    limits.ocr.as_mut().unwrap().dpi = 600;
    let document = extract_bytes(&pdf_of(&[Page::Text("Words."), Page::Scan(&scan())]), limits).await.unwrap();
    assert_eq!(document.text, "Words.");
    let messages: Vec<_> = document.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages, ["character recognition of page 2 failed: it took more than 100 MiB of memory"]);
}

#[tokio::test]
async fn a_tesseract_that_fails_or_talks_without_end_is_a_warning() {
    for (line, expected) in [
        ("exit 3", "tesseract ended with exit status: 3"),
        (
            "while :; do echo 5 1 1 1 1 1 0 0 9 9 90 word word word word word word word word word word; done",
            "signal: 25",
        ),
    ] {
        let folder = stand_in(line);
        let file = pdf_of(&[Page::Text("Words."), Page::Scan(&scan())]);
        let document = extract_bytes(&file, limits_with(&folder, Duration::from_secs(60))).await.unwrap();
        assert_eq!((document.text.as_str(), document.warnings.len()), ("Words.", 1));
        assert!(document.warnings[0].message.contains(expected), "{line}: {:?}", document.warnings);
    }
}
