//! The child is confined, and always ends: cancelled, dropped, or orphaned by a killed worker.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use millrace_worker::ingest::{ExtractError, Extractor, IngestLimits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use crate::make::endless_pdf;
use crate::{code, extract_bytes, limits};

/// A setting that only the child looked for has.
const MARKED_CHUNKS: usize = 76_543;

fn endless_file() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), endless_pdf()).unwrap();
    file
}

/// A process that can be waited for, whoever its parent is.
pub struct Observed {
    pid: Pid,
    handle: OwnedFd,
}

impl Observed {
    pub fn new(pid: Pid) -> Option<Self> {
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid, handle })
    }

    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(format!("/proc/{}/{name}", self.pid.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn ends_within(&self, time: Duration) -> bool {
        let timeout = Timespec::try_from(time).unwrap();
        let mut waited = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut waited, Some(&timeout)).unwrap() == 1
    }
}

/// The extraction child of this parent, once it has confined itself: there is no event to wait for, so it is looked for
/// until it is there.
async fn confined_child_of(parent: u32) -> Observed {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
            else {
                continue;
            };
            let Some(process) = Observed::new(pid) else {
                continue;
            };
            let command = process.read("cmdline");
            let status = process.read("status");
            // Other tests of this process may have children of their own.
            let is_ours = parent != std::process::id() || command.contains(&MARKED_CHUNKS.to_string());
            let is_child =
                is_ours && status.contains(&format!("\nPPid:\t{parent}\n")) && command.starts_with("millrace-extract");
            // The limits are set after this flag; the hard core limit is the last of them.
            let is_confined = process
                .read("limits")
                .lines()
                .any(|line| line.starts_with("Max core file size") && line.split_whitespace().nth(5) == Some("0"));
            if is_child && status.contains("\nNoNewPrivs:\t1\n") && is_confined {
                return process;
            }
        }
        tokio::task::yield_now().await;
    }
    panic!("no child of {parent} appeared");
}

pub fn limit(child: &Observed, name: &str) -> u64 {
    let limits = child.read("limits");
    let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

/// One test, because each looks for the one child of this process.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_confined_and_ends_when_cancelled_or_dropped() {
    let file = endless_file();
    let marked = IngestLimits { chunk_chars: MARKED_CHUNKS, warm_children: 0, ..limits() };
    let extractor = Extractor::new(marked.clone()).unwrap();
    let cancel = CancellationToken::new();
    let task = tokio::spawn({
        let (extractor, cancel, path) = (extractor.clone(), cancel.clone(), file.path().to_owned());
        async move { extractor.extract(&path, &cancel).await }
    });
    let child = confined_child_of(std::process::id()).await;
    assert_eq!(child.read("environ"), "");
    assert_eq!(limit(&child, "Max address space"), limits().memory_limit_bytes);
    assert_eq!(limit(&child, "Max cpu time"), limits().cpu_limit.as_secs());
    assert_eq!(
        limit(&child, "Max file size"),
        limits().max_parts_bytes,
        "the scratch file is the only one it can write"
    );
    assert!(limit(&child, "Max open files") <= 32);
    let directory = std::fs::read_link(format!("/proc/{}/cwd", child.pid.as_raw_nonzero())).unwrap();
    assert!(!directory.exists(), "it has a name, {}, under which it would be left behind", directory.display());
    assert!(!child.read("cmdline").contains(file.path().to_str().unwrap()), "the child knows a path");

    cancel.cancel();
    assert!(matches!(task.await.unwrap(), Err(ExtractError::Cancelled)));
    assert!(child.ends_within(Duration::ZERO), "the child outlived the cancellation");

    let dropped = tokio::spawn({
        let path = file.path().to_owned();
        async move { extractor.extract(&path, &CancellationToken::new()).await }
    });
    let child = confined_child_of(std::process::id()).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    assert!(child.ends_within(Duration::from_secs(10)), "the child outlived the dropped future");

    waiting_children_serve_die_and_end(IngestLimits { warm_children: 1, ..marked }, &file).await;
}

async fn waiting_children_serve_die_and_end(limits: IngestLimits, endless: &NamedTempFile) {
    let small = NamedTempFile::new().unwrap();
    std::fs::write(small.path(), "a few words").unwrap();
    let extractor = Extractor::new(limits).unwrap();
    let cancel = CancellationToken::new();
    let read = async || extractor.extract(small.path(), &cancel).await.unwrap().words;
    assert_eq!(read().await, 3);

    let waiting = confined_child_of(std::process::id()).await;
    assert_eq!(waiting.read("environ"), "");
    kill_process(waiting.pid, Signal::KILL).unwrap();
    assert!(waiting.ends_within(Duration::from_secs(10)));
    assert_eq!(read().await, 3, "a child that died while it waited is nobody's failure");

    let waiting = confined_child_of(std::process::id()).await;
    let task = tokio::spawn({
        let (extractor, cancel, path) = (extractor.clone(), cancel.clone(), endless.path().to_owned());
        async move { extractor.extract(&path, &cancel).await }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while !waiting.read("status").contains("\nSeccomp:\t2\n") {
        assert!(Instant::now() < deadline, "the file went to another child than the one that waited");
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    assert!(matches!(task.await.unwrap(), Err(ExtractError::Cancelled)));
    assert!(waiting.ends_within(Duration::ZERO));

    let waiting = confined_child_of(std::process::id()).await;
    drop(extractor);
    assert!(waiting.ends_within(Duration::from_secs(10)), "a child waits for an extractor that is gone");
}

#[tokio::test]
async fn a_child_dies_with_a_killed_worker() {
    let file = endless_file();
    let mut worker = tokio::process::Command::new(limits().program)
        .arg("extract")
        .arg(file.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let child = confined_child_of(worker.id().unwrap()).await;
    worker.kill().await.unwrap();
    assert!(child.ends_within(Duration::from_secs(10)), "the child is an orphan");
}

#[tokio::test]
async fn a_child_killed_from_outside_is_worth_another_try() {
    let file = endless_file();
    let worker = tokio::process::Command::new(limits().program)
        .arg("extract")
        .arg(file.path())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let child = confined_child_of(worker.id().unwrap()).await;
    kill_process(child.pid, Signal::KILL).unwrap();
    let output = worker.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Programs that do not behave like the child stand in for a child that has been taken over.
#[tokio::test]
async fn an_answer_that_makes_no_sense_is_a_crash() {
    for program in ["echo", "yes", "false"] {
        let result = extract_bytes(
            b"some text",
            IngestLimits { program: PathBuf::from(program), max_text_chars: 1_000, ..limits() },
        )
        .await;
        assert_eq!(code(&result), "crashed", "{program}: {result:?}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_start_is_worth_another_try() {
    let result =
        extract_bytes(b"some text", IngestLimits { program: PathBuf::from("/nowhere/at-all"), ..limits() }).await;
    assert!(result.unwrap_err().is_retryable());
}
