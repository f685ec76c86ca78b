//! Sessions that log in with a wallet, and what happens to older credentials and sockets.

use common::{assertion, config::ChainUrl, secret::Secret};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    broker::{Broker, BrokerLink},
    harness::Edge,
    wallet::{Wallet, cookie},
};

async fn edge_and_broker() -> (Broker, Edge) {
    let broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    (broker, edge)
}

/// The edge's id of the socket behind this connection to the broker.
fn socket_id(edge: &Edge, link: &BrokerLink) -> Value {
    json!(identity(edge, link).socket_id.expect("an id"))
}

fn identity(edge: &Edge, link: &BrokerLink) -> assertion::ClientIdentity {
    let bearer = link.authorization.strip_prefix("Bearer ").expect("a bearer assertion");
    assertion::verify(bearer, &edge.settings.broker.bridge_secret).expect("valid")
}

/// The next login that the edge tells the broker.
async fn told_login(edge: &Edge, link: &mut BrokerLink) -> assertion::LoggedIn {
    let message: Value = serde_json::from_str(&link.text().await).expect("an envelope");
    assert_eq!(message["type"], "connection:identify");
    let assertion = message["payload"]["assertion"].as_str().expect("an assertion");
    assertion::verify_login(assertion, &edge.settings.broker.bridge_secret).expect("valid")
}

#[actix_web::test]
async fn a_session_is_upgraded_in_place_and_only_the_login_has_it_from_then_on() {
    let (mut broker, edge) = edge_and_broker().await;
    let wallet = Wallet::new(1);
    let mut mine = edge.browser().await;
    let mut link = broker.link().await;
    let stranger = edge.open("/ws", mine.session.clone(), mine.token.clone()).await;
    let strangers_link = broker.link().await;
    assert_ne!(socket_id(&edge, &link), socket_id(&edge, &strangers_link));

    let answer = edge.sign_in(&mine.token, &wallet, &[socket_id(&edge, &link)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let session = answer.json();
    assert_eq!((&session["client_id"], &session["new_session"]), (&json!(mine.session), &json!(false)));
    assert_eq!((&session["is_authenticated"], &session["wallet_address"]), (&json!(true), &json!(wallet.address())));
    assert_eq!((&session["user_id"], &session["token"]), (&json!(format!("wallet:{}", wallet.address())), &Value::Null));
    let (token, attributes) = answer.cookie().expect("a cookie");
    assert!(attributes.contains("HttpOnly") && token != mine.token);

    // The socket that the login named stays, and its broker is told.
    let told = told_login(&edge, &mut link).await;
    assert_eq!(told.session_id.to_string(), mine.session);
    assert_eq!(told.login.user.as_str(), format!("wallet:{}", wallet.address()));
    assert_eq!(told.keep, [identity(&edge, &link).socket_id.expect("an id")]);
    mine.say("still here").await;
    assert_eq!(link.text().await, "still here");
    // Everything else that was opened or signed before is no longer valid.
    assert_eq!(stranger.closed().await.0, 4001);
    assert_eq!(strangers_link.closed().await, 4001);
    let refused = edge.refused_upgrade("/ws", &[("Cookie", &cookie(&mine.token))]).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "credentials_expired"));
    let again = edge.request("POST", "/api/client", &[("Cookie", &cookie(&mine.token))]).await;
    assert_eq!(again.status, 201);
    assert_ne!(again.json()["client_id"], json!(mine.session), "whoever has the older token gets a session of its own");

    let described = edge.request("GET", &format!("/api/client/{}", mine.session), &[("Cookie", &cookie(&token))]).await;
    assert_eq!((&described.json()["wallet_address"], &described.json()["connections"]), (&json!(wallet.address()), &json!(1)));
    let _tab = edge.open("/ws", mine.session.clone(), token).await;
    assert_eq!(identity(&edge, &broker.link().await).login, Some(told.login));
}

#[actix_web::test]
async fn a_broker_that_was_away_hears_of_the_login_when_it_is_dialled() {
    let (mut broker, edge) = edge_and_broker().await;
    let mut browser = edge.browser().await;
    let mut link = broker.link().await;
    let socket = socket_id(&edge, &link);
    edge.sign_in(&browser.token, &Wallet::new(1), std::slice::from_ref(&socket)).await;
    told_login(&edge, &mut link).await;
    link.close(1012, "restart").await;
    browser.upstream("restored").await;
    let again = broker.link().await;
    assert_eq!(socket_id(&edge, &again), socket, "the socket keeps its name");
    assert!(identity(&edge, &again).login.is_some());
}

#[actix_web::test]
async fn a_login_waits_for_the_end_of_the_message_before_it() {
    use tokio_tungstenite::tungstenite::{
        Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    };
    let (mut broker, edge) = edge_and_broker().await;
    let mut browser = edge.browser().await;
    let mut link = broker.link().await;
    let fragment = |kind, text: &'static str, is_final| Message::Frame(Frame::message(text, OpCode::Data(kind), is_final));
    browser.send(fragment(Data::Text, "one ", false)).await;
    browser.send(Message::Ping("sent".into())).await;
    assert_eq!(link.next().await, Message::Ping("sent".into()), "the first half is at the broker");
    edge.sign_in(&browser.token, &Wallet::new(1), &[socket_id(&edge, &link)]).await;
    browser.send(fragment(Data::Continue, "message", true)).await;
    assert_eq!(link.text().await, "one message");
    told_login(&edge, &mut link).await;
}

