//! Has the disk take the write-ahead log while it is written.
//!
//! Without [`crate::Durability::Fsync`] only a checkpoint syncs the log, while the writer stands still; what this thread has synced by then need
//! not be waited for. It promises nothing: that the log is on the disk is only known from the checkpoint's own sync.

use std::{
    fs::File,
    path::Path,
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
};

/// A thread that syncs a file when asked. Ends when dropped.
#[derive(Debug)]
pub(super) struct SyncAhead {
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SyncAhead {
    /// Starts it for a write-ahead log. Not for a database: SQLite loses its locks on one when any other handle to it is closed.
    pub(super) fn start(log: &Path) -> std::io::Result<Self> {
        let log = File::open(log)?;
        let (ask, asked) = sync_channel(1);
        let thread = std::thread::Builder::new().name("store-sync".to_owned()).spawn(move || {
            while asked.recv().is_ok() {
                // A failure is reported to every handle of the file: SQLite hears of it at its own sync.
                let _ = log.sync_data();
            }
        })?;
        Ok(Self { ask: Some(ask), thread: Some(thread) })
    }

    /// Asks for a sync, and does not wait for it. One that is asked for already covers this one.
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
