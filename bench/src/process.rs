//! What Linux says of a process: the CPU time it used and the memory it holds. On a shared machine both are steadier than rates.

use std::fs;

/// CPU time in µs used by a process, without its children.
pub(crate) fn cpu_us(pid: u32) -> Option<u64> {
    Stat::read(pid).map(|stat| micros(stat.own_ticks))
}

/// CPU time in µs used by a process, by the children it has collected, and by those it still has: Postgres works in children.
pub(crate) fn cpu_of_family_us(pid: u32) -> Option<u64> {
    let own = Stat::read(pid)?;
    let living: u64 = children(pid).map(|child| child.own_ticks).sum();
    Some(micros(own.own_ticks + own.collected_ticks + living))
}

fn micros(ticks: u64) -> u64 {
    ticks * 1_000_000 / rustix::param::clock_ticks_per_second()
}

/// Memory in bytes that a process holds (its resident set), without its children.
pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most memory in bytes that a process has held so far, without its children.
pub(crate) fn peak_rss_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

struct Stat {
    parent: u32,
    own_ticks: u64,
    collected_ticks: u64,
}

impl Stat {
    /// See proc_pid_stat(5). The second field is a name in parentheses, which may hold anything.
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: number(11)? + number(12)?,
            collected_ticks: number(13)? + number(14)?,
        })
    }
}

fn children(parent: u32) -> impl Iterator<Item = Stat> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Stat::read).filter(move |stat| stat.parent == parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_processor_and_memory() {
        let before = cpu_us(std::process::id()).expect("this process is there");
        let mut sum = 0_u64;
        while cpu_us(std::process::id()).expect("still there") < before + 50_000 {
            sum = std::hint::black_box((0..1_000_000_u64).sum::<u64>() + sum % 2);
        }
        let held = rss_bytes(std::process::id()).expect("still there");
        assert!(held > 100_000 && peak_rss_bytes(std::process::id()) >= Some(held / 2));
        assert!(cpu_us(u32::MAX).is_none());
    }
}
