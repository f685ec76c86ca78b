//! Orders when it is time, and goes on serving with what there is when that fails.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, time::sleep};

use super::{Order, OrderError, exchange, schedule};
use crate::server::ServerTls;

/// How often it is looked whether somebody else is done ordering.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);
/// Longest sleep: clocks are set, and files replaced by hand.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

/// Sees to it that there is a certificate, for as long as it is polled. Never fails: what went wrong is in the log and in the server's
/// status, and it is tried again.
/// `hurry` cuts a wait short.
pub(crate) async fn keep(order: Order, server: Arc<ServerTls>, hurry: Arc<Notify>) {
    let mut failures = 0;
    loop {
        let wait = match step(&order).await {
            Ok(wait) => {
                failures = 0;
                server.set_order_fault(None);
                wait
            }
            Err(error) => {
                failures += 1;
                let wait = schedule::wait_after(failures, chance());
                tracing::error!(%error, retry_in_s = wait.as_secs(), "no certificate was ordered");
                server.set_order_fault(Some(error.to_string()));
                wait
            }
        };
        server.reload_if_changed();
        tokio::select! {
            () = sleep(wait) => {}
            () = hurry.notified() => {}
        }
    }
}

/// Orders if it is time, and says how long to wait until the next look.
async fn step(order: &Order) -> Result<Duration, OrderError> {
    let place = &order.place;
    if let Some(wait) = until_due(order) {
        return Ok(wait);
    }
    place.make()?;
    let Some(_lock) = place.lock()? else { return Ok(WAIT_FOR_OTHERS) };
    // Somebody may have ordered between the look and the lock.
    if let Some(wait) = until_due(order) {
        return Ok(wait);
    }
    tracing::info!(domains = ?order.domains, directory = %order.directory_url, "ordering a certificate");
    let facts = exchange::order(order).await?;
    tracing::info!(names = ?facts.names, "a certificate was ordered");
    // One that is due as it comes, as where the clock here is wrong, is no reason to order without pause.
    Ok(until_due(order).unwrap_or_else(|| schedule::wait_after(1, chance())))
}

/// How long there is nothing to do; `None`: it is time.
fn until_due(order: &Order) -> Option<Duration> {
    let due = schedule::due(order.place.facts().as_ref(), &order.domains);
    due.duration_since(SystemTime::now()).ok().filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST_SLEEP))
}

/// A random number from 0 to 1; without randomness everybody waits longest.
fn chance() -> f64 {
    getrandom::u32().map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX))
}
