//! What goes to standard output, and how errors are told.

use anyhow::Result;
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Prints a text.
pub(crate) fn text(text: impl std::fmt::Display) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints one JSON object on a line of its own.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Whether nobody reads what is printed any more: no failure to talk about.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let json = error
        .downcast_ref::<serde_json::Error>()
        .and_then(serde_json::Error::io_error_kind);
    io.or(json) == Some(ErrorKind::BrokenPipe)
}

/// An error with its causes, as far as they say anything new.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if cause.starts_with(&line) {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    let words: Vec<_> = line.split_whitespace().collect();
    words.join(" ")
}

/// Tells what is wrong with the arguments in one line, or shows the help that was
/// asked for. 2 is the exit status of wrong arguments.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Help and version go to standard output, and are no failure.
    if !error.use_stderr() || error.kind() == HELP_INSTEAD {
        // Nothing can be told if this fails.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    eprintln!("softnet: {}", what_is_wrong(&error.render().to_string()));
    ExitCode::from(2)
}

const HELP_INSTEAD: clap::error::ErrorKind =
    clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// Clap's text without its line breaks and without the page that follows it.
fn what_is_wrong(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let told = text.split("\n\nUsage:").next().unwrap_or(text);
    let told = told.split("\n\nFor more information").next();
    let words: Vec<_> = told.unwrap_or("").split_whitespace().collect();
    format!("{} (see softnet --help)", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_that_is_told_already_is_not_repeated() {
        let inner = io::Error::other("no such file");
        let outer = anyhow::Error::new(inner).context("x: no such file");
        assert_eq!(one_line(&outer), "x: no such file");
        let outer: Result<()> = Err(outer).context("cannot start");
        let line = outer.map_err(|error| one_line(&error));
        assert_eq!(line, Err("cannot start: x: no such file".to_owned()));
    }

    #[test]
    fn a_cause_of_several_lines_is_told_in_one() {
        let error = anyhow::Error::msg("eth1 cannot be opened:\n  copy: no\n  skb: no");
        assert_eq!(one_line(&error), "eth1 cannot be opened: copy: no skb: no");
    }

    #[test]
    fn wrong_arguments_take_one_line() {
        let text = "error: required:\n  --wire <WIRE>\n\nUsage: softnet run\n\nFor more";
        let line = "required: --wire <WIRE> (see softnet --help)";
        assert_eq!(what_is_wrong(text), line);
    }
}
