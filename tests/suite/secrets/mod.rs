//! No secret is in anything that is printed: every process at its most verbose log level, logins of
//! every kind and refused logins, wrong keys, key files that cannot be read, crashes, what
//! operators see, and failed starts.

mod crash;
mod forms;

use std::fs;

use serde_json::{Value, json};

use self::forms::Secrets;
use crate::{
    harness::{AGENT_KEY, DialError, Peer, Process, Site, Wallet, eventually, post, request},
    hostile::wire::{first_answer, handshake},
};

fn printed(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn no_output_contains_a_secret() {
    let mut secrets = Secrets::default();
    secrets.add("agent token", AGENT_KEY);
    let operator = secrets.fresh("operator token");
    let issuer = secrets.fresh("secret of the issuer of tokens");
    let site = Site::new()
        .with("log.filter", "trace")
        .with("broker.bridge_secret", &secrets.fresh("bridge secret of the edge"))
        .with("web.session_secret", &secrets.fresh("session secret of the edge"))
        .with("auth.jwt_issuer", "https://issuer.example")
        .with("auth.jwt_audience", "bridge")
        .with("auth.jwt_secret", &issuer)
        .with("auth.eth_rpc_urls", &format!("1=https://node.example/{}", secrets.fresh("key of the chains node")))
        .with("broker.operator_token", &operator);
    let made = site.run(&["key", "create", "team"]);
    let key = printed(&made).split_whitespace().find(|word| word.starts_with("abk_")).expect("a key").to_owned();
    secrets.add("made agent key", &key);
    let (mut broker, mut edge) = (site.broker_alone().await, site.edge_alone().await);
    let mut demo = site.demo().await;

    let mint = format!("--set=auth.jwt_secret={issuer}");
    let minted = |audience: &str, more: &[&str]| {
        let audience = format!("--set=auth.jwt_audience={audience}");
        let names = ["token", "mint", "ann", "--set=auth.jwt_issuer=https://issuer.example", &audience, &mint];
        printed(&site.run(&[&names, more].concat())).trim().to_owned()
    };
    busy(&site, &mut secrets, &key, &operator).await;
    wallet(&site, &mut secrets).await;
    present(&site, &mut secrets, &minted("bridge", &[])).await;
    refused(&site, &mut secrets, &minted("bridge", &[]), &minted("another", &[])).await;
    keys(&site, &mut secrets, &broker, &key, &operator).await;
    told_to_operators(&site, &secrets, &operator).await;

    for process in [&mut demo, &mut edge, &mut broker] {
        process.terminate();
        process.exit_code().await;
    }
    for (name, process) in [("the broker", &broker), ("the edge", &edge), ("the demo agent", &demo)] {
        let log = process.log();
        let talks = if name == "the demo agent" { "INFO" } else { "TRACE" };
        assert!(log.contains(talks), "{name} says little: {log}");
        secrets.check(&format!("the output of {name}"), &log);
    }
    kept(&site, &secrets);
    assert!(secrets.count() > 25, "{}", secrets.count());
}

/// The files on the disk, except the one for secrets: the audit log, positions, keys, revocations.
fn kept(site: &Site, secrets: &Secrets) {
    let mut looked_at = 0;
    for entry in fs::read_dir(site.data()).expect("the data folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "secrets.json") {
            let bytes = fs::read(&path).expect("readable");
            secrets.check(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
            looked_at += 1;
        }
    }
    assert!(looked_at >= 3, "{looked_at}");
}

/// Logs in with a wallet, and fails in several ways.
async fn wallet(site: &Site, secrets: &mut Secrets) {
    let (mine, session) = (Wallet::new(7), site.register().await);
    secrets.add("session token", &session.token);
    let mut socket = site.dial_session(&session, "").await.expect("upgraded");
    let ack = socket.expect("connection:ack").await;
    let socket_id = ack["payload"]["socket_id"].clone();
    let bearer = Some(session.token.as_str());
    let challenge = async |secrets: &mut Secrets| -> String {
        let ask = json!({"address":mine.address(),"chain_id":1});
        let answer = post(site.edge, "/auth/challenge", bearer, &ask).await.expect("an answer").json;
        secrets.add("nonce", answer["nonce"].as_str().expect("a nonce"));
        answer["message"].as_str().expect("a message").to_owned()
    };
    let first = challenge(secrets).await;
    for (message, signature) in [
        (first.clone(), Wallet::new(8).sign(&first)),
        (first.replace("Chain ID: 1", "Chain ID: 5"), mine.sign(&first)),
        (first.clone(), secrets.fresh("signature that is none")),
        (first.clone(), mine.sign(&first)),
    ] {
        secrets.add("refused signature", signature.trim_start_matches("0x"));
        let proof = json!({"message":message,"signature":signature});
        let answer = post(site.edge, "/auth/verify", bearer, &proof).await.expect("an answer");
        // 503 if a contract would be asked through a node that does not exist.
        assert!((400..=503).contains(&answer.status), "{}", answer.json);
        secrets.check("a refusal", &answer.json.to_string());
    }
    let message = challenge(secrets).await;
    let signature = mine.sign(&message);
    secrets.add("signature", signature.trim_start_matches("0x"));
    let proof = json!({"message":message,"signature":signature,"sockets":[socket_id]});
    let answer = post(site.edge, "/auth/verify", bearer, &proof).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.json);
    let token = secrets.add("token after the login", answer.json["token"].as_str().expect("a token"));
    assert_eq!(socket.expect("session:identified").await["payload"]["wallet_address"], mine.address());
    let replayed = post(site.edge, "/auth/verify", Some(&token), &proof).await.expect("an answer");
    assert!((400..500).contains(&replayed.status), "{}", replayed.json);
    let later = post(site.edge, "/auth/refresh", Some(&token), &Value::Null).await.expect("an answer");
    secrets.add("refreshed token", later.json["token"].as_str().expect("a token"));
    assert!(matches!(site.dial_session(&session, "").await, Err(DialError::Refused(401))), "it was from before the login");
}

