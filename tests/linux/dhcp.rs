//! A DHCP server on the peer's TAP: busybox's, which is in the guest anyway.

use crate::support::Folder;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) struct Server {
    child: Child,
    _folder: Folder,
}

impl Server {
    /// Gives out the one address 10.0.0.60.
    pub(crate) fn start(busybox: &Path) -> Self {
        let folder = Folder::new("dhcp");
        let leases = folder.file("leases");
        fs::write(&leases, "").unwrap();
        let lines = [
            "start 10.0.0.60",
            "end 10.0.0.60",
            "interface tap0",
            "option subnet 255.255.255.0",
            &format!("lease_file {}", leases.display()),
            &format!("pidfile {}", folder.file("pid").display()),
        ];
        let config = folder.file("config");
        fs::write(&config, lines.join("\n") + "\n").unwrap();
        let mut command = Command::new(busybox);
        command.args(["udhcpd", "-f"]).arg(&config);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        Self {
            child,
            _folder: folder,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
