//! What a process takes, by the word of `/proc`.

use std::path::PathBuf;

/// Units of CPU time in `/proc/PID/stat`, a second: `USER_HZ` of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has taken so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Usage {
    /// CPU time of all its threads, to a hundredth.
    pub cpu_seconds: f64,
    /// Resident memory now, bytes.
    pub resident: u64,
    /// The largest it was (`VmHWM`), bytes.
    pub peak: u64,
    pub threads: u64,
    /// Open files and sockets.
    pub files: u64,
}

/// Of the process with this number; none once it has ended.
pub fn of(pid: u32) -> Option<Usage> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().trim_end_matches(" kB").parse().ok()
    };
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // Behind the name in brackets, which may hold anything: utime and stime are fields 14 and 15 of all.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: f64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    Some(Usage {
        cpu_seconds: ticks / TICKS_PER_SECOND,
        resident: field("VmRSS:")? << 10,
        peak: field("VmHWM:")? << 10,
        threads: field("Threads:")?,
        files: std::fs::read_dir(folder.join("fd")).map_or(0, |files| files.count() as u64),
    })
}

/// Of this process.
pub fn own() -> Usage {
    of(std::process::id()).unwrap_or_else(|| panic!("/proc does not tell of this process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_time_and_memory_and_one_that_is_gone_nothing() {
        let usage = own();
        assert!(
            usage.peak >= usage.resident && usage.resident > 1 << 20,
            "{usage:?}"
        );
        assert!(usage.threads >= 1 && usage.files >= 3, "{usage:?}");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id();
        assert!(of(pid).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of(pid), None);
    }
}
