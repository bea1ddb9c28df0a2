//! What a proxy uses, read from outside: CPU time and resident memory of all its processes and threads.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use crate::clock::Moment;

/// What a process group, and whatever it has started, has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time since the start, user and system, with that of children that ended and were waited for.
    pub cpu: Duration,
    /// Resident memory in bytes. A page that two processes share counts twice.
    pub resident: u64,
    /// The most that it ever was, process by process.
    pub peak: u64,
    /// When this was so.
    pub at: Moment,
}

impl Usage {
    /// The share of a core that was used since an earlier moment.
    pub fn load_since(&self, earlier: &Self) -> f64 {
        self.cpu.saturating_sub(earlier.cpu).as_secs_f64() / self.at.since(earlier.at).as_secs_f64()
    }

    /// Reads the usage of the process group `group`.
    pub fn of(group: libc::pid_t) -> Self {
        let members = members(all_processes(), group);
        Self {
            cpu: members.iter().map(|process| live_cpu(process) + process.reaped_cpu).sum(),
            resident: members.iter().map(|process| resident(process.id)).sum(),
            peak: members.iter().filter_map(|process| memory(process.id, "status", "VmHWM:")).sum(),
            at: Moment::now(),
        }
    }
}

/// What `/proc/PID/stat` says, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
struct Process {
    id: libc::pid_t,
    parent: libc::pid_t,
    group: libc::pid_t,
    /// Its own CPU time, in steps of a clock tick (10 ms).
    own_cpu: Duration,
    /// CPU time of children that it has waited for. The kernel adds it up in nanoseconds and shows it in ticks.
    reaped_cpu: Duration,
}

impl Process {
    /// Reads the text of `/proc/PID/stat`.
    fn parse(text: &str) -> Option<Self> {
        let id = text.split(' ').next()?.parse().ok()?;
        // The second field is the command in parentheses, which may hold spaces and parentheses itself.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        let ticks = |index: usize| Some(Duration::from_millis(number(index)? as u64 * MILLISECONDS_PER_TICK));
        Some(Self {
            id,
            parent: number(1)? as libc::pid_t,
            group: number(2)? as libc::pid_t,
            own_cpu: ticks(11)? + ticks(12)?,
            reaped_cpu: ticks(13)? + ticks(14)?,
        })
    }
}

/// The unit of the times in `/proc/PID/stat`: USER_HZ is 100 on every Linux that Rust runs on.
const MILLISECONDS_PER_TICK: u64 = 10;

fn all_processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(|first: char| first.is_ascii_digit()))
        .filter_map(|entry| Process::parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

/// Those of `processes` that are in `group`, or descend from one that is.
fn members(processes: Vec<Process>, group: libc::pid_t) -> Vec<Process> {
    let mut ids = HashSet::new();
    loop {
        let known = ids.len();
        for process in &processes {
            if process.group == group || ids.contains(&process.parent) {
                ids.insert(process.id);
            }
        }
        if ids.len() == known {
            return processes.into_iter().filter(|process| ids.contains(&process.id)).collect();
        }
    }
}

/// The CPU time of all the threads a process has had, in nanoseconds from its CPU clock, or in ticks if that is
/// refused.
fn live_cpu(process: &Process) -> Duration {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both pointers are to valid values that the calls write.
    let read =
        unsafe { libc::clock_getcpuclockid(process.id, &mut clock) == 0 && libc::clock_gettime(clock, &mut time) == 0 };
    match read {
        true => Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
        false => process.own_cpu,
    }
}

/// A process's resident memory in bytes. The kernel's exact sum where we may read it, else its running estimate, which
/// is a few pages off.
fn resident(id: libc::pid_t) -> u64 {
    memory(id, "smaps_rollup", "Rss:").or_else(|| memory(id, "status", "VmRSS:")).unwrap_or(0)
}

/// What a line of a file about a process says, in bytes.
fn memory(id: libc::pid_t, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: libc::pid_t, parent: libc::pid_t, group: libc::pid_t) -> Process {
        Process { id, parent, group, own_cpu: Duration::ZERO, reaped_cpu: Duration::ZERO }
    }

    #[test]
    fn stat_is_read_around_an_awkward_command_name() {
        let text = "42 (a) b (c) S 7 8 9 0 -1 4194304 1 2 3 4 150 50 20 10 20 0 3 0 12345 1 2";
        let expected =
            Process { own_cpu: Duration::from_secs(2), reaped_cpu: Duration::from_millis(300), ..process(42, 7, 8) };
        assert_eq!(Process::parse(text), Some(expected));
        assert_eq!(Process::parse("42 (cut"), None);
    }

    #[test]
    fn members_are_the_group_and_its_descendants() {
        let all = vec![process(4, 3, 4), process(1, 0, 1), process(2, 1, 2), process(3, 2, 2), process(5, 1, 5)];
        let ids: Vec<_> = members(all, 2).iter().map(|process| process.id).collect();
        assert_eq!(ids, [4, 2, 3]);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        // SAFETY: takes nothing and cannot fail.
        let usage = Usage::of(unsafe { libc::getpgrp() });
        assert!(usage.resident > 0 && usage.peak > 0);
        assert!(usage.cpu > Duration::ZERO);
    }
}
