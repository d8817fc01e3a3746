//! Every published crate, packaged and built from its package.

use anyhow::Result;

use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Packages the crates together, so that those which depend on each other are
/// verified against each other and not against the registry.
pub(crate) fn run(workspace: &Workspace) -> Result<Tally> {
    let published: Vec<&str> = workspace
        .packages()
        .iter()
        .filter(|package| package.publish.is_none())
        .map(|package| package.name.as_str())
        .collect();
    let mut cargo = workspace.cargo();
    // What is not committed yet is packaged too: the check is of the tree as it stands.
    cargo.args(["package", "--allow-dirty"]);
    for name in &published {
        cargo.args(["--package", name]);
    }
    let ok = process::succeeds(&mut cargo)?;
    Ok(Tally::check("package", ok))
}