/// Presents an issuer's token to the edge (at the handshake, as a subprotocol, in exchange and
/// in-band), and to the broker, which it is not for.
async fn present(site: &Site, secrets: &mut Secrets, issued: &str) {
    secrets.add("issuer's token", issued);
    let mut user = Peer::dial(site.edge, "/ws", issued).await.expect("upgraded");
    user.expect("connection:ack").await;
    user.send(json!({"id":"r","type":"connection:refresh","payload":{"token":issued}})).await;
    user.expect("connection:refreshed").await;
    user.send(json!({"id":"i","type":"connection:identify","payload":{"assertion":issued}})).await;
    user.expect_error().await;
    for kind in ["connection:refresh", "connection:identify"] {
        let wrong = secrets.fresh("secret in a payload of no use");
        user.send(json!({"type":kind,"payload":{"token":[wrong],"assertion":[wrong]}})).await;
        secrets.check("an error", &user.expect_error().await.to_string());
        user.send(json!({"type":kind,"payload":wrong})).await;
        secrets.check("an error", &user.expect_error().await.to_string());
    }
    assert!(matches!(Peer::dial(site.broker, "/ws/agent", issued).await, Err(DialError::Refused(401))));
    let offered = format!("Sec-WebSocket-Protocol: agent-bridge.v1, bearer.{issued}\r\n");
    let answer = first_answer(site.edge, handshake("/ws", site.edge, &offered).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("agent-bridge.v1"), "{answer}");
    secrets.check("the answer to a handshake", &answer);
    let exchanged = post(site.edge, "/auth/token", None, &json!({"token":issued})).await.expect("an answer");
    // A caller without credentials gets its new session as a cookie.
    assert_eq!(exchanged.status, 201, "{}", exchanged.json);
    if let Some(token) = exchanged.json["token"].as_str() {
        secrets.add("token for a token", token);
    }
}

