//! Certificates ordered of a real authority.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, time::SystemTime};

use common::config::{ListenerTls, Settings};
use tls::{ClientTls, Trust, testing::TestAuthority};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    harness::{Listener, eventually, in_time},
    pebble::{Place, free_addr},
};

const NAME: &str = "bridge.example";

fn settings(data: &Path, place: &Place) -> Settings {
    let mut settings = Settings::for_tests();
    settings.data.dir = data.to_owned();
    settings.acme.domains = vec![NAME.to_owned(), "Agents.Bridge.example".to_owned()];
    settings.acme.directory_url = format!("https://{}/dir", place.directory);
    settings.acme.contact = Some("operator@bridge.example".to_owned());
    settings.acme.ca_file = Some(place.folder.path().join("own-ca.pem"));
    settings.acme.agree_terms = true;
    settings
}

async fn dial(client: &ClientTls, addr: SocketAddr, name: &str) -> std::io::Result<tls::TlsStream> {
    client.connect(name, TcpStream::connect(addr).await?).await
}

#[tokio::test]
async fn a_certificate_is_ordered_kept_and_renewed_in_time() {
    let data = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::new(tcp.local_addr().unwrap(), 12);
    let pebble = place.start().await;
    let settings = settings(data.path(), &place);
    let on = ListenerTls { acme: true, ..ListenerTls::default() };
    let listening = tls::Listener::start(&on, &settings, None).unwrap().expect("TLS");
    let listener = Listener::on(tcp, listening.server());
    assert_eq!(listener.server.fault().map(|fault| fault.code), Some("tls_no_certificate"), "it starts without");

    eventually("there is a certificate", || listener.server.facts().is_some()).await;
    let facts = listener.server.facts().unwrap();
    assert!(facts.covers(&["bridge.example".into(), "agents.bridge.example".into()]), "{facts:?}");
    assert_eq!(listener.server.fault(), None);
    let client = ClientTls::new(Trust::Authorities(pebble.root(place.folder.path()).await)).unwrap();
    let mut open = dial(&client, listener.addr, "agents.bridge.example").await.expect("the authority vouches for it");

    let folder = listener.server.cert_file().parent().unwrap().to_owned();
    assert!(folder.starts_with(data.path().join("acme")));
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["account.json", "certificate.pem", "lock"], "answers are gone");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);

    eventually("it is renewed", || listener.server.facts().unwrap().not_after > facts.not_after).await;
    assert!(SystemTime::now() < facts.not_after, "before the first one's end");
    open.write_all(b"x").await.unwrap();
    in_time("an echo", open.read_exact(&mut [0])).await.expect("what was open stays open");
    dial(&client, listener.addr, NAME).await.expect("trusted");
}

#[tokio::test]
async fn an_unreachable_authority_is_reported_and_asked_again() {
    let data = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::new(tcp.local_addr().unwrap(), 86_400);
    let settings = settings(data.path(), &place);
    TestAuthority::new("another").save(place.folder.path(), "own-ca.pem");
    let on = ListenerTls { acme: true, ..ListenerTls::default() };
    let first = tls::Listener::start(&on, &settings, None).unwrap().expect("TLS");
    // Two listeners on one folder, as broker and edge are: one orders, both serve, and both answer
    // the authority.
    let second = tls::Listener::start(&on, &settings, None).unwrap().expect("TLS");
    let listener = Listener::on(tcp, first.server());
    let told = || first.server().fault().is_some_and(|fault| fault.message.contains("authority"));
    eventually("the failure is told", told).await;
    // Whoever is started now, by whatever restarts it, does not ask the authority again at once.
    let third = tls::Listener::start(&on, &settings, None).unwrap().expect("TLS");
    eventually("the failure is known", || third.server().fault().is_some_and(|fault| fault.message.contains("authority"))).await;
    let kept = fs::read_to_string(third.server().cert_file().with_file_name("failure.json")).unwrap();
    assert!(kept.contains("\"count\":1"), "{kept}");
    drop(third);

    let pebble = place.start().await;
    first.reload().await;
    second.reload().await;
    let both = || first.server().facts().is_some() && second.server().facts().is_some();
    eventually("both have a certificate", both).await;
    assert_eq!(first.server().facts(), second.server().facts());
    eventually("nothing is wrong any more", || first.server().fault().is_none() && second.server().fault().is_none()).await;
    drop((first, second));

    // A restart orders nothing: the certificate is good.
    drop(pebble);
    let again = tls::Listener::start(&on, &settings, None).unwrap().expect("TLS");
    assert_eq!(again.server().facts(), listener.server.facts());
    assert_eq!(again.server().fault(), None);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_not_proved() {
    let data = tempfile::tempdir().unwrap();
    // Nobody answers where the authority asks.
    let place = Place::new(free_addr(), 86_400);
    let _pebble = place.start().await;
    let on = ListenerTls { acme: true, ..ListenerTls::default() };
    let listening = tls::Listener::start(&on, &settings(data.path(), &place), None).unwrap().expect("TLS");
    let told = || listening.server().fault().is_some_and(|fault| fault.message.contains("could not be shown that"));
    eventually("the authority's reason is told", told).await;
    let fault = listening.server().fault().unwrap().message;
    assert!(fault.contains("bridge.example") && fault.contains("connect"), "{fault}");
    assert!(listening.server().facts().is_none());
}
