//! Whether Redis keeps what it is given while it has room, and refuses the rest instead of dropping what it has.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_shared::{jobs::QUEUES, queue::Queues};
use secrecy::SecretString;

use super::Check;
use crate::{app::REDIS_TIMEOUT, exit::chain, ui};

/// The oldest version whose commands the scripts use.
const LEAST_VERSION: (u32, u32) = (6, 2);
/// Every claim is a round trip, so that a distant Redis slows all workers down.
const SLOW: Duration = Duration::from_millis(5);
/// Pings, of which the fastest counts: the others may have waited for this machine.
const PINGS: usize = 5;
/// The longest wait for a first answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Info = HashMap<String, String>;

pub async fn checks(url: &SecretString) -> Vec<Check> {
    const NAME: &str = "redis";
    let away = |found: String| {
        vec![Check::failed(NAME, format!("no connection: {found}"), "start Redis, or correct REDIS_URL")]
    };
    let queues = match Queues::connect(url, REDIS_TIMEOUT) {
        Ok(queues) => queues,
        Err(error) => return away(chain(&error.into())),
    };
    let info = match tokio::time::timeout(CONNECT_TIMEOUT, queues.info()).await {
        Ok(Ok(info)) => info,
        Ok(Err(error)) => return away(error.to_string()),
        Err(_) => return away(format!("no answer after {}", ui::duration(CONNECT_TIMEOUT))),
    };
    let now = Utc::now();
    let mut checks = vec![latency(&queues).await, version(&info), role(&info), eviction(&info), memory(&info)];
    checks.push(persistence(&info));
    let clock = info.get("server_time_usec").and_then(|usec| DateTime::from_timestamp_micros(usec.parse().ok()?));
    if let Some(clock) = clock {
        checks.push(Check::ok("redis clock", skew(clock, now)));
    }
    checks.push(epochs(&queues).await);
    checks
}

/// How far apart two clocks are. Only information: Redis' clock decides due times and leases, and Postgres' decides rows.
pub fn skew(there: DateTime<Utc>, here: DateTime<Utc>) -> String {
    let difference = there - here;
    if difference.abs() < TimeDelta::milliseconds(50) {
        return "agrees with this host's".to_owned();
    }
    let side = if difference < TimeDelta::zero() { "behind" } else { "ahead of" };
    let length = difference.abs().to_std().unwrap_or_default();
    format!("{} {side} this host's (nothing depends on it)", ui::duration(length))
}

async fn latency(queues: &Queues) -> Check {
    const NAME: &str = "redis";
    let mut best = None;
    for _ in 0..PINGS {
        match queues.ping().await {
            Ok(took) => best = Some(best.map_or(took, |best: Duration| best.min(took))),
            Err(error) => return Check::failed(NAME, error.to_string(), "look at its log"),
        }
    }
    let best = best.unwrap_or_default();
    let found = format!("answers in {:.2}ms", best.as_secs_f64() * 1e3);
    if best > SLOW {
        return Check::warning(NAME, found, "bring Redis nearer: each claim waits that long");
    }
    Check::ok(NAME, found)
}

fn version(info: &Info) -> Check {
    const NAME: &str = "redis version";
    // Valkey tells its own version beside the one of Redis that it is compatible with.
    let name = if info.contains_key("valkey_version") { "Valkey" } else { "Redis" };
    let shown = info.get("valkey_version").or_else(|| info.get("redis_version")).map_or("unknown", String::as_str);
    let found = format!("{name} {shown}");
    let mut numbers = info.get("redis_version").map_or("", String::as_str).split('.').map(|part| part.parse().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return Check::warning(NAME, found, "make sure that it is 6.2 or later");
    };
    if (major, minor) < LEAST_VERSION {
        return Check::failed(NAME, found, "upgrade to Redis 6.2 or later, or to Valkey");
    }
    Check::ok(NAME, found)
}

fn role(info: &Info) -> Check {
    const NAME: &str = "redis role";
    match info.get("role").map(String::as_str) {
        Some("master") => Check::ok(NAME, "primary"),
        Some(role) => Check::failed(NAME, format!("a {role}, which takes no writes"), "point REDIS_URL to the primary"),
        None => Check::warning(NAME, "not told", "make sure that it is no replica"),
    }
}

fn eviction(info: &Info) -> Check {
    const NAME: &str = "redis maxmemory-policy";
    let fix = "set `maxmemory-policy noeviction`: with any other one Redis drops queued jobs when it is full";
    match info.get("maxmemory_policy").map(String::as_str) {
        Some("noeviction") => Check::ok(NAME, "noeviction"),
        Some(policy) => Check::failed(NAME, policy, fix),
        None => Check::warning(NAME, "not told", fix),
    }
}

fn memory(info: &Info) -> Check {
    const NAME: &str = "redis memory";
    let bytes = |name: &str| info.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (used, limit) = (bytes("used_memory"), bytes("maxmemory"));
    let mib = |bytes: u64| format!("{} MiB", ui::count(bytes >> 20));
    if limit == 0 {
        return Check::ok(NAME, format!("{} used, no limit", mib(used)));
    }
    let found = format!("{} of {} used", mib(used), mib(limit));
    if used > limit / 10 * 8 {
        let fix = "raise maxmemory: a full Redis takes no jobs, which then wait in Postgres";
        return Check::warning(NAME, found, fix);
    }
    Check::ok(NAME, found)
}

fn persistence(info: &Info) -> Check {
    const NAME: &str = "redis persistence";
    let is = |name: &str, value: &str| info.get(name).is_some_and(|found| found == value);
    if is("rdb_last_bgsave_status", "err") || is("aof_last_write_status", "err") {
        return Check::failed(NAME, "the last write to disk failed", "look at Redis' log and at its disk");
    }
    if is("aof_enabled", "1") {
        return Check::ok(NAME, "append-only file");
    }
    let found =
        "no append-only file: a restart loses what came after the last snapshot, and it is rebuilt from Postgres";
    Check::warning(NAME, found, "set `appendonly yes`")
}

async fn epochs(queues: &Queues) -> Check {
    const NAME: &str = "redis queues";
    let mut lost = Vec::new();
    for queue in QUEUES {
        match queues.epoch(queue).await {
            Ok(Some(_)) => {}
            Ok(None) => lost.push(queue.as_str()),
            Err(error) => return Check::failed(NAME, error.to_string(), "look at Redis' log"),
        }
    }
    if lost.is_empty() {
        return Check::ok(NAME, "all are whole");
    }
    let found = format!("new, or lost with Redis' data: {}", lost.join(", "));
    Check::warning(NAME, found, "start a worker that serves them: it rebuilds them from Postgres before it claims")
}
