//! Why a bench run as a whole fails.

use std::io;
use std::path::PathBuf;

use crate::report::Report;

/// Why a bench run fails.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A case found a fault. The report is complete otherwise and has been printed.
    #[error("{} of {} runs failed", .0.failed(), .0.runs())]
    Failed(Box<Report>),
    /// The generator's own set-up failed.
    #[error("preparing the generator: {0}")]
    Io(#[from] io::Error),
    /// The JSON file could not be written.
    #[error("writing {path}: {error}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The thread that runs the cases has panicked.
    #[error("the generator's thread panicked")]
    Panicked,
}
