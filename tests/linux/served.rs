//! `softnet device` on the peer's TAP.

use crate::support;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Command, Stdio};

pub(crate) struct Served {
    child: Option<Child>,
    said: Lines<BufReader<ChildStderr>>,
    folder: support::Folder,
}

impl Served {
    /// Starts it, and waits until a machine can come.
    #[track_caller]
    pub(crate) fn start(chip: &str) -> Self {
        let folder = support::Folder::new("device");
        let socket = folder.file("nic.sock");
        let mut command = support::softnet(&["device", chip, "--json", "--wire", "tap:tap0"]);
        command.arg("--socket").arg(&socket);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        assert!(first.contains("is served at"), "{first}");
        Self {
            child: Some(child),
            said,
            folder,
        }
    }

    /// How QEMU gets the device.
    pub(crate) fn device(&self) -> Value {
        json!({
            "driver": "vfio-user-pci",
            "socket": { "type": "unix", "path": self.folder.file("nic.sock") },
        })
    }

    /// Ends it as soon as it has seen the machine leave. Returns what it counted.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Value {
        let left = self.said.by_ref().map(Result::unwrap);
        let left = left.into_iter().find(|line| line.contains("has left"));
        assert!(left.is_some(), "the device did not see the machine leave");
        let child = self.child.take().unwrap();
        let pid = child.id().to_string();
        let killed = Command::new("kill").args(["-INT", &pid]).status();
        assert!(killed.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        support::json(&output)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
