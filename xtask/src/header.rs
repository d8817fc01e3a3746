//! `include/softnet.h`, generated from the `ffi` crate and committed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

const HEADER: &str = "include/softnet.h";
const SETTINGS: &str = "ffi/cbindgen.toml";

/// Writes the header, or compares the committed one with what it should be.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<Tally> {
    let text = generate(workspace)?;
    if check {
        return compare(workspace, &text);
    }
    let path = workspace.path(HEADER);
    write(&path, &text)?;
    println!("header: wrote {HEADER}");
    Ok(Tally::check("header", true))
}

fn generate(workspace: &Workspace) -> Result<Vec<u8>> {
    let settings = workspace.path(SETTINGS);
    if !settings.exists() {
        bail!("{SETTINGS} is missing: the header's settings belong there");
    }
    let config = cbindgen::Config::from_file(&settings).map_err(anyhow::Error::msg)?;
    let bindings = cbindgen::Builder::new()
        .with_crate(workspace.path("ffi"))
        .with_config(config)
        .generate()
        .context("cbindgen on ffi")?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    if text.is_empty() {
        bail!("cbindgen found nothing to export in ffi");
    }
    Ok(text)
}

/// Prints the difference as `diff -u` shows it.
fn compare(workspace: &Workspace, text: &[u8]) -> Result<Tally> {
    let committed = workspace.path(HEADER);
    if std::fs::read(&committed).ok().as_deref() == Some(text) {
        println!("header: {HEADER} is what ffi exports");
        return Ok(Tally::check("header", true));
    }
    let generated = workspace.target().join("softnet.h");
    write(&generated, text)?;
    println!("header: {HEADER} differs from what ffi exports; `cargo xtask header` writes it");
    process::succeeds(
        Command::new("diff")
            .args(["-u", "-N"])
            .args([&committed, &generated]),
    )?;
    Ok(Tally::check("header", false))
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
