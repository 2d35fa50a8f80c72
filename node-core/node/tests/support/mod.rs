//! A node as a process of its own, with its own data folder.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod streams;
pub mod video_api;

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use thetis::control::{ControlClient, Status};

pub struct Daemon {
    pub folder: tempfile::TempDir,
    child: Option<Child>,
}

/// Settings under which nodes of one machine do not meet anybody else's.
const LOOPBACK: [&str; 5] = [
    "control.listen=127.0.0.1:0",
    "player.listen=127.0.0.1:0",
    "gateway.listen=127.0.0.1:0",
    "chain.rpc_listen=127.0.0.1:0",
    "mesh.listen=[\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0\"]",
];

impl Daemon {
    /// A data folder on a local network of its own.
    pub fn init(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let passphrase = folder.path().join("passphrase");
        std::fs::write(&passphrase, "correct horse\n").unwrap();
        std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600)).unwrap();
        let daemon = Self { folder, child: None };
        let set: Vec<&str> = LOOPBACK.iter().flat_map(|value| ["--set", value]).collect();
        let arguments: Vec<&str> = ["init"].iter().chain(flags).copied().chain(set).collect();
        let output = daemon.command(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        daemon
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs one command on the data folder.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.thetis().args(arguments).arg("--json").output().unwrap()
    }

    /// The JSON that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "thetis {arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The text that a command prints.
    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.thetis().args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "thetis {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that must fail says.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(!output.status.success(), "thetis {arguments:?} should fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn start(&mut self, flags: &[&str]) {
        let child =
            self.thetis().arg("serve").args(flags).stderr(log()).stdout(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
    }

    /// Starts it and waits until it answers.
    pub async fn serve(&mut self, flags: &[&str]) -> ControlClient {
        self.start(flags);
        let mut client = None;
        until("the node is up", async || {
            // The file of one that was killed may still be there.
            client = self.client().filter(|client| client.owner().pid == self.pid());
            client.is_some()
        })
        .await;
        client.unwrap()
    }

    pub fn client(&self) -> Option<ControlClient> {
        ControlClient::attach(&self.data()).ok()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal and waits for the end; gives whether it ended in good order.
    pub fn end(&mut self, signal: &str) -> bool {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        child.wait().unwrap().success()
    }

    /// Waits for an end that was asked for in another way; gives whether it was a good one.
    pub fn ended(&mut self) -> bool {
        self.child.take().unwrap().wait().unwrap().success()
    }

    fn thetis(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thetis"));
        command
            .arg("--data")
            .arg(self.data())
            .arg("--passphrase-file")
            .arg(self.folder.path().join("passphrase"));
        // No keyring of whoever runs the tests.
        command.env_remove("DBUS_SESSION_BUS_ADDRESS");
        command
    }
}

/// Where a node's log goes: nowhere, or into a file in the folder that THETIS_TEST_LOGS names.
fn log() -> Stdio {
    let Some(folder) = std::env::var_os("THETIS_TEST_LOGS") else { return Stdio::null() };
    let name = format!("thetis-{:08x}.log", rand::random::<u32>());
    std::fs::File::create(PathBuf::from(folder).join(name)).unwrap().into()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub async fn status(client: &ControlClient) -> Status {
    client.get("/api/status").await.unwrap()
}

/// Waits until something is true, for at most a minute.
pub async fn until(what: &str, done: impl AsyncFnMut() -> bool) {
    until_within(Duration::from_secs(60), what, done).await;
}

/// Waits until something is true that may take its time.
pub async fn until_within(most: Duration, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < most {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain for: {what}");
}

pub fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// HTTPS is not used here, but its library wants to be told of a provider.
pub fn tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
