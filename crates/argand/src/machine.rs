//! What this machine offers a process: cores, quota, memory; and how many threads to run.
//!
//! Everything is read from files that the system keeps (`/proc`, `/sys`); what cannot be read is left out, never guessed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// The processor's name.
    pub processor: Option<String>,
    /// Logical processors that this process may run on.
    pub logical: usize,
    /// Physical cores that these belong to.
    pub physical: usize,
    /// Processors' worth of time that the control group grants, if it limits it.
    pub quota: Option<f64>,
    /// Memory of the machine in bytes.
    pub memory: Option<u64>,
    /// Memory that can be had now in bytes.
    pub available: Option<u64>,
}

/// A number of threads and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threads {
    /// The number, at least one.
    pub count: usize,
    /// Why, in a sentence.
    pub reason: String,
}

impl Machine {
    /// Looks at this machine.
    pub fn read() -> Self {
        let fallback = std::thread::available_parallelism().map_or(1, usize::from);
        let allowed = allowed_processors().unwrap_or_else(|| (0..fallback).collect());
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory =
            |key: &str| field(&meminfo, key)?.trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024);
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine {
            processor: field(&cpuinfo, "model name").map(str::to_string),
            logical: allowed.len(),
            physical: physical_cores(&allowed),
            quota: quota(),
            memory: memory("MemTotal"),
            available: memory("MemAvailable"),
        }
    }

    /// How many threads to run: one for each physical core, as two on one core share its vector units and its memory
    /// requests, and no more than the quota pays for, as a gang waits for its slowest thread.
    pub fn threads(&self) -> Threads {
        let cores = self.physical.max(1);
        let paid = self.quota.map_or(usize::MAX, |q| (q.floor() as usize).max(1));
        let count = cores.min(paid);
        let reason = match self.quota {
            Some(quota) if paid < cores => {
                format!("the control group grants the time of {quota} processors, of {cores} physical cores")
            }
            _ if self.logical > cores => {
                format!("one for each physical core; {} logical processors share them", self.logical)
            }
            _ => "one for each core that this process may use".to_string(),
        };
        Threads { count, reason }
    }

    /// Most threads that can run at the same time: logical processors, and no more than the quota pays for.
    pub fn most_threads(&self) -> usize {
        let paid = self.quota.map_or(usize::MAX, |q| q.ceil() as usize);
        self.logical.min(paid).max(1)
    }

    /// Other threads that want a processor at this moment. A gang of threads waits for its slowest, so that speed
    /// collapses when others take a core away from it.
    pub fn others_running() -> Option<usize> {
        running(&fs::read_to_string("/proc/loadavg").ok()?)
    }

    /// The most memory that this process has held, in bytes.
    pub fn peak_resident() -> Option<u64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        field(&status, "VmHWM")?.trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    }
}

/// The value of the first line `key: value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
    Some(line.trim())
}

/// Runnable threads but this one, from the fourth field of `/proc/loadavg`, `2/345`.
fn running(loadavg: &str) -> Option<usize> {
    let (running, _) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    running.parse::<usize>().ok()?.checked_sub(1)
}

/// Processors in the kernel's list format: `0-3,8`.
fn list(text: &str) -> Option<BTreeSet<usize>> {
    let mut all = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
        all.extend(first..=last);
    }
    Some(all)
}

fn allowed_processors() -> Option<BTreeSet<usize>> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    list(field(&status, "Cpus_allowed_list")?)
}

/// Distinct sets of siblings among `allowed`; a processor that tells nothing is a core of its own.
fn physical_cores(allowed: &BTreeSet<usize>) -> usize {
    let siblings = |cpu: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        fs::read_to_string(path).ok().and_then(|text| list(&text)).unwrap_or_else(|| [*cpu].into())
    };
    allowed.iter().map(siblings).collect::<BTreeSet<_>>().len()
}

/// The tightest processor quota of this process's control group and those around it, versions 1 and 2.
fn quota() -> Option<f64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let all = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            _ if controllers.split(',').any(|c| c == "cpu") => "/sys/fs/cgroup/cpu",
            _ => return Vec::new(),
        };
        let own = PathBuf::from(format!("{root}{path}"));
        let above = own.ancestors().take_while(|p| p.starts_with(root)).map(Path::to_path_buf);
        above.filter_map(|dir| quota_of(&dir)).collect::<Vec<_>>()
    });
    all.min_by(f64::total_cmp)
}

fn quota_of(dir: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.to_string(), period.to_string())
        }
        None => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
    };
    // "max" and -1 mean no limit.
    let (quota, period) = (quota.trim().parse::<f64>().ok()?, period.trim().parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_cores_and_quota() {
        let machine = |logical, physical, quota| Machine { logical, physical, quota, ..Machine::default() };
        let plain = machine(4, 4, None).threads();
        assert_eq!((plain.count, plain.reason.contains("each core")), (4, true));
        let siblings = machine(16, 8, Some(32.0)).threads();
        assert_eq!((siblings.count, siblings.reason.contains("16 logical")), (8, true));
        let limited = machine(16, 8, Some(2.5)).threads();
        assert_eq!((limited.count, limited.reason.contains("2.5 processors")), (2, true));
        assert_eq!(machine(8, 8, Some(0.5)).threads().count, 1);
        assert_eq!(machine(0, 0, None).threads().count, 1);
    }

    #[test]
    fn no_more_threads_can_run_than_processors_and_quota_allow() {
        let most = |logical, quota| Machine { logical, quota, ..Machine::default() }.most_threads();
        assert_eq!([most(16, None), most(16, Some(32.0)), most(16, Some(2.5))], [16, 16, 3]);
        assert_eq!([most(0, None), most(8, Some(0.5))], [1, 1]);
    }

    #[test]
    fn kernel_lists_are_read() {
        assert_eq!(list("0-2,5\n"), Some([0, 1, 2, 5].into()));
        assert_eq!(list("x"), None);
        assert_eq!((running("0.1 0.2 0.3 3/345 99\n"), running("")), (Some(2), None));
        assert_eq!(field("a: 1\nVmHWM:\t 12 kB\n", "VmHWM"), Some("12 kB"));
    }

    #[test]
    fn quotas_of_both_versions_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(quota_of(dir.path()), None);
        put("cpu.cfs_quota_us", "-1\n");
        put("cpu.cfs_period_us", "100000\n");
        assert_eq!(quota_of(dir.path()), None);
        put("cpu.cfs_quota_us", "150000\n");
        assert_eq!(quota_of(dir.path()), Some(1.5));
        put("cpu.max", "max 100000\n");
        assert_eq!(quota_of(dir.path()), None);
        put("cpu.max", "200000 100000\n");
        assert_eq!(quota_of(dir.path()), Some(2.0));
    }

    #[test]
    fn this_machine_has_a_core() {
        let machine = Machine::read();
        assert!(machine.physical >= 1 && machine.logical >= machine.physical);
        assert!(machine.threads().count >= 1);
    }
}
