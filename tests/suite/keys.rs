//! Agent keys as an operator handles them: made and revoked by the command line, read again at
//! SIGHUP.

use serde_json::json;

use crate::harness::{DialError, Ended, Peer, Site, eventually};

async fn dial(site: &Site, key: &str) -> Result<Peer, DialError> {
    Peer::dial(site.broker, "/ws/agent?agent_id=keyed", key).await
}

#[tokio::test]
async fn a_key_is_made_used_listed_and_revoked_while_the_daemon_runs() {
    let site = Site::new();
    let mut daemon = site.daemon().await;
    let made = site.run(&["key", "create", "team-a", "--connect-as", "key*", "--topics", "room/*", "--expires", "30d"]);
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    assert!(key.starts_with("abk_team-a_") && !String::from_utf8_lossy(&made.stderr).contains(&key));

    daemon.hang_up();
    let mut dialled = None;
    eventually("the key is good", async || {
        dialled = dial(&site, &key).await.ok();
        dialled.is_some()
    })
    .await;
    let mut peer = dialled.expect("upgraded");
    peer.expect("connection:ack").await;
    peer.settle().await;
    peer.send(json!({"type":"job:new","id":"1","target":"topic:hall"})).await;
    let refused = peer.settle().await;
    assert!(refused.iter().any(|frame| frame["payload"]["code"] == "not_allowed"), "{refused:?}");
    let elsewhere = Peer::dial(site.broker, "/ws/agent?agent_id=other", &key).await;
    assert!(matches!(elsewhere, Err(DialError::Refused(403))));

    assert!(site.run(&["key", "revoke", "team-a"]).status.success());
    daemon.hang_up();
    assert_eq!(peer.ended().await, Ended::Code(4003));
    assert!(matches!(dial(&site, &key).await, Err(DialError::Refused(401))));
    site.agent("configured").await;
    assert!(daemon.ended().is_none());

    daemon.terminate();
    assert_eq!(daemon.exit_code().await, 0);
    let listed = String::from_utf8(site.run(&["key", "list"]).stdout).expect("text");
    let line = listed.lines().find(|line| line.starts_with("team-a ")).unwrap_or_else(|| panic!("{listed}"));
    assert!(line.contains(" revoked ") && line.contains("connect-as=key* topics=room/*"), "{line}");
    // The time of its last use is saved at the end.
    assert!(!line.contains("never") && !listed.contains(&key), "{line}");
}

#[test]
fn impossible_operations_on_a_key_are_reported() {
    let site = Site::new();
    for (arguments, said) in [
        (&["key", "create", "Team"][..], "1 to 32 of a-z 0-9 -"),
        (&["key", "create", "default"], "the configuration has a key"),
        (&["key", "create", "one", "--users", "a b"], "--users"),
        (&["key", "create", "one", "--expires", "soon"], "--expires"),
        (&["key", "revoke", "one"], "there is no key"),
    ] {
        let output = site.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{arguments:?}: {text}");
    }
    assert!(site.run(&["key", "create", "one"]).status.success());
    assert!(!site.run(&["key", "create", "one"]).status.success(), "a name is used once");
}
