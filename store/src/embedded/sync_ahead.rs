//! Makes the disk write the write-ahead log early.
//!
//! Without [`crate::Durability::Fsync`] only a checkpoint syncs the log, and the writer waits for
//! it. What this thread has synced by then takes no more time. It guarantees nothing: only the
//! checkpoint's own sync shows that the log is on the disk.

use std::{
    fs::File,
    path::Path,
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
};

/// A thread that syncs a file on request. Ends when dropped.
#[derive(Debug)]
pub(super) struct SyncAhead {
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SyncAhead {
    /// Starts it for a write-ahead log. Not for a database: SQLite loses its locks on one when any
    /// other handle to it is closed.
    pub(super) fn start(log: &Path) -> std::io::Result<Self> {
        let log = File::open(log)?;
        let (ask, asked) = sync_channel(1);
        let thread = std::thread::Builder::new().name("store-sync".to_owned()).spawn(move || {
            while asked.recv().is_ok() {
                // A failure is reported to every handle of the file: SQLite gets it at its own
                // sync.
                let _ = log.sync_data();
            }
        })?;
        Ok(Self { ask: Some(ask), thread: Some(thread) })
    }

    /// Requests a sync, and does not wait for it. A pending request covers this one.
    pub(super) fn ask(&self) {
        let _ = self.ask.as_ref().map(|ask| ask.try_send(()));
    }
}

impl Drop for SyncAhead {
    fn drop(&mut self) {
        self.ask.take();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that syncs the store's log has panicked");
        }
    }
}
