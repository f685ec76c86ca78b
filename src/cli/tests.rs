//! The arguments and their effects.

use clap::CommandFactory;

use super::*;

fn parse(words: &[&str]) -> Arguments {
    Arguments::try_parse_from([&["agent-bridge"], words].concat()).unwrap()
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn options_may_stand_before_and_after_the_command() {
    for words in [&["--broker-addr", "127.0.0.1:1", "broker"][..], &["broker", "--broker-addr", "127.0.0.1:1"]] {
        let arguments = parse(words);
        assert!(matches!(arguments.command, Some(Command::Broker)));
        assert_eq!(arguments.options.broker_addr.as_deref(), Some("127.0.0.1:1"));
    }
}

#[test]
fn flags_name_themselves_and_set_is_over_the_named_ones() {
    let flags = parse(&["--demo", "--set", "web.addr=[::1]:2", "--web-addr", "127.0.0.1:1"]).options.flags();
    let told: Vec<_> = flags.iter().map(|flag| (flag.origin.as_str(), flag.key.as_str(), flag.value.as_str())).collect();
    assert_eq!(
        told,
        [("--web-addr", "web.addr", "127.0.0.1:1"), ("--demo", "demo.enabled", "true"), ("--set", "web.addr", "[::1]:2")]
    );
}

#[test]
fn dialects_are_turned_on_by_name_and_others_are_refused() {
    let flags = parse(&["--dialect", "supervisor,hybrid"]).options.flags();
    let told: Vec<_> = flags.iter().map(|flag| (flag.origin.as_str(), flag.key.as_str(), flag.value.as_str())).collect();
    let on = |key| ("--dialect", key, "true");
    assert_eq!(told, [on("dialects.supervisor.enabled"), on("dialects.hybrid.enabled")]);
    assert!(Arguments::try_parse_from(["agent-bridge", "--dialect", "morse"]).is_err());
}

#[test]
fn set_needs_a_key_and_a_value() {
    assert!(Arguments::try_parse_from(["agent-bridge", "--set", "web.addr"]).is_err());
    assert_eq!(key_and_value("broker.agent_keys=a=b"), Ok(("broker.agent_keys".into(), "a=b".into())));
}

#[test]
fn the_demo_agent_takes_its_own_flags() {
    let Some(Command::Demo(args)) = parse(&["demo", "--url", "ws://b:1", "--agent-id", "helper"]).command else {
        panic!("not the demo command");
    };
    let told: Vec<_> = args.flags().into_iter().map(|flag| (flag.key, flag.value)).collect();
    assert_eq!(told, [("demo.url".into(), "ws://b:1".into()), ("demo.agent_id".into(), "helper".to_owned())]);
}
