//! How long the tests wait.

use std::time::Duration;

use tokio::task::JoinSet;

/// How long anything may take before a test fails. Long, for machines that do other things at the
/// same time.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How often a condition is checked.
const POLL: Duration = Duration::from_millis(10);

/// The outcome of `work`, which must not take longer than [`LIMIT`].
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {LIMIT:?}: {what}"),
    }
}

/// Waits until `check` holds.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !check().await {
            tokio::time::sleep(POLL).await;
        }
    };
    in_time(what, holds).await;
}

/// Runs all at the same time, each as a task of its own, and fails with the first that fails. The
/// outcomes are in no order.
pub async fn everyone<T: Send + 'static>(all: impl IntoIterator<Item: Future<Output = T> + Send + 'static>) -> Vec<T> {
    let tasks: JoinSet<T> = all.into_iter().collect();
    tasks.join_all().await
}
