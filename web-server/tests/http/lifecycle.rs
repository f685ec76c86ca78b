//! Sessions that end, tokens that run out, servers that drain.

use std::time::Duration;

use crate::{
    broker::Broker,
    harness::{Edge, in_time},
    proxy::pair,
};

#[actix_web::test]
async fn ending_a_session_closes_its_sockets_and_no_others() {
    let (mut broker, edge, mut browser, mut link) = pair().await;
    let mut other = edge.browser().await;
    let mut other_link = broker.link().await;
    let bearer = format!("Bearer {}", browser.token);
    assert_eq!(edge.request("DELETE", "/api/client/session", &[("Authorization", &bearer)]).await.status, 204);
    assert_eq!(browser.closed().await.0, 4003);
    assert_eq!(link.closed().await, 4003);
    other.say("still here").await;
    assert_eq!(other_link.text().await, "still here");
    let refused = edge.refused_upgrade("/ws", &[("Authorization", &bearer)]).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "session_ended"));
}

#[actix_web::test]
async fn a_socket_is_closed_before_its_token_runs_out() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        settings.web.broker_url = Some(broker.url());
        settings.web.session_ttl = Duration::from_secs(2);
    });
    let mut browser = edge.browser().await;
    let mut link = broker.link().await;
    assert_eq!(browser.closed().await.0, 4001);
    assert_eq!(link.closed().await, 4001);
}

#[actix_web::test]
async fn a_draining_edge_says_so_closes_everything_and_ends() {
    let (mut broker, edge, mut browser, mut link) = pair().await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push((edge.browser().await, broker.link().await));
    }
    let (_, token) = edge.session().await;
    let told = async {
        let draining = browser.envelope().await;
        assert_eq!((&draining["type"], &draining["source"]), (&"system:draining".into(), &"edge".into()));
        assert!(draining["payload"]["close_within_ms"].is_u64());
        let ready = edge.get("/health/ready").await;
        assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("draining")));
        let refused = edge.refused_upgrade("/ws", &[("Authorization", &format!("Bearer {token}"))]).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (503, "not_ready"));
        assert_eq!(browser.closed().await.0, 1012);
        assert_eq!(link.closed().await, 1012);
        for (mut browser, mut link) in others {
            assert_eq!((browser.closed().await.0, link.closed().await), (1012, 1012));
        }
    };
    let ((), ()) = in_time("the drain", async { tokio::join!(edge.handle.drain(), told) }).await;
    assert!(tokio::net::TcpStream::connect(edge.host()).await.is_err(), "nobody listens any more");
}
