//! The cost of a span of a run: processor time of both sides, and how much other processes
//! disturbed them.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::process::{Process, from_ticks, number};
use crate::server::Cores;

/// A span of a run whose cost is measured.
pub struct Span {
    process: Process,
    cores: Cores,
    server: Duration,
    generator: Duration,
    busy: Vec<Duration>,
    start: Instant,
}

/// What a span cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Processor time of the server.
    pub server: Duration,
    /// Processor time of the generator.
    pub generator: Duration,
    /// Elapsed time.
    pub wall: Duration,
    /// How long other processes ran on the core of the server or of the generator, whichever is
    /// more; zero if they have no cores of their own.
    foreign: Duration,
}

impl Span {
    /// Starts the span.
    pub fn begin(process: Process, cores: Cores) -> io::Result<Self> {
        let busy = busy_times()?;
        Ok(Self { process, cores, server: process.cpu()?, generator: own_cpu(), busy, start: Instant::now() })
    }

    /// Ends the span.
    pub fn end(self) -> io::Result<Cost> {
        let wall = self.start.elapsed();
        let server = self.process.cpu()?.saturating_sub(self.server);
        let generator = own_cpu().saturating_sub(self.generator);
        let busy = busy_times()?;
        let foreign = |core: Option<usize>, own: Duration| {
            let of = |times: &[Duration]| core.and_then(|core| times.get(core).copied()).unwrap_or_default();
            of(&busy).saturating_sub(of(&self.busy)).saturating_sub(own)
        };
        let foreign = foreign(self.cores.server(), server).max(foreign(self.cores.generator(), generator));
        Ok(Cost { server, generator, wall, foreign })
    }
}

impl Cost {
    /// Server processor time for each of `count`, in microseconds.
    pub fn per(&self, count: u64) -> f64 {
        micros(self.server) / count.max(1) as f64
    }

    /// Generator processor time for each of `count`, in microseconds.
    pub fn own_per(&self, count: u64) -> f64 {
        micros(self.generator) / count.max(1) as f64
    }

    /// How busy the server kept its core, in percent.
    pub fn load(&self) -> f64 {
        self.percent(self.server)
    }

    /// The share of the time in which other processes ran on the core of server or generator, in
    /// percent. Above a few percent, do not trust rates and latencies; processor times suffer less.
    pub fn disturbance(&self) -> f64 {
        self.percent(self.foreign)
    }

    /// `count` as a rate per second.
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

/// Processor time of the calling thread so far.
pub(super) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How long each core has been busy so far, by its number.
fn busy_times() -> io::Result<Vec<Duration>> {
    let text = fs::read_to_string("/proc/stat")?;
    let mut times = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let core = fields.next().and_then(|name| name.strip_prefix("cpu")).and_then(|digits| digits.parse::<usize>().ok());
        let Some(core) = core else {
            continue;
        };
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first
        // two
        let fields: Vec<u64> = fields.take(8).map(|field| number(Some(field))).collect::<io::Result<_>>()?;
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        times.resize(times.len().max(core + 1), Duration::ZERO);
        if let Some(time) = times.get_mut(core) {
            *time = from_ticks(fields.iter().sum::<u64>() - idle);
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_has_a_busy_time() {
        let times = busy_times().expect("/proc/stat");
        assert!(!times.is_empty());
        assert!(times.iter().any(|time| !time.is_zero()));
    }

    #[test]
    fn costs_are_shared_out() {
        let cost = Cost {
            server: Duration::from_millis(500),
            generator: Duration::from_millis(100),
            wall: Duration::from_secs(1),
            foreign: Duration::from_millis(20),
        };
        assert_eq!((cost.per(1000), cost.own_per(1000), cost.rate(1000)), (500.0, 100.0, 1000.0));
        assert_eq!((cost.load(), cost.disturbance()), (50.0, 2.0));
    }
}
