//! Tokens made and inspected by the command line, and accepted by an edge with the same
//! configuration.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::harness::program;

const SETTINGS: &[(&str, &str)] = &[
    ("JWT_ISSUER", "https://issuer.example"),
    ("JWT_AUDIENCE", "bridge"),
    ("JWT_SECRET", "a-secret-of-the-issuer-with-32-bytes"),
    ("AGENT_BRIDGE_AUTH__JWT_WALLET_CLAIM", "wallet"),
];

fn run(arguments: &[&str], stdin: &str, environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program();
    command.args(arguments).current_dir(folder.path()).envs(environment.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("writes");
    child.wait_with_output().expect("ends")
}

fn mint(more: &[&str]) -> String {
    let output = run(&[&["token", "mint", "ann@example.org"], more].concat(), "", SETTINGS);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_token_is_minted_and_inspected() {
    let wallet = "0x52908400098527886E0F7030069857D2E4169EE7";
    let token = mint(&["--wallet", wallet, "--scope", "read", "--claim", "plan=\"gold\"", "--expires", "5m"]);
    assert_eq!(token.split('.').count(), 3);
    let looked = run(&["token", "inspect"], &token, SETTINGS);
    let said = String::from_utf8_lossy(&looked.stdout).into_owned();
    assert!(looked.status.success(), "{looked:?}");
    for expected in ["verified: user ann@example.org", "wallet 0x5290", "https://issuer.example", "sub: [text of 15 characters]"]
    {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert!(!said.contains("gold") && !said.contains(token.rsplit('.').next().expect("a signature")), "{said}");
    let personal = run(&["token", "inspect", "--personal"], &token, SETTINGS);
    assert!(String::from_utf8_lossy(&personal.stdout).contains("gold"));
}

#[test]
fn faults_of_a_token_are_printed_and_set_the_exit_code() {
    let token = mint(&[]);
    let mut others = SETTINGS.to_vec();
    others[1].1 = "others";
    let refused = run(&["token", "inspect"], &token, &others);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("REFUSED (token_audience_wrong)"), "{refused:?}");
    let unchecked = run(&["token", "inspect"], &token, &[]);
    assert!(String::from_utf8_lossy(&unchecked.stdout).contains("NOT VERIFIED"), "{unchecked:?}");
    let rubbish = run(&["token", "inspect"], "rubbish", SETTINGS);
    assert!(String::from_utf8_lossy(&rubbish.stderr).contains("token_malformed"), "{rubbish:?}");
    let nothing = run(&["token", "mint", "ann"], "", &[]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("auth.jwt_secret is not set"), "{nothing:?}");
}

#[test]
fn an_incomplete_issuer_is_a_configuration_error() {
    for (settings, said) in [
        (&SETTINGS[..1], "auth.jwt_issuer"),
        (&SETTINGS[2..3], "auth.jwt_issuer"),
        (&[SETTINGS[0], SETTINGS[2]][..], "auth.jwt_audience"),
        (&[("JWKS_URL", "http://issuer.example/keys")][..], "auth.jwks_url"),
        (&[("ETH_RPC_URL", "10=https://node.example/key")][..], "auth.eth_rpc_urls"),
    ] {
        let output = run(&["check-config"], "", settings);
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains(said), "{settings:?}: {text}");
        assert!(!text.contains("node.example/key"), "{text}");
    }
}
