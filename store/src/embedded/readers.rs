//! The threads that read.
//!
//! Each has its own connection. In SQLite's write-ahead mode they and the writer do not wait for
//! one another. The number of waiting reads is bounded; further callers wait for a place, in order.

use std::{collections::VecDeque, path::Path, sync::Arc, thread::JoinHandle};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::file;
use crate::{api::Reply, error::StoreError};

type Look = Box<dyn FnOnce(&Connection) + Send>;

struct Waiting {
    line: Mutex<(VecDeque<Look>, bool)>,
    filled: Condvar,
    places: Arc<Semaphore>,
}

/// Hands reads to the threads.
#[derive(Clone)]
pub(super) struct Readers {
    waiting: Arc<Waiting>,
}

impl Readers {
    /// Opens the connections and starts the threads.
    pub(super) fn start(
        database: &Path,
        vfs: Option<&str>,
        threads: usize,
        places: usize,
    ) -> Result<(Self, Vec<JoinHandle<()>>), StoreError> {
        let waiting = Arc::new(Waiting {
            line: Mutex::new((VecDeque::new(), true)),
            filled: Condvar::new(),
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
        });
        let readers = Self { waiting };
        let mut handles = Vec::new();
        for number in 0..threads {
            let conn = file::open_reader(database, vfs)?;
            let waiting = Arc::clone(&readers.waiting);
            let handle = std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || serve(&waiting, &conn))
                .map_err(|error| file::io_error(&error))?;
            handles.push(handle);
        }
        Ok((readers, handles))
    }

    /// Executes a read.
    pub(super) fn read<T, F>(&self, look: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let waiting = Arc::clone(&self.waiting);
        Box::pin(async move {
            let place = Arc::clone(&waiting.places).acquire_owned().await.map_err(|_| StoreError::Closed)?;
            let (reply, answer) = oneshot::channel();
            {
                let mut line = waiting.line.lock();
                if !line.1 {
                    return Err(StoreError::Closed);
                }
                line.0.push_back(Box::new(move |conn| {
                    // The place is given back when the read is done, also if nobody waits for it
                    // any more.
                    let _place = place;
                    let _ = reply.send(snapshot(conn, look));
                }));
            }
            waiting.filled.notify_one();
            answer.await.unwrap_or(Err(StoreError::Closed))
        })
    }

    /// Accepts nothing more. The threads end when everything that waits is done.
    pub(super) fn close(&self) {
        self.waiting.line.lock().1 = false;
        self.waiting.places.close();
        self.waiting.filled.notify_all();
    }
}

fn serve(waiting: &Waiting, conn: &Connection) {
    loop {
        let look = {
            let mut line = waiting.line.lock();
            loop {
                if let Some(look) = line.0.pop_front() {
                    break look;
                }
                if !line.1 {
                    return;
                }
                waiting.filled.wait(&mut line);
            }
        };
        look(conn);
    }
}

/// Runs several statements on one state of the file.
fn snapshot<T>(conn: &Connection, look: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let transaction = conn.unchecked_transaction()?;
    let found = look(&transaction)?;
    transaction.finish()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_that_wait_are_done_and_later_ones_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("any.db");
        Connection::open(&path)
            .and_then(|conn| conn.execute_batch("CREATE TABLE one (n); INSERT INTO one VALUES (1)"))
            .expect("a file");
        let (readers, handles) = Readers::start(&path, None, 2, 1).expect("starts");
        let read = || readers.read(|conn| Ok(conn.query_row("SELECT n FROM one", [], |row| row.get::<_, i64>(0))?));
        let answers = futures_util::future::join_all((0..10).map(|_| read())).await;
        assert!(answers.iter().all(|answer| *answer == Ok(1)), "{answers:?}");
        readers.close();
        assert_eq!(read().await, Err(StoreError::Closed));
        for handle in handles {
            handle.join().expect("no panic");
        }
    }
}
