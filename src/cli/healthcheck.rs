//! `agent-bridge healthcheck`: asks the listeners whether they are ready, for container runtimes
//! that have no curl.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use common::config::{Settings, dialable};
use tls::{ClientTls, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use transport::connect;

use super::serve::block_on;

/// How long a listener may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Options of `agent-bridge healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// What must be ready.
    #[arg(long, value_enum, default_value = "daemon")]
    part: Part,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    /// Broker and edge.
    Daemon,
    /// The broker.
    Broker,
    /// The edge.
    Web,
}

/// Succeeds if everything that was asked for is ready.
pub fn run(args: &HealthcheckArgs, settings: &Settings) -> Result<ExitCode> {
    let broker = (settings.broker.addr, settings.broker.tls.is_on());
    let web = (settings.web.addr, settings.web.tls.is_on());
    let listeners: &[(SocketAddr, bool)] = match args.part {
        Part::Daemon => &[broker, web],
        Part::Broker => &[broker],
        Part::Web => &[web],
    };
    block_on(async {
        for (addr, under_tls) in listeners {
            let addr = dialable(*addr);
            let url = format!("{}://{addr}/health/ready", if *under_tls { "https" } else { "http" });
            let status = timeout(PATIENCE, ask(addr, *under_tls)).await.unwrap_or_else(|_| Err(anyhow!("it takes too long")));
            let status = status.with_context(|| format!("{url} does not answer"))?;
            if status != "200" {
                bail!("{url} answers {status}");
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The status of `GET /health/ready`.
async fn ask(addr: SocketAddr, under_tls: bool) -> Result<String> {
    // The certificate is for a name, not for this address. Nothing secret is sent here.
    let tls = under_tls.then(|| ClientTls::new(Trust::Anybody)).transpose()?;
    let mut stream = connect(&addr.to_string(), tls.as_ref()).await?;
    let request = format!("GET /health/ready HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    // "HTTP/1.1 200"
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let head = std::str::from_utf8(&head).ok().and_then(|head| head.strip_prefix("HTTP/1.1 "));
    Ok(head.context("the answer is not HTTP")?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn check(answer: &'static str) -> Result<ExitCode> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut settings = Settings::for_tests();
        settings.broker.addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let result = run(&HealthcheckArgs { part: Part::Broker }, &settings);
        assert!(server.join().unwrap().starts_with("GET /health/ready HTTP/1.1\r\n"));
        result
    }

    #[test]
    fn ready_is_success_and_anything_else_is_not() {
        assert!(check("HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(check("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().to_string().contains("answers 503"));
        assert!(check("SSH-2.0-OpenSSH_9").is_err());
    }

    #[test]
    fn no_listener_is_a_failure() {
        let mut settings = Settings::for_tests();
        settings.broker.addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(run(&HealthcheckArgs { part: Part::Broker }, &settings).is_err());
    }
}
