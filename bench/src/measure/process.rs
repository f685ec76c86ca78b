//! Reads the figures of a server process from /proc.

use std::fs;
use std::io;
use std::time::Duration;

/// A server process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Processor time of all its threads so far.
    ///
    /// The source is schedstat, in nanoseconds. It does not count threads that have ended; the
    /// servers here end none under load. If the kernel has no schedstat, the source is stat, in
    /// ticks.
    pub fn cpu(&self) -> io::Result<Duration> {
        match self.cpu_of_threads() {
            Ok(0) | Err(_) => self.cpu_in_ticks(),
            Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        }
    }

    fn cpu_of_threads(&self) -> io::Result<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += number(text.split(' ').next())?;
        }
        Ok(sum)
    }

    fn cpu_in_ticks(&self) -> io::Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The second field is the name in parentheses, which may hold spaces; user and system time
        // are fields 14 and 15.
        let mut fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11);
        let ticks = number(fields.next())? + number(fields.next())?;
        Ok(from_ticks(ticks))
    }

    /// Resident memory now, in KiB.
    pub fn rss_kib(&self) -> io::Result<u64> {
        self.status("VmRSS:")
    }

    /// Its peak resident memory, in KiB.
    pub fn peak_rss_kib(&self) -> io::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        number(text.lines().find_map(|line| line.strip_prefix(key)).and_then(|rest| rest.split_whitespace().next()))
    }
}

pub(super) fn number(text: Option<&str>) -> io::Result<u64> {
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| io::Error::other("/proc does not look as expected"))
}

/// The duration of this many clock ticks of /proc.
pub(super) fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::span::own_cpu;

    #[test]
    fn a_process_has_cpu_time_and_memory() {
        let process = Process::new(std::process::id());
        let mut sum = 0_u64;
        let start = own_cpu();
        while own_cpu() - start < Duration::from_millis(30) {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(process.cpu().expect("schedstat or stat") >= Duration::from_millis(20));
        assert!(process.cpu_in_ticks().expect("stat") > Duration::ZERO);
        assert!(process.rss_kib().expect("status") > 100);
        assert!(process.peak_rss_kib().expect("status") >= process.rss_kib().expect("status") / 2);
    }
}
