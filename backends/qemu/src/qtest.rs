//! The qtest protocol: one line a command, one line an answer, in order, and lines about
//! interrupt pins in between (QEMU, `docs/devel/testing/qtest`).
//!
//! Writes are *posted*: their answers are read later, so that a run of them costs one
//! exchange. QEMU works in order, so what a read finds is what the writes before it
//! have left.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// No command takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many answers may be outstanding: what QEMU writes meanwhile must fit into the
/// socket's buffer, or both ends would wait for each other.
const POSTED: usize = 256;

/// So many bytes are gathered before they are sent.
const GATHERED: usize = 32 * 1024;

/// The connection, from any thread.
pub(crate) struct Qtest {
    line: Mutex<Line>,
}

/// The connection, for as long as nobody else may come between two commands.
pub(crate) struct Line {
    to: UnixStream,
    from: BufReader<UnixStream>,
    gathered: Vec<u8>,
    /// Commands whose answers have not been read yet.
    posted: usize,
    /// Interrupt pins that are asserted, by number.
    pins: u64,
    traffic: Traffic,
    gone: bool,
}

/// What went over the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Commands.
    pub commands: u64,
    /// Of those, the ones whose answer was waited for.
    pub exchanges: u64,
}

/// Width of an access, as the commands name it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Width {
    Byte,
    Word,
    Long,
    Quad,
}

impl Width {
    const fn memory(self) -> char {
        match self {
            Self::Byte => 'b',
            Self::Word => 'w',
            Self::Long => 'l',
            Self::Quad => 'q',
        }
    }

    pub(crate) const fn bytes(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Long => 4,
            Self::Quad => 8,
        }
    }

    /// What an access to nothing reads.
    pub(crate) const fn ones(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Long => 0xffff_ffff,
            Self::Quad => u64::MAX,
        }
    }
}

