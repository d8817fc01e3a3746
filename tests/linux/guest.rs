//! A virtual machine that runs one script and says what came of it.

use crate::support::Folder;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// So long a guest may run. Emulated on a busy machine it takes half a minute.
const PATIENCE: Duration = Duration::from_secs(240);

/// A machine, and the device that is the matter.
pub(crate) struct Guest {
    pub(crate) qemu: PathBuf,
    /// Where its kernel and its initial file system are.
    pub(crate) folder: PathBuf,
    pub(crate) cpus: u32,
    /// QEMU's arguments for the device.
    pub(crate) device: Vec<String>,
    /// A program that lies in the guest's root.
    pub(crate) program: Option<PathBuf>,
    /// What else is on the kernel's command line.
    pub(crate) words: Vec<String>,
}

impl Guest {
    /// Boots, runs the script and waits for the end.
    #[track_caller]
    pub(crate) fn run(&self, script: &str, driver: &str) -> Transcript {
        Transcript::of(&mut self.boot(script, driver))
    }

    /// Boots, and has the script run.
    #[track_caller]
    pub(crate) fn boot(&self, script: &str, driver: &str) -> Console {
        let scratch = Folder::new("guest");
        let initrd = scratch.file("initrd");
        self.write_initrd(&scratch, &initrd, script);
        let mut line = "console=ttyS0 quiet panic=-1 softnet.address=10.0.0.2".to_owned();
        line += &format!(" softnet.peer=10.0.0.1 softnet.driver={driver}");
        self.words
            .iter()
            .for_each(|word| line += &format!(" {word}"));
        let mut command = machine(&self.qemu);
        command.args(["-smp", &self.cpus.to_string()]);
        command.arg("-kernel").arg(self.folder.join("vmlinuz"));
        command.arg("-initrd").arg(&initrd);
        command.args(["-append", &line]).args(&self.device);
        Console::start(command, Some(scratch))
    }

    /// The guest's file system, and behind it an archive with the script.
    fn write_initrd(&self, scratch: &Folder, initrd: &Path, script: &str) {
        fs::write(scratch.file("test"), script).unwrap();
        let mut files = "test\n".to_owned();
        if let Some(program) = &self.program {
            fs::copy(program, scratch.file("softnet")).unwrap();
            files += "softnet\n";
        }
        fs::copy(self.folder.join("initrd"), initrd).unwrap();
        let archive = self.archive(scratch.path(), &files);
        let mut file = File::options().append(true).open(initrd).unwrap();
        file.write_all(&archive).unwrap();
    }

    fn archive(&self, folder: &Path, files: &str) -> Vec<u8> {
        let mut cpio = Command::new(self.folder.join("busybox"));
        cpio.args(["cpio", "-o", "-H", "newc"]).current_dir(folder);
        cpio.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut cpio = cpio.stderr(Stdio::null()).spawn().unwrap();
        cpio.stdin
            .take()
            .unwrap()
            .write_all(files.as_bytes())
            .unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    }
}

/// A machine without anything but memory that can be shared, and a console.
const MACHINE: [&str; 16] = [
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max",
    "-m",
    "512",
    "-object",
    "memory-backend-memfd,id=ram,size=512M,share=on",
    "-machine",
    "q35,memory-backend=ram",
    "-nodefaults",
    "-no-reboot",
    "-display",
    "none",
    "-serial",
    "stdio",
];

/// A machine without a system on it, which boots from the network.
pub(crate) fn boot_from_network(qemu: &Path, rom: &str, mut device: Value) -> Console {
    device["romfile"] = rom.into();
    device["bootindex"] = 1.into();
    let mut command = machine(qemu);
    // The firmware's console is the serial line.
    command.args(["-machine", "graphics=off"]);
    command.args(["-device", &device.to_string()]);
    Console::start(command, None)
}

/// QEMU, which ends when this thread does.
fn machine(qemu: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(qemu);
    command.args(MACHINE);
    command
}

/// A machine's console. The machine ends with it.
pub(crate) struct Console {
    machine: Child,
    lines: Receiver<String>,
    deadline: Instant,
    /// The machine's files.
    _folder: Option<Folder>,
}

impl Console {
    fn start(mut command: Command, folder: Option<Folder>) -> Self {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut machine = command.spawn().unwrap();
        let (line, lines) = mpsc::channel();
        forward(machine.stdout.take().unwrap(), line.clone());
        forward(machine.stderr.take().unwrap(), line);
        Self {
            machine,
            lines,
            deadline: Instant::now() + PATIENCE,
            _folder: folder,
        }
    }

    /// Types a line.
    pub(crate) fn enter(&mut self) {
        let keyboard = self.machine.stdin.as_mut().unwrap();
        keyboard.write_all(b"\n").unwrap();
    }

    /// Whether the machine has not ended, and has time left.
    pub(crate) fn is_running(&mut self) -> bool {
        let ended = self.machine.try_wait().unwrap();
        ended.is_none() && Instant::now() < self.deadline
    }

    /// The next line; `None` when the machine has ended, or took too long.
    pub(crate) fn line(&mut self) -> Option<String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).ok()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
    }
}

/// Sends each line on, until the other end of the pipe is closed.
fn forward(from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let line = String::from_utf8_lossy(&line.unwrap_or_default()).into_owned();
            // Nobody may listen any more.
            let _ = to.send(line.trim_end().to_owned());
        }
    });
}

/// What a guest's script has said.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    facts: HashMap<String, bool>,
    figures: HashMap<String, String>,
    text: String,
}

impl Transcript {
    /// Listens until the machine has ended.
    pub(crate) fn of(console: &mut Console) -> Self {
        let mut transcript = Self::default();
        while let Some(line) = console.line() {
            transcript.note(&line);
            transcript.text += &line;
            transcript.text += "\n";
        }
        // The test harness shows it if the test fails.
        println!("{}", transcript.text);
        transcript
    }

    fn note(&mut self, line: &str) {
        let Some(said) = line.strip_prefix("guest: ") else {
            return;
        };
        if let Some(fact) = said.strip_prefix("ok ") {
            self.facts.insert(fact.to_owned(), true);
        } else if let Some(fact) = said.strip_prefix("FAILED ") {
            self.facts.insert(fact.to_owned(), false);
        } else if let Some((name, value)) = said.split_once(" = ") {
            self.figures.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Asserts facts.
    #[track_caller]
    pub(crate) fn holds(&self, facts: &[&str]) {
        let fails = |fact: &&&str| self.facts.get(**fact) != Some(&true);
        let failed: Vec<_> = facts.iter().filter(fails).collect();
        assert!(failed.is_empty(), "{failed:?} failed, or did not come");
    }

    #[track_caller]
    pub(crate) fn figure(&self, name: &str) -> &str {
        let figure = self.figures.get(name);
        figure.unwrap_or_else(|| panic!("the guest did not tell {name}"))
    }

    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        let figure = self.figure(name);
        let number = figure.parse();
        number.unwrap_or_else(|_| panic!("{name} is {figure}"))
    }
}
