//! What the program prints when it cannot do what was asked.

use std::net::TcpListener;

use crate::harness::{Site, program};

struct Said {
    code: Option<i32>,
    text: String,
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program();
    command.args(arguments).current_dir(folder.path()).envs(environment.iter().copied());
    let output = command.output().expect("runs");
    let text = [output.stdout, output.stderr].map(|part| String::from_utf8_lossy(&part).into_owned()).concat();
    Said { code: output.status.code(), text }
}

#[test]
fn check_config_reports_every_fault_at_once_and_no_secret() {
    let said = run(
        &["check-config", "--set", "drain.pace=fast", "--set", "limits.no_such_limit=1"],
        &[
            ("WEBSOCKET_SERVER_ADDR", "nowhere"),
            ("AGENT_BRIDGE_HEARTBEAT__INTERVAL", "5"),
            ("AGENT_BRIDGE_HARTBEAT__TIMEOUT", "5s"),
            ("BRIDGE_SECRET", "too-short-to-be-told"),
            ("AGENT_TOKEN", "not to be told"),
        ],
    );
    assert_eq!(said.code, Some(1), "{}", said.text);
    for fault in [
        "drain.pace",
        "limits.no_such_limit",
        "broker.addr",
        "heartbeat.interval",
        "AGENT_BRIDGE_HARTBEAT__TIMEOUT",
        "broker.bridge_secret",
        "broker.agent_token",
        "7 faults",
    ] {
        assert!(said.text.contains(fault), "{fault} is missing in:\n{}", said.text);
    }
    assert!(!said.text.contains("to-be-told") && !said.text.contains("to be told"), "{}", said.text);
}

#[test]
fn the_reference_of_metrics_is_up_to_date() {
    let said = run(&["check-config", "--print-reference", "metrics"], &[]);
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap_or_default();
    assert!(said.text == kept, "docs/metrics.md differs from the code: run `make docs`");
}

#[test]
fn check_config_lists_what_is_in_force_without_secrets() {
    let secret = "a-secret-of-more-than-thirty-two-characters";
    let said = run(&["check-config"], &[("SESSION_SECRET", secret), ("AGENT_TOKEN", secret), ("LOG_FORMAT", "json")]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.text.contains("log.format") && said.text.contains("json") && said.text.contains("LOG_FORMAT"), "{}", said.text);
    assert!(!said.text.contains(secret), "{}", said.text);
}

#[test]
fn check_config_refuses_what_the_start_refuses_before_a_socket_opens() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let (text, none) = (file("text", "no certificate"), folder.path().join("none").display().to_string());
    let below_text = format!("{text}/data");
    let issuer = [("JWT_ISSUER", "me"), ("JWT_AUDIENCE", "bridge")];
    let cases: [(&str, &[(&str, &str)]); 11] = [
        (
            "auth.jwt_algorithms",
            &[("JWT_SECRET", "a-secret-of-more-than-thirty-two-characters"), ("AGENT_BRIDGE_AUTH__JWT_ALGORITHMS", "HS999")],
        ),
        ("auth.jwks_file", &[("JWKS_FILE", &none)]),
        ("auth.jwks_file", &[("JWKS_FILE", &text)]),
        ("auth.siwe_statement", &[("AGENT_BRIDGE_AUTH__SIWE_STATEMENT", "say \"yes\"")]),
        ("web.tls_cert_file", &[("AGENT_BRIDGE_WEB__TLS_CERT_FILE", &none)]),
        ("web.tls_cert_file", &[("AGENT_BRIDGE_WEB__TLS_CERT_FILE", &text)]),
        ("broker.tls_cert_file", &[("AGENT_BRIDGE_BROKER__TLS_CERT_FILE", &none)]),
        ("broker.ca_file", &[("BROKER_URL", "wss://broker.example"), ("AGENT_BRIDGE_BROKER__CA_FILE", &text)]),
        ("web.static_path", &[("STATIC_ASSETS_PATH", &none)]),
        ("data.dir", &[("DATA_DIR", &below_text)]),
        ("data.dir", &[("DATA_DIR", &text)]),
    ];
    for (key, environment) in cases {
        let issuer: &[_] = if key.starts_with("auth.jw") { &issuer } else { &[] };
        let environment = [environment, issuer].concat();
        for command in [&["check-config"][..], &["--broker-addr", "127.0.0.1:0", "--web-addr", "127.0.0.1:0"]] {
            let said = run(command, &environment);
            assert_eq!(said.code, Some(1), "{key}: {}", said.text);
            assert!(said.text.contains(&format!("\n  - {key} (from ")), "{key}: {}", said.text);
            assert!(!said.text.contains("listen"), "{key}: {}", said.text);
        }
    }
}

#[test]
fn the_development_key_is_refused_beyond_loopback() {
    for command in [&["broker"][..], &[][..]] {
        let arguments = [command, &["--broker-addr", "0.0.0.0:0", "--web-addr", "127.0.0.1:0"]].concat();
        let said = run(&arguments, &[]);
        assert_eq!(said.code, Some(1), "{}", said.text);
        assert!(["AGENT_TOKEN", "0.0.0.0:0", "unsafe_agent_key"].iter().all(|part| said.text.contains(part)), "{}", said.text);
        assert!(!said.text.contains("dev_token"), "{}", said.text);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = taken.local_addr().expect("bound").to_string();
    for (command, flag) in [("broker", "--broker-addr"), ("web", "--web-addr")] {
        let said = run(&[command, flag, &addr], &[]);
        assert_eq!(said.code, Some(1), "{}", said.text);
        assert!(said.text.contains(&addr) && said.text.contains("in use"), "{}", said.text);
        assert!(!said.text.contains("panicked"), "{}", said.text);
    }
}

#[test]
fn an_unknown_flag_is_named() {
    let said = run(&["--no-such-flag"], &[]);
    assert_eq!(said.code, Some(2), "{}", said.text);
    assert!(said.text.contains("--no-such-flag") && said.text.contains("Usage"), "{}", said.text);
}

#[tokio::test]
async fn healthcheck_succeeds_while_the_daemon_is_ready() {
    let site = Site::new();
    let flags = [site.broker.to_string(), site.edge.to_string()];
    let arguments = ["healthcheck", "--broker-addr", &flags[0], "--web-addr", &flags[1]];
    assert_eq!(run(&arguments, &[]).code, Some(1));
    let _daemon = site.daemon().await;
    let said = run(&arguments, &[]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}
