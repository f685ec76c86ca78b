//! Orders and renews the certificate when due. If an order fails, the current one stays in use.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, time::sleep};

use super::{
    Order, OrderError, exchange,
    schedule::{self, Failure},
};
use crate::server::ServerTls;

/// How often to check whether another process has finished its order.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);
/// Longest sleep. The clock may be set and files replaced by hand, so the state is checked again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

/// Orders and renews the certificate for as long as the future is polled. Never returns an error:
/// failures go to the log and the server's status, and the order is retried. `hurry` ends a wait.
pub(crate) async fn keep(order: Order, server: Arc<ServerTls>, hurry: Arc<Notify>) {
    let mut hurried = false;
    loop {
        let next = step(&order, hurried).await.unwrap_or_else(|error| {
            tracing::error!(%error, "no certificate can be ordered");
            Next { fault: Some(error.to_string()), wait: schedule::wait_after(1, chance()) }
        });
        server.set_order_fault(next.fault);
        server.reload_if_changed();
        hurried = tokio::select! {
            () = sleep(next.wait) => false,
            () = hurry.notified() => true,
        };
    }
}

/// The result of one check.
struct Next {
    /// The current fault, if any.
    fault: Option<String>,
    /// Time until the next check.
    wait: Duration,
}

/// Orders if the certificate is due. `hurried` ignores the wait after a failure.
async fn step(order: &Order, hurried: bool) -> Result<Next, OrderError> {
    let Order { place, domains, .. } = order;
    if let Some(wait) = until_due(order) {
        return Ok(Next { fault: None, wait });
    }
    place.make()?;
    let Some(_lock) = place.lock()? else {
        return Ok(Next { fault: place.failure(domains).map(|failure| failure.why), wait: WAIT_FOR_OTHERS });
    };
    // Somebody may have ordered between the look and the lock.
    if let Some(wait) = until_due(order) {
        return Ok(Next { fault: None, wait });
    }
    let before = place.failure(domains);
    if let Some(failure) = &before
        && let Some(wait) = failure.left(SystemTime::now()).filter(|_| !hurried)
    {
        return Ok(Next { fault: Some(failure.why.clone()), wait });
    }
    tracing::info!(?domains, directory = %order.directory_url, "ordering a certificate");
    match exchange::order(order).await {
        Ok(facts) => {
            tracing::info!(names = ?facts.names, "a certificate was ordered");
            place.keep_failure(None)?;
            // If this machine's clock is wrong, the new certificate may be due at once. Wait all
            // the same.
            Ok(Next { fault: None, wait: until_due(order).unwrap_or_else(|| schedule::wait_after(1, chance())) })
        }
        Err(error) => {
            let (failure, wait) = Failure::after(before.as_ref(), error.to_string(), domains, SystemTime::now(), chance());
            tracing::error!(%error, retry_in_s = wait.as_secs(), "the certificate could not be ordered; send SIGHUP to try again at once");
            place.keep_failure(Some(&failure))?;
            Ok(Next { fault: Some(failure.why), wait })
        }
    }
}

/// Time until the next order is due; `None` if it is due now.
fn until_due(order: &Order) -> Option<Duration> {
    let due = schedule::due(order.place.facts().as_ref(), &order.domains);
    due.duration_since(SystemTime::now()).ok().filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST_SLEEP))
}

/// A random number from 0 to 1; 0 if the system gives none.
fn chance() -> f64 {
    getrandom::u32().map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX))
}
