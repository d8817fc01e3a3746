//! What the command lines of all benches have in common.

use clap::Args;

/// How much is measured, and how it is shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct Common {
    /// Print the rows as JSON, one a line
    #[arg(long)]
    pub json: bool,
    /// Take seconds and not minutes: a look, no figures to quote
    #[arg(long)]
    pub quick: bool,
}
