//! The published examples and vectors of EIP-4361.
//!
//! The vectors are the JSON files of the reference implementation (`test/` of
//! github.com/spruceid/siwe).

use identity::siwe::{Address, Message, Signature, SiweError, personal_hash};
use serde_json::{Map, Value};

const EXAMPLE: &str = "example.com wants you to sign in with your Ethereum account:\n\
    0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2\n\n\
    I accept the ExampleOrg Terms of Service: https://example.com/tos\n\n\
    URI: https://example.com/login\nVersion: 1\nChain ID: 1\nNonce: 32891756\nIssued At: 2021-09-30T16:25:24Z\nResources:\n\
    - ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/\n- https://example.com/my-web2-claim.json";

#[test]
fn the_examples_of_the_specification_are_read_and_written_back() {
    for domain in ["example.com", "example.com:3388", "https://example.com"] {
        let text = EXAMPLE.replacen("example.com", domain, 1);
        let message = Message::parse(&text).expect("the specification's own example");
        assert_eq!(message.to_string(), text);
        assert_eq!((message.scheme, message.chain, message.nonce), (domain.contains("://").then_some("https"), 1, "32891756"));
        assert_eq!(message.resources.map(|resources| resources.len()), Some(2));
    }
}

fn vectors(text: &str) -> Map<String, Value> {
    let Value::Object(cases) = serde_json::from_str(text).expect("JSON") else { panic!("an object") };
    assert!(!cases.is_empty());
    cases
}

#[test]
fn published_messages_are_read() {
    for (name, case) in vectors(include_str!("../fixtures/eip4361/parsing_positive.json")) {
        let text = case["message"].as_str().expect("text");
        let message = Message::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let fields = &case["fields"];
        assert_eq!(message.to_string(), text, "{name}");
        assert_eq!(Some(message.domain), fields["domain"].as_str(), "{name}");
        assert_eq!(message.scheme, fields["scheme"].as_str(), "{name}");
        assert_eq!(message.statement, fields["statement"].as_str(), "{name}");
        assert_eq!(Some(message.uri), fields["uri"].as_str(), "{name}");
        assert_eq!(Some(message.chain), fields["chainId"].as_u64(), "{name}");
        assert_eq!(Some(message.nonce), fields["nonce"].as_str(), "{name}");
        assert_eq!(message.resources.map_or(0, |it| it.len()), fields["resources"].as_array().map_or(0, Vec::len), "{name}");
    }
}

#[test]
fn published_malformed_messages_are_refused() {
    for (name, text) in vectors(include_str!("../fixtures/eip4361/parsing_negative.json")) {
        assert!(Message::parse(text.as_str().expect("text")).is_err(), "{name}");
    }
}

fn text_of(fields: &Value) -> String {
    let field = |name: &str| fields[name].as_str().unwrap_or_default();
    let mut text = format!(
        "{} wants you to sign in with your Ethereum account:\n{}\n\n{}\n\nURI: {}\nVersion: {}\nChain ID: {}\nNonce: {}\nIssued At: {}",
        field("domain"),
        field("address"),
        field("statement"),
        field("uri"),
        field("version"),
        fields["chainId"],
        field("nonce"),
        field("issuedAt")
    );
    for (tag, name) in [("Expiration Time", "expirationTime"), ("Not Before", "notBefore")] {
        if !field(name).is_empty() {
            text += &format!("\n{tag}: {}", field(name));
        }
    }
    text
}

/// The checks of the reference implementation, made from our parts.
fn accepts(fields: &Value) -> Result<bool, SiweError> {
    let text = text_of(fields);
    let message = Message::parse(&text)?;
    let signer = Signature::parse(fields["signature"].as_str().expect("signature"))?.signer(&personal_hash(&text))?;
    let now = match fields["time"].as_str() {
        // The vector sets its own clock.
        Some(time) => {
            let stand_in = EXAMPLE.replace("2021-09-30T16:25:24Z", time);
            Message::parse(&stand_in).expect("a time").issued_at.time
        }
        None => message.issued_at.time,
    };
    Ok(signer == message.address
        && signer == Address::parse_checksummed(fields["address"].as_str().expect("address")).expect("address")
        && fields["domainBinding"].as_str().is_none_or(|domain| domain == message.domain)
        && fields["matchNonce"].as_str().is_none_or(|nonce| nonce == message.nonce)
        && message.expires_at.is_none_or(|end| end.time > now)
        && message.not_before.is_none_or(|start| start.time <= now))
}

#[test]
fn published_signatures_are_verified() {
    for (name, fields) in vectors(include_str!("../fixtures/eip4361/verification_positive.json")) {
        assert_eq!(accepts(&fields), Ok(true), "{name}");
    }
}

#[test]
fn published_wrong_signatures_are_refused() {
    for (name, fields) in vectors(include_str!("../fixtures/eip4361/verification_negative.json")) {
        assert_ne!(accepts(&fields), Ok(true), "{name}");
    }
}

#[test]
fn published_signatures_of_contracts_are_for_the_contracts_to_judge() {
    for (name, case) in vectors(include_str!("../fixtures/eip4361/eip1271.json")) {
        let text = case["message"].as_str().expect("text");
        let message = Message::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let signature = Signature::parse(case["signature"].as_str().expect("signature")).expect("hexadecimal");
        assert_ne!(signature.signer(&personal_hash(text)), Ok(message.address), "{name}");
    }
}
