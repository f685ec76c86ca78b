//! The dialer's side: whom it trusts and whom it does not.

use std::time::{Duration, SystemTime};

use tls::{
    ClientTls, Trust,
    testing::{Issued, TestAuthority},
};
use tokio::net::TcpStream;

use crate::harness::{Listener, from_file};

const NAME: &str = "bridge.example";
const DAY: Duration = Duration::from_secs(86_400);

async fn dial(client: &ClientTls, listener: &Listener, name: &str) -> Result<(), String> {
    let socket = TcpStream::connect(listener.addr).await.unwrap();
    client.connect(name, socket).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_dialer_trusts_its_authorities_for_the_name_it_dials() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (TestAuthority::new("ours"), TestAuthority::new("theirs"));
    let ca = ours.save(dir.path(), "ca.pem");
    let client = ClientTls::new(Trust::Authorities(ca)).unwrap();
    let serve = async |issued: Issued, name: &str| Listener::start(from_file(&issued.save(dir.path(), name))).await;

    let good = serve(ours.issue(&[NAME, "127.0.0.1"]), "good").await;
    assert_eq!(dial(&client, &good, NAME).await, Ok(()));
    assert_eq!(dial(&client, &good, "127.0.0.1").await, Ok(()));
    assert!(dial(&client, &good, "other.example").await.unwrap_err().contains("not valid for name"));

    let foreign = serve(theirs.issue(&[NAME]), "foreign").await;
    assert!(dial(&client, &foreign, NAME).await.unwrap_err().contains("UnknownIssuer"));
    let now = SystemTime::now();
    let expired = serve(ours.issue_for(&[NAME], now - 2 * DAY, now - DAY), "expired").await;
    assert!(dial(&client, &expired, NAME).await.unwrap_err().contains("expired"));
    let future = serve(ours.issue_for(&[NAME], now + DAY, now + 2 * DAY), "future").await;
    assert!(dial(&client, &future, NAME).await.unwrap_err().contains("not valid yet"));

    // What is trusted is read again when it changes.
    theirs.save(dir.path(), "ca.pem");
    assert_eq!(dial(&client, &foreign, NAME).await, Ok(()));
    assert!(dial(&client, &good, NAME).await.is_err());
}

#[tokio::test]
async fn the_system_does_not_trust_a_stranger() {
    let dir = tempfile::tempdir().unwrap();
    let listener = Listener::start(from_file(&TestAuthority::new("x").issue(&[NAME]).save(dir.path(), "cert.pem"))).await;
    let client = ClientTls::new(Trust::System).expect("the system has authorities");
    assert!(dial(&client, &listener, NAME).await.unwrap_err().contains("UnknownIssuer"));
}

#[tokio::test]
async fn a_local_listener_is_known_by_its_very_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("x");
    let path = authority.issue(&[NAME]).save(dir.path(), "cert.pem");
    let listener = Listener::start(from_file(&path)).await;
    let client = ClientTls::new(Trust::Exactly(path)).unwrap();
    assert_eq!(dial(&client, &listener, "127.0.0.1").await, Ok(()), "whatever its names");

    let waiting = ClientTls::new(Trust::Exactly(dir.path().join("ordered.pem"))).expect("it may come later");
    assert!(dial(&waiting, &listener, NAME).await.is_err(), "until then nobody is trusted");

    let twin = Listener::start(from_file(&authority.issue(&[NAME]).save(dir.path(), "twin.pem"))).await;
    assert!(dial(&client, &twin, NAME).await.is_err(), "the same name from the same authority is another certificate");

    authority.issue(&[NAME]).save(dir.path(), "cert.pem");
    listener.server.reload_if_changed();
    assert_eq!(dial(&client, &listener, "127.0.0.1").await, Ok(()), "after a renewal too");
}

#[tokio::test]
async fn a_probe_asks_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let listener = Listener::start(from_file(&TestAuthority::new("x").issue(&[NAME]).save(dir.path(), "cert.pem"))).await;
    assert_eq!(dial(&ClientTls::new(Trust::Anybody).unwrap(), &listener, "127.0.0.1").await, Ok(()));
}
