//! Every published crate, packaged and built from its package.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Packages the crates together, so that those which depend on each other are
/// verified against each other and not against the registry.
pub(crate) fn run(workspace: &Workspace) -> Result<Tally> {
    let mut cargo = workspace.cargo();
    // What is not committed yet is packaged too: the check is of the tree as it stands.
    cargo.args(["package", "--quiet", "--allow-dirty"]);
    for package in workspace.packages() {
        if package.publish.is_none() {
            cargo.args(["--package", &package.name]);
        }
    }
    let folder = fresh_folder(workspace)?;
    let ok = process::succeeds(cargo.arg("--target-dir").arg(&folder));
    std::fs::remove_dir_all(&folder)?;
    Ok(Tally::check("package", ok?))
}

/// A folder that no earlier run has used. Cargo takes a package of the same
/// version from the same folder for unchanged, and would verify against what
/// the crate was when it was packaged last.
fn fresh_folder(workspace: &Workspace) -> Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let name = format!("package-{}-{}", std::process::id(), now.as_millis());
    let folder = workspace.target().join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
