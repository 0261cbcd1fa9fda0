//! Every benchmark, very small: that all of its figures are there and are JSON, and that nothing of it outlives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use millrace_harness::Binaries;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// The metrics of each benchmark, but for `peers`, whose programs take minutes to build.
const METRICS: [(&str, &str); 10] = [
    (
        "queue",
        "enqueue_single enqueue_pipelined enqueue_bulk drain cpu_worker_us_per_job cpu_redis_us_per_job cpu_client_us_per_job",
    ),
    (
        "durable",
        "enqueue_bulk drain shared_buffers cpu_worker_us_per_job cpu_api_us_per_job cpu_redis_us_per_job cpu_postgres_us_per_job \
         cpu_client_us_per_job",
    ),
    (
        "http",
        "requests jobs latency_p50 latency_p95 latency_p99 errors cpu_worker_us_per_job cpu_api_us_per_job \
         cpu_redis_us_per_job cpu_postgres_us_per_job cpu_client_us_per_job",
    ),
    (
        "webhooks",
        "deliveries latency_p50 latency_p95 latency_p99 errors cpu_api_us_per_job cpu_redis_us_per_job \
         cpu_postgres_us_per_job cpu_client_us_per_job",
    ),
    (
        "crm",
        "backfill resync ratio rss_early rss_peak calls used most refused cpu_worker_us_per_job cpu_api_us_per_job \
         cpu_redis_us_per_job cpu_postgres_us_per_job cpu_client_us_per_job cpu_simulator_us_per_job",
    ),
    (
        "latency",
        "pickup_p50 pickup_p95 pickup_p99 cpu_worker_us_per_job cpu_api_us_per_job cpu_redis_us_per_job \
         cpu_postgres_us_per_job cpu_client_us_per_job",
    ),
    ("fairness", "pickup_p50 pickup_p95 pickup_p99 flood_left ratio_p50 ratio_p99"),
    (
        "memory",
        "redis_bytes_per_job redis_bytes_per_job_in_all rss rss_early rss_growth jobs_done ledger_bytes_per_job",
    ),
    ("scale", "drain ratio"),
    ("search", "fill_s index_s size latency_p50 latency_p95 latency_p99 hits store"),
];

fn bench(words: &[&str], binaries: &Binaries) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-bench"));
    let (name, dir) = binaries.variable();
    command.args(words).env(name, dir).stdin(Stdio::null());
    command
}

#[tokio::test]
async fn every_benchmark_prints_all_of_its_metrics_as_json() {
    let binaries = Binaries::for_tests().await.expect("the binaries build");
    let small = ["--json", "--scale", "0.0005", "--rounds", "1", "--slots", "16"];
    // All at once, because most of the time they wait for servers to start.
    let run = |(name, metrics): (&'static str, &'static str)| {
        let mut command = bench(&[&[name], small.as_slice()].concat(), &binaries);
        tokio::task::spawn_blocking(move || (name, metrics, command.output()))
    };
    for running in METRICS.map(run) {
        let (name, metrics, output) = running.await.expect("the run is waited for");
        let output = output.expect("it runs");
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {}\n{said}\n{complained}", output.status);
        let found = metrics_of(&said);
        let expected: BTreeSet<String> = metrics.split_whitespace().map(str::to_owned).collect();
        assert_eq!(found.get(name), Some(&expected), "{said}");
        assert!(found["machine"].contains("spin_spread"), "the machine's noise is told: {said}");
    }
}

/// The names of the metrics by benchmark, of lines that must all have the same five fields.
fn metrics_of(lines: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::<_, BTreeSet<_>>::new();
    for line in lines.lines() {
        let metric: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields: BTreeSet<&str> = metric.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(fields, BTreeSet::from(["bench", "metric", "params", "value", "unit"]), "{line}");
        assert!(metric["value"].is_number() && metric["unit"].is_string() && metric["params"].is_object(), "{line}");
        let text = |name: &str| metric[name].as_str().expect("a text").to_owned();
        metrics.entry(text("bench")).or_default().insert(text("metric"));
    }
    metrics
}

#[tokio::test]
async fn a_benchmark_that_is_told_to_end_takes_its_servers_and_workers_along() {
    let binaries = Binaries::for_tests().await.expect("the binaries build");
    let mut running =
        bench(&["latency"], &binaries).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let children = wait_children(&mut running, "queue-worker");
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    running.wait().expect("it ends");
    let deadline = Instant::now() + PATIENCE;
    while let Some(alive) = children.iter().find(|child| is_alive(**child)) {
        assert!(Instant::now() < deadline, "process {alive} outlives the benchmark");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A zombie that nobody has collected yet is dead too.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| !["Z", "X"].contains(&state))
}

/// The children of a process, once there is one with this word in its command line.
fn wait_children(of: &mut Child, word: &str) -> Vec<u32> {
    let deadline = Instant::now() + PATIENCE;
    let has_word = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(word)
    };
    loop {
        let children = children(of.id());
        if children.iter().any(has_word) {
            assert!(children.len() > 1, "there is a worker without servers");
            return children;
        }
        assert!(of.try_wait().expect("it can be asked").is_none(), "it has ended by itself");
        assert!(Instant::now() < deadline, "it has started no {word}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn children(of: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}
