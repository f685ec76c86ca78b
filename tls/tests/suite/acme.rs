//! Certificates ordered of a real authority on this machine: Pebble, which Let's Encrypt makes for such tests. It refuses a share of
//! good requests on purpose, as authorities may.

use std::{
    fs,
    net::{SocketAddr, TcpListener as StdListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::SystemTime,
};

use common::config::{ListenerTls, Settings};
use tls::{ClientTls, Trust, testing::TestAuthority};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Listener, eventually, in_time};

const NAME: &str = "bridge.example";

/// An authority and a name server that says of every name that it is this machine. They end with this.
struct Pebble {
    log: PathBuf,
    management: SocketAddr,
    ca_file: PathBuf,
    children: Vec<Child>,
}

/// Where an authority is going to be, so that it can be looked for before it is there.
struct Place {
    folder: tempfile::TempDir,
    directory: SocketAddr,
    /// Where the authority asks its questions: our listener.
    asked: SocketAddr,
    life_in_seconds: u64,
}

impl Place {
    fn new(asked: SocketAddr, life_in_seconds: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), directory: free_addr(), asked, life_in_seconds }
    }

    async fn start(&self) -> Pebble {
        let folder = self.folder.path();
        let (directory, management, names, names_management) = (self.directory, free_addr(), free_addr(), free_addr());
        let own = TestAuthority::new("the authority's own");
        let issued = own.issue(&["127.0.0.1"]);
        let (cert, key) = (folder.join("own.pem"), folder.join("own.key"));
        fs::write(&cert, &issued.cert).unwrap();
        fs::write(&key, &issued.key).unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": directory.to_string(), "managementListenAddress": management.to_string(),
            "certificate": cert, "privateKey": key, "httpPort": 1, "tlsPort": self.asked.port(),
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
            "certificateValidityPeriod": self.life_in_seconds,
        }});
        let config_file = folder.join("pebble.json");
        fs::write(&config_file, config.to_string()).unwrap();
        let none = "";
        let (names, names_management) = (names.to_string(), names_management.to_string());
        let name_server = ["-dns01", &names, "-management", &names_management, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", none];
        let others = ["-http01", none, "-https01", none, "-tlsalpn01", none];
        let children = vec![
            spawn(folder, "pebble-challtestsrv", &[&name_server[..], &others].concat()),
            spawn(folder, "pebble", &["-config", config_file.to_str().unwrap(), "-dnsserver", &names]),
        ];
        let log = folder.join("pebble.log");
        let pebble = Pebble { log, management, ca_file: own.save(folder, "own-ca.pem"), children };
        in_time("the authority listens", async {
            while TcpStream::connect(management).await.is_err() || TcpStream::connect(directory).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        pebble
    }
}

impl Pebble {
    /// The certificate that signs everything it issues, in a file.
    async fn root(&self, folder: &Path) -> PathBuf {
        let client = ClientTls::new(Trust::Authorities(self.ca_file.clone())).unwrap();
        let socket = TcpStream::connect(self.management).await.unwrap();
        let mut stream = client.connect("127.0.0.1", socket).await.unwrap();
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let path = folder.join("root.pem");
        fs::write(&path, answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        path
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("== the authority's log:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn spawn(folder: &Path, program: &str, arguments: &[&str]) -> Child {
    let log = fs::File::create(folder.join(format!("{program}.log"))).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "20");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; tests/install.sh installs it"))
}

fn free_addr() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

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
    assert_eq!(listener.server.fault().as_deref(), Some("there is no certificate yet"), "it starts without");

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
async fn an_authority_that_is_away_is_told_and_asked_again() {
    let data = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::new(tcp.local_addr().unwrap(), 86_400);
    let settings = settings(data.path(), &place);
    TestAuthority::new("another").save(place.folder.path(), "own-ca.pem");
    let on = ListenerTls { acme: true, ..ListenerTls::default() };
    let first = tls::Listener::start(&on, &settings, None).unwrap().expect("TLS");
    // Two listeners on one folder, as broker and edge are: one orders, both serve, and both answer the authority.
    let second = tls::Listener::start(&on, &settings, None).unwrap().expect("TLS");
    let listener = Listener::on(tcp, first.server());
    let told = || first.server().fault().is_some_and(|fault| fault.contains("authority"));
    eventually("the failure is told", told).await;

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
    let told = || listening.server().fault().is_some_and(|fault| fault.contains("could not be shown that"));
    eventually("the authority's reason is told", told).await;
    let fault = listening.server().fault().unwrap();
    assert!(fault.contains("bridge.example") && fault.contains("connect"), "{fault}");
    assert!(listening.server().facts().is_none());
}
