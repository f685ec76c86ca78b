//! One process of the daemon. Dropping it kills the process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::{eventually, in_time};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_agent-bridge");
/// Makes a process end with the thread that started it, however that ends.
const SETPRIV: &str = "/usr/bin/setpriv";
/// How much of the log is shown when a test fails.
const SHOWN_LINES: usize = 40;

/// See the module.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// The program, for a command that ends by itself. It inherits no environment.
pub fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

impl Process {
    /// Starts the program; its output is appended to `log`.
    pub fn start(name: &str, folder: &Path, arguments: &[String], environment: &[(String, String)]) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("the log can be written");
        let mut command = if Path::new(SETPRIV).is_file() {
            let mut command = Command::new(SETPRIV);
            command.args(["--pdeathsig", "KILL", PROGRAM]);
            command
        } else {
            Command::new(PROGRAM)
        };
        command.args(arguments).current_dir(folder).env_clear().envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = command.spawn().expect("the program starts");
        Self { name: name.to_owned(), child, log }
    }

    /// Ends it like a crash, SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Asks it to stop, SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to read its files again, SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends it like a failed assertion in a library, SIGABRT.
    pub fn abort(&self) {
        self.signal(Signal::ABORT);
    }

    /// Limits its memory to what it has.
    pub fn limit_memory(&self) {
        let limit = Rlimit { current: Some(self.status("VmSize:")), maximum: None };
        prlimit(Some(self.pid()), Resource::As, limit).expect("its owner may set its limits");
    }

    /// The limit on its core file.
    pub fn core_limit(&self) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).expect("it runs");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("the kernel says so");
        line.split_whitespace().next().and_then(|soft| soft.parse().ok())
    }

    /// Limits the length of its files to so many bytes, or removes the limit.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, limit).expect("its owner may set its limits");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("a process id")
    }

    /// A size that the kernel reports, in bytes.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process(self.pid(), signal) {
            panic!("{} could not be sent a signal: {error}", self.name);
        }
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it can be waited for")
    }

    /// Its exit code, once it has ended by itself.
    pub async fn exit_code(&mut self) -> i32 {
        eventually("the process ends", async || self.ended().is_some()).await;
        let status = self.ended().expect("it has ended");
        status.code().unwrap_or_else(|| panic!("{} did not end by itself: {status}", self.name))
    }

    /// Waits for `ready`; the process must live meanwhile.
    pub async fn wait_until(&mut self, ready: impl AsyncFn() -> bool) {
        let waiting = async {
            while !ready().await {
                if let Some(status) = self.ended() {
                    panic!("{} ended at its start: {status}", self.name);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        in_time("the process is ready", waiting).await;
    }

    /// Its output.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// Its memory.
    pub fn memory(&self) -> Memory {
        Memory { now: self.status("VmRSS:"), peak: self.status("VmHWM:") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            eprintln!("== the end of {}'s log:\n{shown}", self.name);
        }
    }
}
