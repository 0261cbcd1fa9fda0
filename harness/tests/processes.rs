//! Children end with their parent, however it ends, and not with the thread that asked for them.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use millrace_harness::{Process, RunDir, Servers, Signal};

const MAKE_ORPHANS: &str = "MILLRACE_TEST_MAKE_ORPHANS";

fn sleeper(dir: &Path) -> Result<Process> {
    let mut command = Command::new("sleep");
    command.arg("1000");
    Process::spawn("sleeper", command, &dir.join("sleeper.log"), Signal::KILL)
}

/// Not a test by itself: the test below runs this program again with the variable set, and kills it.
#[tokio::test]
async fn orphan_maker() -> Result<()> {
    if env::var_os(MAKE_ORPHANS).is_none() {
        return Ok(());
    }
    let run = RunDir::create()?;
    let servers = Servers::start_private(run.path()).await?;
    let sleeper = sleeper(run.path())?;
    let pids = [servers.redis.pid(), servers.postgres.pid(), Some(sleeper.pid())];
    let pids = pids.map(|pid| pid.unwrap().to_string()).join(",");
    let told = format!("orphans:{pids}\nleft:{}\n", run.path().display());
    std::io::stderr().write_all(told.as_bytes())?;
    std::future::pending().await
}

#[cfg(target_os = "linux")]
#[test]
fn children_die_when_their_parent_is_killed_with_9() -> Result<()> {
    let mut maker = Command::new(env::current_exe()?)
        .args(["--exact", "orphan_maker", "--nocapture"])
        .env(MAKE_ORPHANS, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(maker.stderr.take().context("no output")?);
    let mut said = output.lines().map_while(Result::ok).filter_map(|line| {
        let (_, rest) = line.split_once("orphans:").or_else(|| line.split_once("left:"))?;
        Some(rest.to_owned())
    });
    let pids = said.next().context("the helper ended early")?;
    let left = said.next().context("the helper ended early")?;
    maker.kill()?;
    maker.wait()?;

    let deadline = Instant::now() + Duration::from_secs(20);
    for pid in pids.split(',') {
        while is_alive(pid) {
            assert!(Instant::now() < deadline, "{pid} of {pids} has outlived its parent");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // What a killed run has left is swept by the next.
    assert!(Path::new(&left).is_dir());
    let _next = RunDir::create()?;
    assert!(!Path::new(&left).exists());
    Ok(())
}

/// A zombie that nobody has collected yet is dead too.
#[cfg(target_os = "linux")]
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    state.is_some_and(|state| !["Z", "X"].contains(&state.as_str()))
}

#[tokio::test]
async fn child_outlives_the_thread_that_started_it() -> Result<()> {
    let run = RunDir::create()?;
    let dir = run.path().to_owned();
    let process = std::thread::spawn(move || sleeper(&dir)).join().unwrap()?;
    // A death signal would have been sent by the time the thread was joined; give it the time to arrive.
    let early = tokio::time::timeout(Duration::from_millis(300), process.wait()).await;
    assert!(early.is_err(), "it ended with its thread: {early:?}");
    Ok(())
}

#[tokio::test]
async fn ended_child_tells_how_and_takes_no_signals() -> Result<()> {
    let run = RunDir::create()?;
    let mut command = Command::new("sh");
    command.args(["-c", "echo one; echo two >&2; exit 3"]);
    let process = Process::spawn("shell", command, &run.path().join("shell.log"), Signal::KILL)?;
    assert_eq!(process.wait().await.code(), Some(3));
    assert_eq!(process.log_tail(1), "two");
    assert!(process.signal(Signal::TERM).unwrap_err().to_string().contains("exit status: 3"));
    assert!(process.terminate(Duration::from_secs(1)).await.is_err());
    Ok(())
}

#[tokio::test]
async fn terminate_gives_up_at_its_deadline_and_drop_ends_the_child() -> Result<()> {
    let run = RunDir::create()?;
    let log = run.path().join("stubborn.log");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"]);
    let process = Process::spawn("stubborn", command, &log, Signal::KILL)?;
    while process.log_tail(1) != "deaf" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = process.terminate(Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("stubborn still runs") && error.contains("deaf"), "{error}");
    let pid = process.pid();
    drop(process);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}
