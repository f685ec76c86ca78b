//! Attacks on shared tables.

use std::{net::Ipv4Addr, sync::atomic::Ordering::Relaxed, time::Duration};

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::attacks::{Attackers, BREATH, MOMENT};
use crate::harness::{Credentials, Peer, Site};

/// Topics that one attacker asks for before it pauses.
const AT_ONCE: usize = 50;

impl Attackers {
    /// Sessions that subscribe to ever more topics.
    pub fn topic_flood(&mut self, from: Ipv4Addr, site: &Site, sessions: Vec<Credentials>) {
        let edge = site.edge;
        for session in sessions {
            self.start(async move |counts| {
                loop {
                    let Ok(mut peer) = Peer::dial_from(from, edge, &format!("/ws/{}", session.id), &session.token).await else {
                        sleep(MOMENT).await;
                        continue;
                    };
                    counts.connections.fetch_add(1, Relaxed);
                    for number in 0.. {
                        let topic = format!("flood/{}/{number}", session.id);
                        if peer.feed(json!({"type":"topic:subscribe","payload":{"topic":topic}})).await.is_err() {
                            break;
                        }
                        counts.messages.fetch_add(1, Relaxed);
                        if number % AT_ONCE == 0 {
                            while let Ok(Ok(frame)) = timeout(Duration::from_millis(1), peer.receive()).await {
                                counts.refused.fetch_add(u64::from(frame["type"] == "system:error"), Relaxed);
                            }
                            sleep(BREATH).await;
                        }
                    }
                }
            });
        }
    }
}
