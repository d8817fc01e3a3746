//! The other end of the wire: this machine's kernel, behind a TAP in the test's own
//! namespace.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// Answers pings at 10.0.0.1, and returns what is sent to TCP port 7.
pub(crate) struct Peer;

impl Peer {
    pub(crate) fn start() -> Self {
        for arguments in [
            "link set lo up",
            "tuntap add tap0 mode tap",
            "addr add 10.0.0.1/24 dev tap0",
            "link set tap0 up",
        ] {
            let status = Command::new("ip").args(arguments.split(' ')).status();
            assert!(status.unwrap().success(), "ip {arguments}");
        }
        let listener = TcpListener::bind(("0.0.0.0", 7)).unwrap();
        // It ends with the process, as the namespace does.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(|| give_back(stream));
            }
        });
        Self
    }
}

/// The sender finishes first. One that goes earlier misses its answer.
fn give_back(mut stream: TcpStream) {
    let mut data = Vec::new();
    if stream.read_to_end(&mut data).is_ok() {
        let _ = stream.write_all(&data);
    }
}
