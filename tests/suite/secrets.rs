//! No secret is in anything that is printed: every process at its most talkative, logins, wrong keys, and starts that fail.

use serde_json::json;
use uuid::Uuid;

use crate::harness::{AGENT_KEY, DialError, Peer, Process, Site, eventually, request};

/// Everything that must not be printed.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: &str) -> String {
        self.0.push((what, secret.to_owned()));
        secret.to_owned()
    }

    fn fresh(&mut self, what: &'static str) -> String {
        self.add(what, &format!("{what}-{}", Uuid::new_v4().simple()).replace(' ', "-"))
    }

    /// Fails if one of them, or a signed token of any kind, is in a text.
    fn check(&self, whose: &str, text: &str) {
        for (what, secret) in &self.0 {
            for part in secret.split('.').filter(|part| part.len() >= 12) {
                let found = text.lines().find(|line| line.contains(part));
                assert!(found.is_none(), "the {what} is in the output of {whose}: {}", found.unwrap_or_default());
            }
        }
        let token = text.lines().find(|line| line.contains("eyJ"));
        assert!(token.is_none(), "a token is in the output of {whose}: {}", token.unwrap_or_default());
    }
}

fn printed(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn nothing_that_is_printed_holds_a_secret() {
    let mut secrets = Secrets(Vec::new());
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
    let (mut broker, mut edge) = (site.broker_alone().await, site.edge_alone().await);
    let mut demo = site.demo().await;

    let mint = format!("--set=auth.jwt_secret={issuer}");
    let names = ["--set=auth.jwt_issuer=https://issuer.example", "--set=auth.jwt_audience=bridge"];
    let issued = printed(&site.run(&["token", "mint", "ann", names[0], names[1], &mint])).trim().to_owned();
    busy(&site, &mut secrets, &key, &operator).await;
    present(&site, &mut secrets, &issued).await;
    secrets.add("made agent key", &key);
    secrets.check("key list", &printed(&site.run(&["key", "list"])));
    secrets.check("key revoke", &printed(&site.run(&["key", "revoke", "team"])));
    broker.hang_up();
    eventually("the key is gone", async || {
        matches!(Peer::dial(site.broker, "/ws/agent", &key).await, Err(DialError::Refused(401)))
    })
    .await;

    for process in [&mut demo, &mut edge, &mut broker] {
        process.terminate();
        process.exit_code().await;
    }
    for (name, process) in [("the broker", &broker), ("the edge", &edge), ("the demo agent", &demo)] {
        let log = process.log();
        let talks = if name == "the demo agent" { "INFO" } else { "TRACE" };
        assert!(log.contains(talks), "{name} says little: {log}");
        secrets.check(name, &log);
    }
}

/// Shows an issuer's token to the edge, at the handshake and in-band, and to the broker, which it is not for.
async fn present(site: &Site, secrets: &mut Secrets, issued: &str) {
    secrets.add("issuer's token", issued);
    let mut user = Peer::dial(site.edge, "/ws", issued).await.expect("upgraded");
    user.expect("connection:ack").await;
    user.send(json!({"id":"r","type":"connection:refresh","payload":{"token":issued}})).await;
    user.expect("connection:refreshed").await;
    user.send(json!({"id":"i","type":"connection:identify","payload":{"assertion":issued}})).await;
    user.expect("system:error").await;
    assert!(matches!(Peer::dial(site.broker, "/ws/agent", issued).await, Err(DialError::Refused(401))));
}

/// Everything that has to do with a secret, once.
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
    // In the query no credentials are looked for; what is put there all the same is not printed either.
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
    let mut secrets = Secrets(Vec::new());
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
