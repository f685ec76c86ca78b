//! A network namespace for a test, in which strangers have addresses that are not this machine's
//! loopback.

use std::{
    io::Write,
    net::Ipv4Addr,
    process::{Command, Stdio},
};

/// Set in a process that runs in such a namespace.
const INSIDE: &str = "BRIDGE_TEST_NAMESPACE";
/// How many addresses there are: `10.99.0.1` and on.
const ADDRESSES: u8 = 60;

/// The addresses of attackers and honest clients.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// Loopback: each number is an address of `127.0.0.0/24`.
    Loopback,
    /// A separate network: each number is an address of `10.99.0.0/24`.
    Namespace,
}

impl Field {
    /// The address with this number, from 1 to 60.
    pub const fn at(self, number: u8) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::new(127, 0, 0, number),
            Self::Namespace => Ipv4Addr::new(10, 99, 0, number),
        }
    }

    /// The address of the honest client.
    pub const fn honest(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Namespace => self.at(ADDRESSES),
        }
    }
}

/// Whether this process is in a separate network. If not, it runs the test of this name
/// (`hostile::siege::name`) once more in one, and fails as that one does; the caller then has
/// nothing left to do. The network ends with its process.
pub fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let addresses: String =
        (1..=ADDRESSES).map(|number| format!(" && ip addr add {}/32 dev lo", Field::Namespace.at(number))).collect();
    let network = format!("ip link set lo up{addresses}");
    let in_network = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]).stdin(Stdio::null());
        command
    };
    let is_permitted = in_network(&network).output().is_ok_and(|output| output.status.success());
    if !is_permitted {
        // Written past the capture of output, so that tests/run-rust.sh can list it.
        let reason = "no network namespace can be made here (it takes root, unshare of util-linux and ip of iproute2)";
        let name = test.rsplit("::").next().unwrap_or(test);
        writeln!(std::io::stderr(), "skipped: {name}: {reason}").expect("writes");
        return false;
    }
    let program = std::env::current_exe().expect("this program");
    let script = format!("{network} && exec '{}' --exact {test} --nocapture --test-threads 1", program.display());
    let output = in_network(&script).env(INSIDE, "1").output().expect("runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(output.status.success() && said, "{test} failed in a network of its own");
    false
}