/// Logins and sockets with invalid credentials of all kinds.
async fn refused(site: &Site, secrets: &mut Secrets, good: &str, for_another: &str) {
    secrets.add("another good token", good);
    secrets.add("token for another audience", for_another);
    let (head, rest) = good.split_once('.').expect("a token");
    let (claims, signature) = rest.split_once('.').expect("a token");
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    let swapped = format!("{head}.{claims}.{}", signature.chars().rev().collect::<String>());
    secrets.add("signature of a changed token", &swapped);
    let rubbish = secrets.fresh("token that is none");
    for token in [unsigned.as_str(), &swapped, for_another, &rubbish, &format!("{good}x")] {
        let answer = post(site.edge, "/auth/token", None, &json!({"token":token})).await.expect("an answer");
        assert!([401, 429].contains(&answer.status), "{}", answer.json);
        secrets.check("a refusal", &answer.json.to_string());
        for headers in [
            format!("Sec-WebSocket-Protocol: bearer.{token}\r\n"),
            format!("Cookie: agent_bridge_session={token}\r\n"),
            format!("Authorization: Bearer {token}\r\n"),
            format!("Authorization: Basic {token}\r\n"),
        ] {
            for (listener, path) in [(site.edge, "/ws"), (site.broker, "/ws/agent")] {
                let answer = first_answer(listener, handshake(path, listener, &headers).as_bytes()).await;
                assert!(["HTTP/1.1 401", "HTTP/1.1 429"].iter().any(|status| answer.starts_with(status)), "{answer}");
                secrets.check("a refusal", &answer);
            }
        }
        for path in [format!("/ws?token={token}"), format!("/ws?access_token={token}"), format!("/ws/{token}")] {
            let answer = first_answer(site.edge, handshake(&path, site.edge, "").as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
    // Bodies that cannot be read, with a secret in them.
    let session = site.register().await;
    secrets.add("session token", &session.token);
    let secret = secrets.fresh("secret in a body of no use");
    let bodies =
        [json!([secret]), json!(secret), json!({"token":[secret]}), json!({"chain_id":secret}), json!({"sockets":secret})];
    let paths = ["/auth/token", "/auth/verify", "/auth/challenge"];
    for (path, body) in paths.iter().flat_map(|path| bodies.iter().map(move |body| (*path, body))) {
        let answer = post(site.edge, path, Some(&session.token), body).await.expect("an answer");
        assert!((400..500).contains(&answer.status), "{}", answer.json);
        secrets.check("a refusal", &answer.json.to_string());
    }
}

/// Keys that are made while the broker runs, a faulty key file, and a revoked key.
async fn keys(site: &Site, secrets: &mut Secrets, broker: &Process, key: &str, operator: &str) {
    let made = printed(&site.run(&["key", "create", "later", "--expires", "1h"]));
    let later = made.split_whitespace().find(|word| word.starts_with("abk_")).expect("a key").to_owned();
    secrets.add("later agent key", &later);
    let reload = async || {
        let answer = request(site.broker, "POST", "/api/v1/keys/reload", Some(operator)).await.expect("an answer");
        secrets.check("the answer to a reload", &answer.json.to_string());
        answer.status
    };
    assert!(reload().await < 300);
    let mut agent = Peer::dial(site.broker, "/ws/agent?agent_id=late", &later).await.expect("upgraded");
    agent.expect("connection:ack").await;
    // Somebody has put the keys themselves into the file.
    let file = site.data().join("agent-keys.json");
    let good = fs::read_to_string(&file).expect("the keys");
    for bad in [
        format!("{{\"version\":1,\"keys\":[\"{later}\"]}}"),
        format!("{{\"{later}\":1}}"),
        later.clone(),
        good.replacen("\"name\": \"team\"", &format!("\"name\": \"{key}\""), 1).replacen(
            "\"name\":\"team\"",
            &format!("\"name\":\"{key}\""),
            1,
        ),
    ] {
        fs::write(&file, bad).expect("written");
        broker.hang_up();
        assert!(reload().await >= 400, "a key file that makes no sense was taken");
        secrets.check("key list", &printed(&site.run(&["key", "list"])));
    }
    fs::write(&file, good).expect("written");
    secrets.check("key list", &printed(&site.run(&["key", "list"])));
    secrets.check("key revoke", &printed(&site.run(&["key", "revoke", "team"])));
    broker.hang_up();
    eventually("the key is gone", async || {
        matches!(Peer::dial(site.broker, "/ws/agent", key).await, Err(DialError::Refused(401)))
    })
    .await;
}

/// Everything that the servers tell operators.
async fn told_to_operators(site: &Site, secrets: &Secrets, operator: &str) {
    for (listener, path) in [
        (site.broker, "/stats"),
        (site.edge, "/stats"),
        (site.broker, "/health/ready"),
        (site.edge, "/health/ready"),
        (site.broker, "/api/v1/keys"),
        (site.broker, "/api/v1/audit"),
        (site.broker, "/api/v1/audit?limit=1000"),
    ] {
        let answer = request(listener, "GET", path, Some(operator)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        secrets.check(path, &answer.json.to_string());
    }
    let audit = request(site.broker, "GET", "/api/v1/audit", Some(operator)).await.expect("an answer").json.to_string();
    assert!(audit.contains("authentication") && audit.contains("wallet:0x"), "the audit log says little: {audit}");
}

/// Does everything that involves a secret, once.
async fn busy(site: &Site, secrets: &mut Secrets, key: &str, operator: &str) {
    let session = site.register().await;
    secrets.add("session token", &session.token);
    let mut client = site.session("").await;
    let payload = secrets.fresh("payload");
    eventually("the demo agent is there", async || {
        client.send(json!({"type":"agent:list","id":"who"})).await;
        client.expect("agent:listed").await["payload"]["agents"].as_array().is_some_and(|agents| !agents.is_empty())
    })
    .await;
    client.send(json!({"id":"q","type":"message:send","target":"agent:demo","payload":{"text":payload}})).await;
    client.expect("message:done").await;
    client.try_send(json!({"type":payload,"payload":payload})).await.expect("sent");
    let _ = client.try_next().await;

    let mut agent = Peer::dial(site.broker, "/ws/agent?agent_id=keyed", key).await.expect("upgraded");
    agent.expect("connection:ack").await;
    for (what, addr, path) in [
        ("wrong agent key", site.broker, "/ws/agent"),
        ("forged assertion", site.broker, "/ws/client/11111111-1111-4111-8111-111111111111"),
        ("forged session token", site.edge, "/ws"),
    ] {
        let wrong = secrets.fresh(what);
        assert!(matches!(Peer::dial(addr, path, &wrong).await, Err(DialError::Refused(401))), "{what}");
    }
    // Credentials in the query are ignored, and are not printed either.
    let path = format!("/ws/{}?token={}", session.id, session.token);
    let wrong = secrets.fresh("another token");
    assert!(matches!(Peer::dial(site.edge, &path, &wrong).await, Err(DialError::Refused(401))));
    for addr in [site.broker, site.edge] {
        let stats = request(addr, "GET", "/stats", Some(operator)).await.expect("an answer");
        assert_eq!(stats.status, 200);
        secrets.check("the statistics", &stats.json.to_string());
        let refused = request(addr, "GET", "/stats", Some(&wrong)).await.expect("an answer");
        assert_eq!(refused.status, 401);
        secrets.check("a refusal", &refused.json.to_string());
    }
    let ended = request(site.edge, "DELETE", "/api/client/session", Some(&session.token)).await.expect("an answer");
    assert_eq!(ended.status, 204);
    let late = request(site.edge, "GET", &format!("/api/client/{}", session.id), Some(&session.token)).await.expect("an answer");
    assert_eq!(late.status, 401);
}

#[tokio::test]
async fn starts_that_fail_print_no_secret() {
    let site = Site::new();
    let mut running = site.daemon().await;
    let mut secrets = Secrets::default();
    let (bridge, session, operator, token) = (
        secrets.fresh("bridge secret"),
        secrets.fresh("session secret"),
        secrets.fresh("operator token"),
        secrets.fresh("agent token"),
    );
    let settings = [
        format!("--set=broker.bridge_secret={bridge}"),
        format!("--set=web.session_secret={session}"),
        format!("--set=broker.operator_token={operator}"),
        format!("--set=broker.agent_token={token}"),
        format!("--set=broker.agent_keys=one={token}-1"),
        "--set=log.filter=trace".to_owned(),
    ];
    let run = |command: &[&str], more: &[String]| {
        let arguments: Vec<&str> = command.iter().copied().chain(settings.iter().chain(more).map(String::as_str)).collect();
        site.run(&arguments)
    };
    let taken = [format!("--set=broker.addr={}", site.broker), format!("--set=web.addr={}", site.edge)];
    let bad = [
        format!("--set=web.session_secret=short-{}", &session[..8]),
        format!("--set=broker.agent_keys={token}"),
        format!("--set=broker.bridge_secret={bridge}\u{e9}"),
        format!("--set=unknown.key={operator}"),
        "--set=web.addr=nowhere".to_owned(),
    ];
    for (what, output, succeeds) in [
        ("a start at taken ports", run(&[], &taken), false),
        ("a start with faults", run(&[], &bad), false),
        ("check-config", run(&["check-config"], &[]), true),
        ("check-config with faults", run(&["check-config"], &bad), false),
    ] {
        assert_eq!(output.status.success(), succeeds, "{what}: {}", printed(&output));
        let text = printed(&output);
        assert!(!text.is_empty(), "{what} says nothing");
        secrets.check(what, &text);
    }
    running.kill();
    secrets.check("a daemon that was killed", &Process::log(&running));
}
