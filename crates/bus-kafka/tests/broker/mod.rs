//! A broker of a test's own, which may be killed and frozen.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A real broker on loopback, removed with its data at the end.
pub(crate) struct Broker {
    name: &'static str,
    port: u16,
}

impl Broker {
    /// Starts one under a name and at a port that no other test has.
    pub(crate) fn start(name: &'static str, port: u16) -> Self {
        let broker = Broker { name, port };
        // What an earlier run may have left.
        broker.kafka(&["kill"]);
        broker.kafka(&["clean"]);
        broker.restart();
        broker
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![format!("127.0.0.1:{}", self.port)]
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&self) {
        self.kafka(&["kill"]);
    }

    /// Starts it again, with its data.
    pub(crate) fn restart(&self) {
        self.kafka(&["start", "--port", &self.port.to_string()]);
    }

    /// Stops it in the middle of whatever it does.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on as if no time had passed.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let home = std::env::var_os("KAFKA_DEV_HOME")
            .map_or_else(|| root().join("target/kafka"), PathBuf::from);
        let file = home.join(self.name).join("node1.pid");
        let Ok(pid) = std::fs::read_to_string(file) else { return };
        let done = Command::new("kill").args([signal, pid.trim()]).status();
        assert!(done.expect("kill runs").success(), "no process {pid}");
    }

    fn kafka(&self, arguments: &[&str]) {
        let ran = Command::new(root().join("deploy/dev/kafka/kafka"))
            .args(arguments)
            .args(["--name", self.name])
            .output()
            .expect("the script runs");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "kafka {arguments:?}: {said}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.thaw();
        self.kafka(&["kill"]);
        self.kafka(&["clean"]);
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
