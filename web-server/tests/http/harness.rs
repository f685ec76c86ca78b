//! Starts edges and waits for conditions.

use std::time::{Duration, Instant};

use common::config::Settings;
use web_server::{Beside, EdgeHandle};

use crate::client::Answer;

/// The longest that anything in these tests may take.
pub const LIMIT: Duration = Duration::from_secs(15);

/// A running edge at a port of its own.
pub struct Edge {
    pub handle: EdgeHandle,
    pub settings: Settings,
    /// Its data folder.
    pub data: tempfile::TempDir,
}

impl Edge {
    /// An edge with test settings.
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    /// An edge with test settings and changes to them.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::for_tests();
        // Nobody listens there: each test that needs a broker sets its own URL.
        settings.web.broker_url = Some("ws://127.0.0.1:9".to_owned());
        let data = tempfile::tempdir().expect("temp dir");
        settings.data.dir = data.path().to_owned();
        change(&mut settings);
        let handle = web_server::start(&settings).expect("the edge starts");
        Self { handle, settings, data }
    }

    /// An edge beside a broker in this process.
    pub fn beside(broker: impl Into<Beside>) -> Self {
        let mut settings = Settings::for_tests();
        let data = tempfile::tempdir().expect("temp dir");
        settings.data.dir = data.path().to_owned();
        let handle = web_server::start_beside(&settings, broker).expect("the edge starts");
        Self { handle, settings, data }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.handle.addr().to_string()
    }
}

/// The result of the future, which must come in time.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("not in time: {what}"),
    }
}

/// Asks again and again until the answer is there.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The first answer with 429 of at most ten, or the last one. If requests are so far apart that the
/// rate has refilled, as on a busy machine, they are let through. `ask` gets the number of the
/// attempt.
pub async fn until_refused(mut ask: impl AsyncFnMut(usize) -> Answer) -> Answer {
    for attempt in 0..9 {
        let answer = ask(attempt).await;
        if answer.status == 429 {
            return answer;
        }
    }
    ask(9).await
}
