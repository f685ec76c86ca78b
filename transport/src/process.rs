//! A process that serves until it is told to stop. The daemon and the programs of a single part
//! share this.
//!
//! SIGTERM or SIGINT drains the part, and the process ends with 0. A second signal ends the process
//! at once. SIGHUP makes the part read its files again. If the part fails, the process ends with a
//! failure, so that its supervisor starts it again.

use std::{error::Error, future::pending, io, process::ExitCode, time::Duration};

use common::{
    config::{self, Inputs, Role, Settings},
    open_files, telemetry,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// How much longer than `drain.timeout` draining may take before the process ends without it.
const GRACE: Duration = Duration::from_secs(3);

/// What a process serves: the broker, the edge, or both.
pub trait Part {
    /// Reads again what can change without a restart: keys and certificates.
    fn reload(&self) -> impl Future<Output = ()>;

    /// Resolves when the part has failed and is useless.
    fn failed(&self) -> impl Future<Output = ()> {
        pending()
    }

    /// Ends the part in an orderly way, within `drain.timeout`.
    fn drain(self) -> impl Future<Output = ()>;
}

/// The signals that a process listens for: those that stop it, and SIGHUP.
#[derive(Debug)]
pub struct Signals {
    stops: Stops,
    hangup: Signal,
}

/// The signals that stop a process.
#[derive(Debug)]
pub struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl Signals {
    /// Listens from now on. Must be called inside the runtime. A write beyond the file size limit
    /// then fails like one to a full disk, instead of ending the process by SIGXFSZ.
    ///
    /// # Errors
    /// The system does not let the process listen.
    pub fn listen() -> io::Result<Self> {
        // Once listened for, a signal never has its default effect again.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Self { stops: Stops::listen()?, hangup: signal(SignalKind::hangup())? })
    }
}

impl Stops {
    /// Listens from now on. Must be called inside the runtime.
    ///
    /// # Errors
    /// The system does not let the process listen.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal that stops the process.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

impl Stop {
    /// The exit code of a process that this signal ended: 128 plus the signal's number.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Terminate => ExitCode::from(143),
            Self::Interrupt => ExitCode::from(130),
        }
    }
}

/// Serves until a signal comes or the part fails, then drains the part within `drain` and a grace
/// period. Returns the exit code of the process.
pub async fn serve(part: impl Part, mut signals: Signals, drain: Duration) -> ExitCode {
    let Signals { hangup, stops } = &mut signals;
    let reloading = async {
        while hangup.recv().await.is_some() {
            part.reload().await;
        }
        pending::<()>().await;
    };
    tokio::select! {
        stop = stops.next() => tracing::info!(signal = ?stop, "draining"),
        () = reloading => {}
        () = part.failed() => {
            tracing::error!("a part of the process failed: the process ends");
            return ExitCode::FAILURE;
        }
    }
    tokio::select! {
        drained = timeout(drain + GRACE, part.drain()) => {
            match drained {
                Ok(()) => tracing::info!("drained"),
                Err(_) => tracing::warn!("draining took too long: the process ends anyway"),
            }
            ExitCode::SUCCESS
        }
        stop = signals.stops.next() => {
            tracing::warn!(signal = ?stop, "the process ends at once");
            stop.exit_code()
        }
    }
}

/// The `main` of a program that serves a single part. Its arguments are those of
/// [`Inputs::from_arguments`]; `faults` finds what is wrong with the settings before anything
/// starts.
pub fn run<P: Part>(
    program: &str,
    role: Role,
    faults: fn(&Settings) -> Vec<(&'static str, String)>,
    start: impl AsyncFnOnce(&Settings) -> Result<P, Box<dyn Error>>,
) -> ExitCode {
    let served = || -> Result<ExitCode, Box<dyn Error>> {
        let loaded = config::load(&Inputs::from_arguments(std::env::args().skip(1))?, role)?;
        let found = faults(loaded.settings());
        let loaded = loaded.checked(found)?;
        telemetry::init(&loaded.settings().log)?;
        common::core_dumps::forbid();
        open_files::raise_limit();
        let settings = loaded.resolve_secrets()?;
        actix_rt::System::new().block_on(async {
            let signals = Signals::listen()?;
            Ok(serve(start(&settings).await?, signals, settings.drain.timeout).await)
        })
    };
    served().unwrap_or_else(|error| {
        eprintln!("{program}: {error}");
        ExitCode::FAILURE
    })
}
