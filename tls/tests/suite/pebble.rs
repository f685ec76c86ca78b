//! Pebble: a real authority on this machine, which Let's Encrypt makes for such tests. It refuses a
//! share of good requests on purpose, as authorities may.

use std::{
    fs,
    net::{SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tls::{ClientTls, Trust, testing::TestAuthority};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Lets a process end with the thread that started it.
const SETPRIV: &str = "/usr/bin/setpriv";

/// An authority and a name server that says of every name that it is this machine. They end with
/// this.
pub struct Pebble {
    log: PathBuf,
    management: SocketAddr,
    ca_file: PathBuf,
    children: Vec<Child>,
}

/// Where an authority is going to be, so that it can be looked for before it is there.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub directory: SocketAddr,
    /// Where the authority asks its questions: our listener.
    asked: SocketAddr,
    life_in_seconds: u64,
}

impl Place {
    pub fn new(asked: SocketAddr, life_in_seconds: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), directory: free_addr(), asked, life_in_seconds }
    }

    pub async fn start(&self) -> Pebble {
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
        let listens = async {
            while TcpStream::connect(management).await.is_err() || TcpStream::connect(directory).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), listens).await.expect("the authority listens");
        pebble
    }
}

impl Pebble {
    /// The certificate that signs everything it issues, in a file.
    pub async fn root(&self, folder: &Path) -> PathBuf {
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
    // It ends with the test run, however that ends.
    let mut command = Command::new(if Path::new(SETPRIV).is_file() { SETPRIV } else { "env" });
    if Path::new(SETPRIV).is_file() {
        command.args(["--pdeathsig", "KILL"]);
    }
    assert!(
        Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status().unwrap().success(),
        "tests/install.sh installs {program}"
    );
    command.arg(program).args(arguments).env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "10");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("spawns")
}

pub fn free_addr() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