impl Qtest {
    pub(crate) fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let line = Line {
            from: BufReader::new(stream.try_clone()?),
            to: stream,
            gathered: Vec::new(),
            posted: 0,
            pins: 0,
            traffic: Traffic::default(),
            gone: false,
        };
        Ok(Self {
            line: Mutex::new(line),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Sends a command whose answer says nothing but that it was done.
    pub(crate) fn post(&mut self, command: fmt::Arguments<'_>) {
        if self.gone {
            return;
        }
        self.gather(command);
        self.posted += 1;
        if self.posted >= POSTED {
            self.settle();
        } else if self.gathered.len() >= GATHERED {
            self.send();
        }
    }

    /// Sends what was gathered, and waits for nothing.
    pub(crate) fn send(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        if self.to.write_all(&gathered).is_err() {
            self.gone = true;
        }
    }

    /// Waits until all that was posted is done.
    pub(crate) fn settle(&mut self) {
        self.send();
        while self.posted > 0 && self.answer().is_some() {
            self.posted -= 1;
        }
    }

    /// Sends a command and waits for what it answers after `OK`; `None` when QEMU is
    /// gone.
    pub(crate) fn ask(&mut self, command: fmt::Arguments<'_>) -> Option<String> {
        if self.gone {
            return None;
        }
        self.gather(command);
        self.traffic.exchanges += 1;
        self.settle();
        self.answer()
    }

    /// Asks for a number.
    fn number(&mut self, command: fmt::Arguments<'_>) -> Option<u64> {
        let answer = self.ask(command)?;
        let digits = answer.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    }

    pub(crate) fn read(&mut self, width: Width, at: u64) -> u64 {
        let value = self.number(format_args!("read{} {at:#x}", width.memory()));
        value.unwrap_or(u64::MAX) & width.ones()
    }

    pub(crate) fn write(&mut self, width: Width, at: u64, value: u64) {
        self.post(format_args!("write{} {at:#x} {value:#x}", width.memory()));
    }

    pub(crate) fn port_in(&mut self, width: Width, port: u64) -> u64 {
        let value = self.number(format_args!("in{} {port:#x}", width.memory()));
        value.unwrap_or(u64::MAX) & width.ones()
    }

    pub(crate) fn port_out(&mut self, width: Width, port: u64, value: u64) {
        self.post(format_args!("out{} {port:#x} {value:#x}", width.memory()));
    }

    /// Copies memory out; `None` when QEMU is gone.
    pub(crate) fn read_bytes(&mut self, at: u64, out: &mut [u8]) -> Option<()> {
        if out.is_empty() {
            return Some(());
        }
        let text = self.ask(format_args!("b64read {at:#x} {:#x}", out.len()))?;
        let read = BASE64.decode_slice(text.as_bytes(), out);
        (read.ok()? == out.len()).then_some(())
    }

    /// Copies memory in.
    pub(crate) fn write_bytes(&mut self, at: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            let (len, text) = (bytes.len(), BASE64.encode(bytes));
            self.post(format_args!("b64write {at:#x} {len:#x} {text}"));
        }
    }

    pub(crate) fn zero(&mut self, at: u64, len: usize) {
        self.post(format_args!("memset {at:#x} {len:#x} 0x00"));
    }

    /// Waits until QEMU has done everything so far, and once more answered.
    pub(crate) fn round_trip(&mut self) {
        self.ask(format_args!("readb 0x0"));
    }

    /// Lets time pass for the machine, in nanoseconds: its clock moves with this alone.
    pub(crate) fn clock_step(&mut self, ns: u64) {
        self.ask(format_args!("clock_step {ns}"));
    }

    /// The interrupt pins that were asserted when the last answer came, by number.
    pub(crate) const fn pins(&self) -> u64 {
        self.pins
    }

    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn gather(&mut self, command: fmt::Arguments<'_>) {
        self.traffic.commands += 1;
        // A vector takes all that is written to it.
        let _ = writeln!(self.gathered, "{command}");
    }

    /// The next answer. An error, an answer that is none, and silence all mean that the
    /// machine can no longer be spoken to.
    fn answer(&mut self) -> Option<String> {
        while !self.gone {
            let mut line = String::new();
            let read = self.from.read_line(&mut line);
            let mut words = line.split_ascii_whitespace();
            match (read, words.next()) {
                (Ok(1..), Some("OK")) => return Some(words.next().unwrap_or("").to_owned()),
                (Ok(1..), Some("IRQ")) => self.note_pin(words.next(), words.next()),
                _ => self.gone = true,
            }
        }
        None
    }

    fn note_pin(&mut self, change: Option<&str>, number: Option<&str>) {
        let number = number.and_then(|number| number.parse::<u32>().ok());
        let Some(pin) = number.and_then(|number| 1_u64.checked_shl(number)) else {
            return;
        };
        match change {
            Some("raise") => self.pins |= pin,
            Some("lower") => self.pins &= !pin,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A connection to an end that has already given these answers.
    fn answered(answers: &str) -> (Qtest, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answers.as_bytes()).unwrap();
        (Qtest::new(ours).unwrap(), theirs)
    }

    fn said(qtest: Qtest, mut theirs: UnixStream) -> String {
        drop(qtest);
        let mut said = String::new();
        theirs.read_to_string(&mut said).unwrap();
        said
    }

    #[test]
    fn a_read_waits_for_the_writes_before_it() {
        let (qtest, theirs) = answered("OK\nOK\nOK 0x00000000000000ab\n");
        let mut line = qtest.lock();
        line.write(Width::Long, 0x1000, 7);
        line.port_out(Width::Byte, 0x300, 8);
        assert_eq!(line.read(Width::Word, 0x2000), 0xab);
        assert_eq!(line.traffic().exchanges, 1);
        drop(line);
        let want = "writel 0x1000 0x7\noutb 0x300 0x8\nreadw 0x2000\n";
        assert_eq!(said(qtest, theirs), want);
    }

    #[test]
    fn pins_are_known_as_of_the_last_answer() {
        let (qtest, _theirs) = answered("IRQ raise 16\nIRQ raise 3\nIRQ lower 3\nOK 0x1\n");
        let mut line = qtest.lock();
        assert_eq!(line.read(Width::Byte, 0), 1);
        assert_eq!(line.pins(), 1 << 16);
    }

    #[test]
    fn memory_goes_over_as_it_is() {
        let (qtest, theirs) = answered("OK\nOK AQID\n");
        let mut bytes = [0; 3];
        let mut line = qtest.lock();
        line.write_bytes(0x10, &[1, 2, 3]);
        line.read_bytes(0x10, &mut bytes).unwrap();
        drop(line);
        assert_eq!(bytes, [1, 2, 3]);
        assert_eq!(
            said(qtest, theirs),
            "b64write 0x10 0x3 AQID\nb64read 0x10 0x3\n"
        );
    }

    #[test]
    fn whoever_does_not_answer_is_gone_and_reads_as_ones() {
        for nonsense in ["", "FAIL Unknown command\n", "\n"] {
            let (qtest, theirs) = answered(nonsense);
            drop(theirs);
            let mut line = qtest.lock();
            assert_eq!(line.read(Width::Word, 0), 0xffff, "{nonsense:?}");
            assert!(line.is_gone());
            assert_eq!(line.read(Width::Long, 0), 0xffff_ffff);
            assert_eq!(line.read_bytes(0, &mut [0; 4]), None);
        }
    }

    #[test]
    fn posted_answers_are_taken_in_before_they_fill_the_socket() {
        let answers = "OK\n".repeat(2 * POSTED);
        let (qtest, _theirs) = answered(&answers);
        let mut line = qtest.lock();
        for _ in 0..2 * POSTED {
            line.zero(0, 1);
        }
        assert_eq!(line.posted, 0);
        assert!(!line.is_gone());
    }
}
