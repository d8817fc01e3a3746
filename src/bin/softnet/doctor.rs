//! What would become of an interface as the NIC.

use crate::args::Doctor;
use anyhow::Result;
use std::process::ExitCode;

#[cfg(not(feature = "af-xdp"))]
pub(crate) fn run(args: &Doctor) -> Result<ExitCode> {
    anyhow::bail!(
        "this softnet cannot examine {}, since it was built without AF_XDP: build it with `cargo build --release --features af-xdp`",
        args.interface
    )
}

#[cfg(feature = "af-xdp")]
pub(crate) use with_af_xdp::run;

#[cfg(feature = "af-xdp")]
mod with_af_xdp {
    use super::{Doctor, ExitCode, Result};
    use crate::output;
    use comfy_table::presets::UTF8_FULL_CONDENSED;
    use comfy_table::{ContentArrangement, Table};
    use softnet::af_xdp::doctor::{Extent, Finding, Report, Verdict, examine};

    pub(crate) fn run(args: &Doctor) -> Result<ExitCode> {
        let extent = match args.look {
            true => Extent::Look,
            false => Extent::Try,
        };
        let report = examine(&args.interface, extent);
        match args.json {
            true => output::json(&report)?,
            false => output::text(format_args!("{}\n\n{}", table(&report), verdict(&report)))?,
        }
        Ok(match report.verdict {
            Verdict::Fails => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        })
    }

    fn table(report: &Report) -> Table {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(["CHECK", "STATE", "WHY", "WHAT MENDS IT"])
            .add_rows(report.findings.iter().map(row));
        table
    }

    fn row(finding: &Finding) -> [&str; 4] {
        let remedy = finding.remedy.as_deref();
        let state = finding.state.name();
        [finding.check, state, &finding.detail, remedy.unwrap_or("")]
    }

    /// The last word.
    fn verdict(report: &Report) -> String {
        let name = &report.interface;
        match (report.verdict, report.mode) {
            (Verdict::Works, Some(mode)) => format!("{name} works, in {mode} mode"),
            (Verdict::Untried, _) => format!("nothing speaks against {name}; it was not tried"),
            _ => format!("{name} does not work as it is"),
        }
    }
}
