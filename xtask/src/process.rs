//! Running other programs: shown, streamed, or for their output.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program with this program's own output; true if it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.stdin(Stdio::null()).status();
    Ok(status.with_context(|| name(command))?.success())
}

/// Runs a program and hands on each line that it prints; true if it succeeded.
pub(crate) fn stream(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<bool> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| name(command))?;
    let stdout = child.stdout.take().context("the pipe asked for")?;
    for line in BufReader::new(stdout).split(b'\n') {
        on_line(&String::from_utf8_lossy(&line?));
    }
    Ok(child.wait()?.success())
}

/// Runs a program for what it prints; an error if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| name(command))?;
    if !output.status.success() {
        bail!("{} failed: {}", name(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program of this name can be started.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Files in `folder` with this extension, sorted; none if there is no folder.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