#[actix_web::test]
async fn a_challenge_is_its_sessions_own_and_good_once() {
    let edge = Edge::start();
    let wallet = Wallet::new(1);
    let (_, mine) = edge.session().await;
    let (_, theirs) = edge.session().await;
    let message = edge.challenge(&mine, &wallet).await;
    let proof = json!({"message": message, "signature": wallet.sign(&message)});
    let verify = async |token: &str| edge.post("/auth/verify", &[("Cookie", &cookie(token))], &proof).await;
    let other = verify(&theirs).await;
    assert_eq!((other.status, other.error_code().as_str()), (401, "siwe_nonce_of_another_session"));
    let first = verify(&mine).await;
    assert_eq!(first.status, 200);
    let (token, _) = first.cookie().expect("a cookie");
    let second = verify(&token).await;
    assert_eq!((second.status, second.error_code().as_str()), (401, "siwe_nonce_used"));
    assert!(!second.json()["error"]["temporary"].as_bool().expect("a flag"));
}

#[actix_web::test]
async fn a_session_has_one_user_in_its_life() {
    let edge = Edge::start();
    let (_, token) = edge.session().await;
    let (token, _) = edge.sign_in(&token, &Wallet::new(1), &[]).await.cookie().expect("a cookie");
    let again = edge.sign_in(&token, &Wallet::new(1), &[]).await;
    assert_eq!(again.status, 200, "the same wallet may sign in again");
    let other = edge.sign_in(&token, &Wallet::new(2), &[]).await;
    assert_eq!((other.status, other.error_code().as_str()), (409, "already_logged_in"));
}

#[actix_web::test]
async fn of_two_logins_at_once_one_has_the_session() {
    let edge = Edge::start();
    let (_, token) = edge.session().await;
    let mut codes = Vec::new();
    let proofs: Vec<_> = {
        let mut proofs = Vec::new();
        for wallet in [Wallet::new(1), Wallet::new(2)] {
            let message = edge.challenge(&token, &wallet).await;
            proofs.push(json!({"message": message, "signature": wallet.sign(&message)}));
        }
        proofs
    };
    let header = cookie(&token);
    let headers = [("Cookie", header.as_str())];
    let (one, two) =
        tokio::join!(edge.post("/auth/verify", &headers, &proofs[0]), edge.post("/auth/verify", &headers, &proofs[1]));
    for answer in [one, two] {
        codes.push(if answer.status == 200 { "200".to_owned() } else { answer.error_code() });
    }
    codes.sort();
    assert_eq!(codes, ["200", "credentials_expired"]);
}

#[actix_web::test]
async fn logins_need_a_session_its_own_origin_and_a_readable_body() {
    let edge = Edge::start();
    let (_, token) = edge.session().await;
    let ask = json!({"address": Wallet::new(1).address()});
    let nobody = edge.post("/auth/challenge", &[], &ask).await;
    assert_eq!((nobody.status, nobody.error_code().as_str()), (401, "unauthorized"));
    let foreign = [("Cookie", &*cookie(&token)), ("Origin", "https://evil.example")];
    for path in ["/auth/challenge", "/auth/refresh", "/auth/logout"] {
        let answer = edge.post(path, &foreign, &ask).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (403, "origin_not_allowed"), "{path}");
    }
    let header = cookie(&token);
    let mine = [("Cookie", header.as_str())];
    for (path, body, code) in [
        ("/auth/challenge", json!({}), "bad_request"),
        ("/auth/challenge", json!({"address": "0x1"}), "siwe_address_malformed"),
        ("/auth/challenge", json!({"address": Wallet::new(1).address(), "chain_id": 5}), "siwe_chain_not_allowed"),
        ("/auth/verify", json!({"message": "hello", "signature": "0x"}), "siwe_malformed"),
        ("/auth/verify", json!({"message": "hello", "signature": "0x", "sockets": ["1"]}), "bad_request"),
        ("/auth/token", json!({"token": "a.b.c"}), "login_not_offered"),
        ("/auth/nothing", json!({}), "not_found"),
    ] {
        assert_eq!(edge.post(path, &mine, &body).await.error_code(), code, "{path} {body}");
    }
    assert_eq!(edge.request("GET", "/auth/challenge", &mine).await.header("allow"), Some("POST"));
    let plain = edge.request("POST", "/auth/challenge", &[("Cookie", &header), ("Content-Type", "text/plain")]).await;
    assert_eq!(plain.error_code(), "bad_request", "a form of another site cannot send it");
}

