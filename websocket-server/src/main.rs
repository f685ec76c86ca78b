//! The broker as a process of its own. `agent-bridge broker` does the same with a fuller command line.

use std::{error::Error, process::ExitCode};

use common::{
    config::{self, Inputs, Role, Settings},
    open_files, telemetry,
};
use tokio::signal::unix::{SignalKind, signal};
use websocket_server::{faults, start};

fn main() -> ExitCode {
    let run = || actix_rt::System::new().block_on(serve(settings()?));
    run().unwrap_or_else(|error| {
        eprintln!("websocket-server: {error}");
        ExitCode::FAILURE
    })
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let loaded = config::load(&Inputs::from_arguments(std::env::args().skip(1))?, Role::Broker)?;
    let found = faults(loaded.settings());
    let loaded = loaded.checked(found)?;
    telemetry::init(&loaded.settings().log)?;
    common::core_dumps::forbid();
    open_files::raise_limit();
    Ok(loaded.resolve_secrets()?)
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends the process at once. At SIGHUP the agent keys and the
/// certificate are read again.
async fn serve(settings: Settings) -> Result<ExitCode, Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let broker = start(&settings).await?;
    let reloading = async {
        while hangup.recv().await.is_some() {
            broker.reload_keys().await;
            broker.reload_certificate().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = broker.failed() => return Ok(ExitCode::FAILURE),
        () = reloading => {}
    }
    tokio::select! {
        _ = broker.drain() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
    }
}
