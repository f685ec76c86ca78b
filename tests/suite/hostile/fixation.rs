//! A session that an attacker planted in somebody's browser, who then logs in to it.

use serde_json::json;

use crate::harness::{DialError, Ended, Site, Wallet, post, request};

#[tokio::test]
async fn a_planted_session_is_worth_nothing_after_the_login() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let mut agent = site.agent("a").await;
    // The attacker has the session, the victim's browser the same cookie; the victim logs in with a
    // wallet.
    let planted = site.register().await;
    let mut attacker = site.dial_session(&planted, "").await.expect("upgraded");
    attacker.expect_ack(&planted.id).await;
    let mut victim = site.dial_session(&planted, "").await.expect("upgraded");
    let ack = victim.expect("connection:ack").await;
    let wallet = Wallet::new(9);
    let bearer = Some(planted.token.as_str());
    let ask = json!({"address":wallet.address()});
    let message = post(site.edge, "/auth/challenge", bearer, &ask).await.expect("an answer").json["message"].clone();
    let message = message.as_str().expect("a message");
    let proof = json!({"message":message,"signature":wallet.sign(message),"sockets":[ack["payload"]["socket_id"]]});
    let login = post(site.edge, "/auth/verify", bearer, &proof).await.expect("an answer");
    assert_eq!(login.status, 200, "{}", login.json);
    victim.expect("session:identified").await;

    // What is sent from now on is the victim's alone.
    let target = format!("session:{}", planted.id);
    agent.send(json!({"id":"1","type":"news:secret","target":target,"delivery":"durable"})).await;
    agent.expect("message:accepted").await;
    victim.expect("news:secret").await;
    loop {
        match attacker.try_next().await {
            Ok(frame) => {
                let text = frame.to_string();
                assert!(!text.contains("news:secret") && !text.contains(&wallet.address()), "the attacker hears {text}");
            }
            Err(ended) => {
                assert_eq!(ended, Ended::Code(4001));
                break;
            }
        }
    }
    // The attacker's credentials open nothing any more, and do not tell who it was.
    assert!(matches!(site.dial_session(&planted, "").await, Err(DialError::Refused(401))));
    let described = request(site.edge, "GET", &format!("/api/client/{}", planted.id), bearer).await.expect("an answer");
    assert_eq!((described.status, described.json["error"]["code"].as_str()), (401, Some("credentials_expired")));
    for path in ["/auth/refresh", "/auth/challenge"] {
        let refused = post(site.edge, path, bearer, &ask).await.expect("an answer");
        assert_eq!(refused.status, 401, "{path}: {}", refused.json);
    }
}
