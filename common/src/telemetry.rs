//! Logging of `tracing` events.
//!
//! Owns the process's only subscriber: lines on stderr, as text or JSON, filtered by `log.filter`.
//! Binaries call [`init`] once, after the configuration is loaded; libraries and tests never do.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{MakeWriter, fmt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSettings};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is invalid.
    #[error("log.filter is invalid: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a subscriber already.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Sends the events of this process to stderr from now on.
///
/// # Errors
/// The filter is wrong, or logging was set up before.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    subscriber(settings, colours, std::io::stderr)?.try_init().map_err(|_| TelemetryError::AlreadySet)
}

fn subscriber<W>(settings: &LogSettings, colours: bool, writer: W) -> Result<tracing::Dispatch, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(&settings.filter)?;
    // A line that cannot be written is lost. Reporting that on stderr would panic if stderr itself
    // cannot be written, as on a full disk.
    let lines = fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    Ok(match settings.format {
        LogFormat::Text => lines.with_ansi(colours).finish().into(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().into(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let page = Page::default();
        let writer = page.clone();
        let settings = LogSettings { filter: filter.into(), format };
        let dispatch = subscriber(&settings, false, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(agent = "demo", "agent connected");
            tracing::debug!("not for everybody");
        });
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_lines_follow_the_filter() {
        let text = logged("info", LogFormat::Text);
        assert!(text.contains("INFO") && text.contains("agent connected agent=\"demo\""), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert_eq!(logged("debug", LogFormat::Text).lines().count(), 2);
        assert_eq!(logged("off", LogFormat::Text), "");
    }

    #[test]
    fn json_lines_have_their_fields_at_the_top() {
        let line: serde_json::Value = serde_json::from_str(&logged("info", LogFormat::Json)).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["agent"]),
            (&"INFO".into(), &"agent connected".into(), &"demo".into())
        );
    }

    #[test]
    fn a_bad_filter_is_an_error() {
        let settings = LogSettings { filter: "info,x=loud".into(), format: LogFormat::Text };
        assert!(matches!(subscriber(&settings, false, io::stderr), Err(TelemetryError::Filter(_))));
    }
}
