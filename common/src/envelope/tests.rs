use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SOURCE: &str = "\"agent:real\"";

fn stamped(text: &str) -> String {
    let envelope = Envelope::parse(text, 64).expect("valid");
    let stamp = envelope.stamp(SOURCE, "fresh");
    let mut out = Vec::new();
    stamp.write_to(&mut out);
    assert_eq!(out.len(), stamp.len());
    String::from_utf8(out).expect("utf-8")
}

fn code_of(text: &str) -> &'static str {
    Envelope::parse(text, 64).expect_err("invalid").error.code.as_str()
}

#[test]
fn source_is_replaced_where_it_stands() {
    let text = r#"{"id":"1","type":"a:b","timestamp":"t","source" : {"x":["}"]} ,"payload":[1, 2]}"#;
    assert_eq!(stamped(text), r#"{"id":"1","type":"a:b","timestamp":"t","source" : "agent:real" ,"payload":[1, 2]}"#);
}

#[test]
fn escaped_source_key_is_replaced_too() {
    let text = r#"{"id":"1","type":"a:b","timestamp":"t","\u0073ource":"agent:fake"}"#;
    let value: Value = serde_json::from_str(&stamped(text)).expect("json");
    assert_eq!(value["source"], "agent:real");
    assert!(!stamped(text).contains("fake"));
}

#[test]
fn absent_fields_are_added_and_the_rest_is_untouched() {
    let text = r#"{"type":"a:b","payload":{"n":1.10, "s":"\u00e9"},"unknown":[ ]}"#;
    let out = stamped(text);
    assert!(out.ends_with(&text[1..]));
    let value: Value = serde_json::from_str(&out).expect("json");
    assert_eq!(value["source"], "agent:real");
    assert_eq!(value["id"], "fresh");
    assert_eq!(value["timestamp"].as_str().map(str::len), Some(24));
}

#[test]
fn limits_count_characters_and_white_space_around_is_json() {
    let id = "é".repeat(MAX_NAME);
    assert!(Envelope::parse(&format!(" \n{{\"type\":\"a:b\",\"id\":\"{id}\"}}\n"), 64).is_ok());
    assert_eq!(code_of(&format!("{{\"type\":\"a:b\",\"id\":\"{id}x\"}}")), "invalid_envelope");
    let out = stamped(" \t{\"type\":\"a:b\"} ");
    assert!(serde_json::from_str::<Value>(&out).is_ok(), "{out}");
}

#[test]
fn faults_are_named() {
    for text in [
        "",
        "[]",
        "null",
        "{",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"nocolon"}"#,
        r#"{"type":":x"}"#,
        r#"["a:b"]"#,
        r#"{"type":"a:b"} x"#,
        r#"{"type":"a:b","type":"c:d"}"#,
        r#"{"type":"a:b","source":1,"source":2}"#,
        r#"{"type":"a:b","seq":1,"seq":2}"#,
        r#"{"type":"a:b","retained":true,"retained":null}"#,
        r#"{"type":"a:b","id":""}"#,
        r#"{"type":"a:b","id":7}"#,
        r#"{"type":"a:b","id":null}"#,
        r#"{"type":"a:b","priority":"urgent"}"#,
        r#"{"type":"a:b","timeout_ms":0}"#,
        r#"{"type":"a:b","timeout_ms":600001}"#,
        r#"{"type":"a:b","payload":{"a":}}"#,
    ] {
        assert_eq!(code_of(text), "invalid_envelope", "{text}");
    }
    assert_eq!(code_of(r#"{"type":"a:b","id":"7","target":"nowhere"}"#), "invalid_target");
    let error = Envelope::parse(r#"{"type":"a:b","id":"7","target":"nowhere"}"#, 64).expect_err("invalid");
    assert_eq!(error.id.as_deref(), Some("7"));
}

#[test]
fn overflow_is_for_ephemeral_messages_it_makes_sense_for() {
    let fault = |rest: &str| {
        let text = format!(r#"{{"type":"message:delta",{rest}}}"#);
        Envelope::parse(&text, 64).err().map(|error| error.error.message)
    };
    for fine in [
        r#""overflow":"drop_newest""#,
        r#""overflow":"drop_oldest","timeout_ms":5"#,
        r#""overflow":"latest","delivery":"ephemeral""#,
        r#""overflow":"latest","conflation_key":"cell:7""#,
        r#""overflow":"merge","correlation_id":"q""#,
        r#""overflow":null,"conflation_key":null"#,
    ] {
        assert_eq!(fault(fine), None, "{fine}");
    }
    for (wrong, part) in [
        (r#""overflow":"newest""#, "unknown variant `newest`"),
        (r#""overflow":1"#, "not a valid envelope"),
        (r#""overflow":"latest","overflow":"latest""#, "duplicate field"),
        (r#""overflow":"drop_newest","delivery":"durable""#, "ephemeral"),
        (r#""overflow":"latest","retain":true"#, "ephemeral"),
        (r#""overflow":"latest","receipt":true"#, "ephemeral"),
        (r#""conflation_key":"a""#, "needs"),
        (r#""overflow":"drop_oldest","conflation_key":"a""#, "needs"),
        (r#""overflow":"latest","conflation_key":"" "#, "1 to 128"),
        (r#""overflow":"latest","timeout_ms":5"#, "request"),
        (r#""overflow":"merge""#, "correlation_id"),
    ] {
        let told = fault(wrong).expect(wrong);
        assert!(told.contains(part), "{wrong}: {told}");
    }
    assert_eq!(code_of(r#"{"type":"message:send","overflow":"merge","correlation_id":"q"}"#), "invalid_envelope");
}

#[test]
fn depth_is_limited_but_brackets_in_strings_are_free() {
    let nested = |levels: usize| format!(r#"{{"type":"a:b","payload":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(Envelope::parse(&nested(63), 64).is_ok());
    assert_eq!(code_of(&nested(64)), "invalid_envelope");
    assert_eq!(code_of(&nested(100_000)), "invalid_envelope");
    let quoted = format!(r#"{{"type":"a:b","payload":"\"{}"}}"#, "[".repeat(1000));
    assert!(Envelope::parse(&quoted, 64).is_ok());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("\\PC{0,6}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn stamping_keeps_everything_but_the_source(payload in any_json(), extra in any_json(), source in any_json(),
            id in proptest::option::of("\\PC{1,20}"), pretty: bool) {
        let mut object = json!({"type":"x:y","payload":payload,"zz":extra,"source":source});
        if let Some(id) = &id { object["id"] = json!(id); }
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.expect("json");
        let mut out: Value = serde_json::from_str(&stamped(&text)).expect("json");
        prop_assert_eq!(&out["source"], "agent:real");
        let expected_id = id.unwrap_or_else(|| "fresh".to_owned());
        prop_assert_eq!(&out["id"], &json!(expected_id));
        out["source"] = source;
        prop_assert_eq!(&out["payload"], &object["payload"]);
        prop_assert_eq!(&out["zz"], &object["zz"]);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = Envelope::parse(&text, 8);
    }
}
