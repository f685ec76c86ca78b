//! Attacks on an agent: on its attention, and on its id.

use std::{net::Ipv4Addr, sync::atomic::Ordering::Relaxed};

use tokio::time::sleep;

use super::attacks::{Attackers, BREATH, MOMENT, flood};
use crate::harness::{AGENT_KEY, Credentials, Ended, Peer, Site};

impl Attackers {
    /// Sessions that send to the agent that honest clients ask, as fast as they can.
    pub fn flood_at_agent(&mut self, from: Ipv4Addr, site: &Site, sessions: Vec<Credentials>, agent: &'static str) {
        let edge = site.edge;
        for session in sessions {
            self.start(async move |counts| {
                loop {
                    let path = format!("/ws/{}", session.id);
                    let Ok(mut peer) = Peer::dial_from(from, edge, &path, &session.token).await else {
                        sleep(MOMENT).await;
                        continue;
                    };
                    counts.connections.fetch_add(1, Relaxed);
                    match flood(&mut peer, agent, &counts).await {
                        Ended::Code(4029) => counts.closed_4029.fetch_add(1, Relaxed),
                        _ => counts.turned_away.fetch_add(1, Relaxed),
                    };
                    sleep(MOMENT).await;
                }
            });
        }
    }

    /// Agents with a valid key that use one id, and reconnect at once whenever one takes over from
    /// another.
    pub fn takeovers(&mut self, from: Ipv4Addr, site: &Site, contenders: usize) {
        let broker = site.broker;
        for _ in 0..contenders {
            self.start(async move |counts| {
                loop {
                    if let Ok(mut peer) = Peer::dial_from(from, broker, "/ws/agent?agent_id=contested", AGENT_KEY).await {
                        counts.connections.fetch_add(1, Relaxed);
                        while peer.receive().await.is_ok() {}
                        counts.turned_away.fetch_add(1, Relaxed);
                    }
                    sleep(BREATH).await;
                }
            });
        }
    }
}
