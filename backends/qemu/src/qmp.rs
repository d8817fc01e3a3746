//! QEMU's monitor: one JSON object a line (QEMU, `docs/interop/qmp-spec`).

use crate::QemuError;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Qmp {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Qmp {
    /// Greets the monitor, which takes no commands before.
    pub(crate) fn new(stream: UnixStream) -> Result<Self, QemuError> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let from = BufReader::new(stream.try_clone()?);
        let mut qmp = Self { to: stream, from };
        qmp.line()?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has a command done.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<(), QemuError> {
        let said = json!({ "execute": command, "arguments": arguments });
        writeln!(self.to, "{said}")?;
        loop {
            let answer = self.line()?;
            if let Some(error) = answer.get("error") {
                return Err(QemuError::Refused(error.to_string()));
            }
            // All else are events.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> Result<Value, QemuError> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(QemuError::Ended(String::new()));
        }
        serde_json::from_str(&line).map_err(|_| QemuError::Refused(line))
    }
}
