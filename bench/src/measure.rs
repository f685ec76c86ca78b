//! What is measured: processor time, memory, latencies.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Time on the processor, and time spent waiting for it while somebody else had it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time on the processor.
    pub ran: Duration,
    /// Time ready to run but not running.
    pub waited: Duration,
}

impl Usage {
    /// What the calling thread has used so far.
    pub fn own() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let ran = Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
        let waited = Self::read(Path::new("/proc/thread-self/schedstat")).map(|usage| usage.waited);
        Self { ran, waited: waited.unwrap_or_default() }
    }

    fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let mut fields = text.split_whitespace();
        let ran = Duration::from_nanos(number(fields.next())?);
        Ok(Self { ran, waited: Duration::from_nanos(number(fields.next())?) })
    }

    fn since(self, before: Self) -> Self {
        Self { ran: self.ran.saturating_sub(before.ran), waited: self.waited.saturating_sub(before.waited) }
    }
}

/// The server process, as /proc shows it.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// What all its threads have used so far.
    ///
    /// From schedstat, in nanoseconds; threads that have ended are not in it, which the servers here have none of under load.
    /// Where the kernel keeps no schedstat: from stat, in ticks, without the time waited.
    pub fn usage(&self) -> io::Result<Usage> {
        match self.usage_of_threads() {
            Ok(usage) if !usage.ran.is_zero() => Ok(usage),
            _ => Ok(Usage { ran: self.cpu_in_ticks()?, waited: Duration::ZERO }),
        }
    }

    fn usage_of_threads(&self) -> io::Result<Usage> {
        let mut sum = Usage::default();
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let usage = Usage::read(&thread?.path().join("schedstat"))?;
            sum.ran += usage.ran;
            sum.waited += usage.waited;
        }
        Ok(sum)
    }

    fn cpu_in_ticks(&self) -> io::Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The second field is the name in parentheses, which may hold spaces; user and system time are fields 14 and 15.
        let mut fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11);
        let ticks = number(fields.next())? + number(fields.next())?;
        Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
    }

    /// Resident memory now, in KiB.
    pub fn rss_kib(&self) -> io::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most resident memory it ever had, in KiB.
    pub fn peak_rss_kib(&self) -> io::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        number(text.lines().find_map(|line| line.strip_prefix(key)).and_then(|rest| rest.split_whitespace().next()))
    }
}

fn number(text: Option<&str>) -> io::Result<u64> {
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| io::Error::other("/proc does not look as expected"))
}

/// A span of a run whose cost is measured.
pub struct Span {
    process: Process,
    server: Usage,
    generator: Usage,
    start: Instant,
}

/// What a span cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// What the server used.
    pub server: Usage,
    /// What the generator used.
    pub generator: Usage,
    /// Time on the wall.
    pub wall: Duration,
}

impl Span {
    /// Begins now.
    pub fn begin(process: Process) -> io::Result<Self> {
        Ok(Self { process, server: process.usage()?, generator: Usage::own(), start: Instant::now() })
    }

    /// Ends now.
    pub fn end(self) -> io::Result<Cost> {
        Ok(Cost {
            wall: self.start.elapsed(),
            server: self.process.usage()?.since(self.server),
            generator: Usage::own().since(self.generator),
        })
    }
}

impl Cost {
    /// Server processor time per one of `count`, in microseconds.
    pub fn per(&self, count: u64) -> f64 {
        micros(self.server.ran) / count.max(1) as f64
    }

    /// Generator processor time per one of `count`, in microseconds.
    pub fn own_per(&self, count: u64) -> f64 {
        micros(self.generator.ran) / count.max(1) as f64
    }

    /// How busy the server kept its core, in percent.
    pub fn load(&self) -> f64 {
        self.percent(self.server.ran)
    }

    /// For how much of the time server or generator had to wait because something else ran on their cores, in percent.
    /// Above a few percent, rates and latencies are not to be trusted; processor times suffer less.
    pub fn disturbance(&self) -> f64 {
        self.percent(self.server.waited.max(self.generator.waited))
    }

    /// How many of `count` there were a second.
    pub fn rate(&self, count: u64) -> f64 {
        count as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    fn percent(&self, part: Duration) -> f64 {
        100.0 * part.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

/// Latencies of single messages, in nanoseconds (4 s at most).
#[derive(Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Takes one.
    pub fn push(&mut self, nanos: u64) {
        self.0.push(u32::try_from(nanos).unwrap_or(u32::MAX));
    }

    /// The value that the share `share` (0 to 1) of all is at most, in microseconds; zero without any.
    pub fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let index = (share * self.0.len() as f64) as usize;
        self.0.get(index.min(self.0.len().saturating_sub(1))).map_or(0.0, |&nanos| f64::from(nanos) / 1e3)
    }
}

/// One figure of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measure {
    /// What it is.
    pub name: String,
    /// In what.
    pub unit: String,
    /// How much.
    pub value: f64,
}

impl Measure {
    /// A figure.
    pub fn new(name: &str, unit: &str, value: f64) -> Self {
        Self { name: name.into(), unit: unit.into(), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_cpu_time_and_memory() {
        let process = Process::new(std::process::id());
        let mut sum = 0_u64;
        let start = Usage::own();
        while Usage::own().since(start).ran < Duration::from_millis(30) {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(process.usage().expect("schedstat or stat").ran >= Duration::from_millis(20));
        assert!(process.cpu_in_ticks().expect("stat") > Duration::ZERO);
        assert!(process.rss_kib().expect("status") > 100);
        assert!(process.peak_rss_kib().expect("status") >= process.rss_kib().expect("status") / 2);
    }

    #[test]
    fn quantiles_are_of_the_sorted_values() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), 0.0);
        for value in (1..=100).rev() {
            latencies.push(value * 1000);
        }
        assert_eq!((latencies.quantile(0.5), latencies.quantile(0.99), latencies.quantile(1.0)), (51.0, 100.0, 100.0));
    }
}
