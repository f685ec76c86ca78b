//! A revocation at one edge holds at the others of the same broker, also if the broker was killed
//! in between.

use std::time::Instant;

use serde_json::json;

use crate::harness::{Answer, BRIDGE_SECRET, Credentials, DialError, Ended, Peer, Site, Wallet, eventually, post, request};

/// The secrets that the edges of one site share.
fn site() -> Site {
    Site::new()
        .with("broker.bridge_secret", BRIDGE_SECRET)
        .with("web.session_secret", "a-session-secret-of-the-suite-of-32-bytes")
}

/// A place for another edge of the same broker.
fn beside(first: &Site) -> Site {
    let mut other = site();
    other.broker = first.broker;
    other
}

/// Logs a session in; returns its credentials from then on.
async fn log_in(site: &Site, session: &Credentials, wallet: &Wallet) -> Credentials {
    let bearer = Some(session.token.as_str());
    let ask = json!({"address": wallet.address(), "chain_id": 1});
    let message = post(site.edge, "/auth/challenge", bearer, &ask).await.expect("an answer").json["message"].clone();
    let proof = json!({"message": message, "signature": wallet.sign(message.as_str().expect("a text"))});
    let answer = post(site.edge, "/auth/verify", bearer, &proof).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.json);
    Credentials { id: session.id.clone(), token: answer.json["token"].as_str().expect("a token").to_owned() }
}

async fn open(site: &Site, session: &Credentials) -> Peer {
    let mut peer = site.dial_session(session, "").await.expect("upgraded");
    peer.expect_ack(&session.id).await;
    peer.settle().await;
    peer
}

async fn describe(site: &Site, session: &Credentials) -> Answer {
    let path = format!("/api/client/{}", session.id);
    request(site.edge, "GET", &path, Some(&session.token)).await.expect("an answer")
}

async fn log_out(site: &Site, session: &Credentials) {
    let answer = request(site.edge, "POST", "/auth/logout", Some(&session.token)).await.expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.json);
}

#[tokio::test]
async fn a_logout_at_one_edge_holds_at_the_others_also_after_the_broker_was_killed() {
    let (first, wallet) = (site(), Wallet::new(7));
    let (second, third) = (beside(&first), beside(&first));
    let mut broker = first.broker_alone().await;
    let _edges = (first.edge_alone().await, second.edge_alone().await);
    let ended = log_in(&first, &first.register().await, &wallet).await;
    let other = log_in(&first, &first.register().await, &wallet).await;
    let mut sockets = [open(&first, &ended).await, open(&second, &ended).await];
    let mut others = [open(&first, &other).await, open(&second, &other).await];

    log_out(&first, &ended).await;
    let since = Instant::now();
    for socket in &mut sockets {
        assert_eq!(socket.ended().await, Ended::Code(4003));
    }
    eprintln!("its sockets were closed {:?} after the answer to the logout", since.elapsed());
    eventually("the other edge refuses", async || describe(&second, &ended).await.status == 401).await;
    eprintln!("the other edge refused {:?} after the answer to the logout", since.elapsed());
    assert_eq!(describe(&second, &ended).await.json["error"]["code"], "session_ended");
    assert!(matches!(second.dial_session(&ended, "").await, Err(DialError::Refused(401))));
    let fresh = request(second.edge, "POST", "/api/client", Some(&ended.token)).await.expect("an answer");
    assert_eq!(fresh.status, 201, "a page gets another session");
    assert_ne!(fresh.json["client_id"], json!(ended.id));
    for socket in &mut others {
        socket.settle().await;
    }
    open(&second, &other).await;

    broker.kill();
    let _broker = first.broker_alone().await;
    let _third = third.edge_alone().await;
    // An edge that does not know it yet may open the socket; then the broker refuses it.
    match third.dial_session(&ended, "").await {
        Ok(mut socket) => assert_eq!(socket.ended().await, Ended::Code(4003)),
        Err(refused) => assert!(matches!(refused, DialError::Refused(401)), "{refused:?}"),
    }
    assert_eq!(describe(&third, &ended).await.json["error"]["code"], "session_ended", "and it knows from then on");
    open(&third, &other).await;
}

#[tokio::test]
async fn a_login_at_one_edge_ends_the_older_token_at_the_others() {
    let first = site();
    let second = beside(&first);
    let _broker = first.broker_alone().await;
    let _edges = (first.edge_alone().await, second.edge_alone().await);
    let before = first.register().await;
    let mut planted = open(&second, &before).await;
    let after = log_in(&first, &before, &Wallet::new(8)).await;
    assert_eq!(planted.ended().await, Ended::Code(4001));
    eventually("the other edge refuses", async || describe(&second, &before).await.status == 401).await;
    assert_eq!(describe(&second, &before).await.json["error"]["code"], "credentials_expired");
    open(&second, &after).await;
}

#[tokio::test]
async fn revocations_made_while_the_broker_is_away_are_sent_when_it_is_back() {
    let first = site();
    let second = beside(&first);
    let mut broker = first.broker_alone().await;
    let _edges = (first.edge_alone().await, second.edge_alone().await);
    let session = first.register().await;
    broker.kill();
    log_out(&first, &session).await;
    assert_eq!(describe(&second, &session).await.status, 200, "nobody has told it");
    let _broker = first.broker_alone().await;
    eventually("the other edge refuses", async || describe(&second, &session).await.status == 401).await;
}