#[actix_web::test]
async fn a_logout_reaches_open_sockets_and_outlives_the_edge() {
    let (mut broker, edge) = edge_and_broker().await;
    let browser = edge.browser().await;
    let link = broker.link().await;
    let (token, _) = edge.sign_in(&browser.token, &Wallet::new(1), &[socket_id(&edge, &link)]).await.cookie().expect("a cookie");
    let out = edge.request("POST", "/auth/logout", &[("Cookie", &cookie(&token))]).await;
    assert_eq!(out.status, 204);
    let (session, older) = (browser.session.clone(), browser.token.clone());
    assert!(out.cookie().is_some_and(|(value, attributes)| value.is_empty() && attributes.contains("Max-Age=0")));
    assert_eq!(browser.closed().await.0, 4003);

    // A copy of what a process finds that starts after this one was killed.
    let left = tempfile::tempdir().expect("temp dir");
    for entry in std::fs::read_dir(edge.data.path()).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), left.path().join(entry.file_name())).expect("copied");
    }
    let restarted = Edge::with(|settings| settings.data.dir = left.path().to_owned());
    for edge in [&edge, &restarted] {
        for token in [&token, &older] {
            let refused = edge.refused_upgrade("/ws", &[("Cookie", &cookie(token))]).await;
            assert_eq!((refused.status, refused.error_code().as_str()), (401, "session_ended"));
        }
    }
    let visit = restarted.request("POST", "/api/client", &[("Cookie", &cookie(&token))]).await;
    assert_eq!((visit.status, &visit.json()["is_authenticated"]), (201, &json!(false)));
    assert_ne!(visit.json()["client_id"], json!(session));
}

/// A node of a chain with one contract, which accepts one signature.
async fn node(accepts: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}/v1/the-operators-key", listener.local_addr().expect("an address"));
    actix_rt::spawn(async move {
        loop {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let mut request = Vec::new();
            let mut bytes = [0; 4096];
            while !request.windows(9).any(|window| window == b"\"latest\"]") {
                match socket.read(&mut bytes).await {
                    Ok(read) if read > 0 => request.extend_from_slice(&bytes[..read]),
                    _ => break,
                }
            }
            let yes = String::from_utf8_lossy(&request).contains(accepts);
            let word = if yes { format!("1626ba7e{}", "0".repeat(56)) } else { "f".repeat(64) };
            let body = json!({"jsonrpc": "2.0", "id": 1, "result": format!("0x{word}")}).to_string();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[actix_web::test]
async fn a_contract_wallet_is_asked_through_its_chains_node() {
    let url = node("c0ffee").await;
    let edge = Edge::with(|settings| {
        settings.auth.siwe_chains = vec![1, 10];
        settings.auth.eth_rpc_urls = vec![
            ChainUrl { chain: 1, url: Secret::new(url.clone()) },
            ChainUrl { chain: 10, url: Secret::new("http://127.0.0.1:9/nobody-listens-there") },
        ];
    });
    let contract = "0x52908400098527886E0F7030069857D2E4169EE7";
    for (chain, signature, expected) in
        [(1, "0xc0ffee", "200"), (1, "0xdecaf0", "siwe_contract_refused"), (10, "0xc0ffee", "siwe_contract_unavailable")]
    {
        let (_, token) = edge.session().await;
        let header = cookie(&token);
        let headers = [("Cookie", header.as_str())];
        let ask = json!({"address": contract, "chain_id": chain});
        let challenge = edge.post("/auth/challenge", &headers, &ask).await.json();
        let proof = json!({"message": challenge["message"], "signature": signature});
        let answer = edge.post("/auth/verify", &headers, &proof).await;
        let outcome = if answer.status == 200 { "200".to_owned() } else { answer.error_code() };
        assert_eq!(outcome, expected, "{chain} {signature}");
        if answer.status == 200 {
            assert_eq!(answer.json()["user_id"], json!(format!("wallet:1:{contract}")));
        }
    }
}

#[actix_web::test]
async fn failed_logins_make_their_address_wait_and_not_its_neighbours() {
    let edge = Edge::with(|settings| settings.limits.exempt_networks.clear());
    let (_, token) = edge.session().await;
    let header = cookie(&token);
    let headers = [("Cookie", header.as_str())];
    let wallet = Wallet::new(1);
    let log_in = async |signer: &Wallet| {
        let challenge = edge.post("/auth/challenge", &headers, &json!({"address": wallet.address()})).await;
        assert_eq!(challenge.status, 200, "{}", challenge.text());
        let message = challenge.json()["message"].as_str().expect("a message").to_owned();
        edge.post("/auth/verify", &headers, &json!({"message": message, "signature": signer.sign(&message)})).await
    };
    for _ in 0..6 {
        assert_eq!(log_in(&Wallet::new(2)).await.error_code(), "siwe_wrong_signer", "somebody else's signature");
    }
    let refused = log_in(&Wallet::new(2)).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "too_many_failures"));
    assert!(refused.header("retry-after").is_some());
    let good = log_in(&wallet).await;
    assert_eq!(good.status, 200, "whoever can sign does not wait for others behind the same address: {}", good.text());
}
