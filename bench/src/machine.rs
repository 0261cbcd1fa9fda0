//! What the figures were measured on, and how quiet it was there.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result};
use chrono::Utc;
use millrace_harness::{Program, Search};

use crate::{
    Options,
    report::{Params, Report},
    stats::{Samples, median},
};

/// How often the fixed piece of work is done, and the disk asked to keep a page.
pub(crate) const SAMPLES: usize = 40;

/// Prints what this machine is, what runs on it, and what is common to all that is measured.
pub(crate) async fn describe(options: &Options, report: &mut Report) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let search = Search::default();
    let settings: Vec<String> = options.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let params = Params::default()
        .with("model", model())
        .with("kernel", rustix::system::uname().release().to_string_lossy().into_owned())
        .with("redis", search.version(Program::Redis).await.unwrap_or_default())
        .with("postgres", search.version(Program::Postgres).await.unwrap_or_default())
        .with("build", if cfg!(debug_assertions) { "debug" } else { "release" })
        .with("date", Utc::now().format("%Y-%m-%d %H:%M UTC").to_string())
        .with("rounds", options.rounds)
        .with("scale", options.scale)
        .with("slots", options.slots)
        .with("set", settings.join(" "));
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 cores")]
    report.add("cores", &params, cores as f64, "cores");
    report.flush("This machine and this run");
}

/// Prints how much this machine does for others just now: how long a fixed piece of work takes and how much that varies, how long the
/// disk takes to keep a page, the load, and the share of time that the hypervisor gave to others.
pub(crate) fn noise(report: &mut Report, when: &'static str, (dir, count): (&Path, usize)) -> Result<()> {
    let params = Params::default().with("when", when);
    let before = cpu_ticks();
    let spins: Vec<f64> = (0..count).map(|_| spin_ms()).collect();
    let mut syncs = sync_samples(dir, count).context("the disk's latency cannot be measured")?;
    let after = cpu_ticks();
    let fastest = spins.iter().copied().fold(f64::MAX, f64::min);
    report.add("spin", &params, median(&spins), "ms");
    report.add("spin_spread", &params, spins.iter().copied().fold(0.0, f64::max) / fastest, "slowest/fastest");
    let [half, most] = syncs.percentiles_ms([0.5, 0.99]);
    report.add("fsync_p50", &params, half, "ms");
    report.add("fsync_p99", &params, most, "ms");
    if let Some(load) = load() {
        report.add("load", &params, load, "1 min");
    }
    if let (Some((all_before, stolen_before)), Some((all, stolen))) = (before, after)
        && all > all_before
    {
        report.add("steal", &params, 100.0 * (stolen - stolen_before) / (all - all_before), "%");
    }
    report.flush("Noise");
    Ok(())
}

fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, model)| model).to_owned()
}

fn spin_ms() -> f64 {
    let start = Instant::now();
    let mut state = 1_u64;
    for _ in 0..4_000_000 {
        // A step of a linear congruential generator: each needs the one before it, so no compiler can shorten it.
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    start.elapsed().as_secs_f64() * 1e3
}

fn sync_samples(dir: &Path, count: usize) -> Result<Samples> {
    let mut file = File::create(dir.join("noise"))?;
    let page = [0x5a_u8; 8192];
    let mut samples = Samples::default();
    for _ in 0..count {
        let start = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)?;
        file.sync_data()?;
        samples.add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(samples)
}

fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// All ticks of all cores, and those that were stolen. See proc_stat(5).
fn cpu_ticks() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|number| number.parse().ok()).collect();
    // The two last ones, time of guests, are counted in the first ones already.
    Some((ticks.iter().take(8).sum(), *ticks.get(7)?))
}
