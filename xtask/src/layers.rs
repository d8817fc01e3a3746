//! The layers: which crate may depend on which, and where unsafe code may stand.
//!
//! Softirq knows no packet, napi knows no NIC, a backend knows no `SkBuff`; the
//! facade is where they meet. The rules are a pure function over the edges, so
//! that the tests below can show it edges that the workspace must never have.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Package, TargetKind};

use crate::tally::Tally;
use crate::workspace::Workspace;

/// Where a crate stands. A backend is named, since backends must not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    DmaRing,
    Softirq,
    NicHal,
    Napi,
    Netstack,
    Backend(&'a str),
    Facade,
    Ffi,
    /// Benches, fuzz targets and this program.
    Tool,
    /// The helper that tests report their skips with.
    TestSupport,
}

/// One dependency between two members of the workspace.
#[derive(Clone, Copy, Debug)]
struct Edge<'a> {
    from: Place<'a>,
    to: Place<'a>,
    /// Only tests, examples and benches of `from` see it.
    dev: bool,
}

/// The sentence that an edge breaks.
type Rule = &'static str;

impl<'a> Place<'a> {
    /// The place of the crate in `folder`, relative to the workspace's root.
    fn of(folder: &'a str) -> Option<Self> {
        Some(match folder {
            "" => Self::Facade,
            "dma-ring" => Self::DmaRing,
            "softirq" => Self::Softirq,
            "nic-hal" => Self::NicHal,
            "napi" => Self::Napi,
            "netstack" => Self::Netstack,
            "ffi" => Self::Ffi,
            "benches" | "fuzz" | "xtask" => Self::Tool,
            "xtask/test-support" => Self::TestSupport,
            _ => Self::Backend(folder.strip_prefix("backends/")?),
        })
    }

    /// What this crate's code may name.
    fn may_name(self, to: Place<'_>) -> bool {
        use Place::*;
        match self {
            DmaRing | Softirq | TestSupport => false,
            NicHal => matches!(to, DmaRing),
            // The poll list is dma-ring's MPSC ring.
            Napi => matches!(to, Softirq | DmaRing),
            Backend(_) => matches!(to, NicHal | DmaRing),
            Netstack => matches!(to, NicHal | DmaRing | Napi | Softirq),
            Ffi => matches!(to, Facade),
            Facade => !matches!(to, Ffi | Tool | TestSupport),
            Tool => true,
        }
    }

    /// What the crate's sentence is, for an edge to a crate that exists below
    /// the tools.
    fn sentence(self) -> Rule {
        match self {
            Self::DmaRing => "dma-ring stands on nothing",
            Self::Softirq => "softirq knows no packet",
            Self::NicHal => "nic-hal knows no driver and no stack",
            Self::Napi => "napi knows no NIC",
            Self::Netstack => "the stack knows no backend: they meet in softnet",
            Self::Backend(_) => "a backend knows no SkBuff",
            Self::Facade => "softnet knows no language but Rust",
            Self::Ffi => "ffi shows the facade and nothing beneath it",
            Self::Tool | Self::TestSupport => "test-support stands on nothing",
        }
    }
}

impl Edge<'_> {
    /// The sentence that this edge breaks, if it breaks one.
    fn breaks(self) -> Option<Rule> {
        (!self.is_allowed()).then(|| match (self.from, self.to) {
            (_, Place::Tool) => "nothing stands on the tools",
            (_, Place::TestSupport) => "test-support is for tests",
            (Place::Backend(_), Place::Backend(_)) => {
                "a backend knows no other backend: they meet in softnet"
            }
            (from, _) => from.sentence(),
        })
    }

    fn is_allowed(self) -> bool {
        match self.to {
            // Tools build on tools, nothing else does.
            Place::Tool => self.from == Place::Tool,
            Place::TestSupport if self.dev => true,
            // The root package's tests join everything.
            _ if self.dev && self.from == Place::Facade => true,
            to => self.from.may_name(to),
        }
    }
}

/// A finding, worded for the one who has to mend it.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Edge {
        from: String,
        to: String,
        dev: bool,
        rule: Rule,
    },
    UnknownCrate(String),
    UnsafeNotForbidden(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge {
                from,
                to,
                dev,
                rule,
            } => {
                let kind = if *dev { " (dev)" } else { "" };
                write!(f, "forbidden edge {from} -> {to}{kind}: {rule}")
            }
            Self::UnknownCrate(name) => write!(
                f,
                "{name} has no layer: give its folder one in xtask/src/layers.rs"
            ),
            Self::UnsafeNotForbidden(root) => write!(
                f,
                "{root} lacks #![forbid(unsafe_code)]: unsafe code stands in dma-ring, \
                 the backends that speak to a kernel, ffi and benches only"
            ),
        }
    }
}

/// Prints every finding, or one line that says what was checked.
pub(crate) fn run(workspace: &Workspace) -> Result<Tally> {
    let findings = check(workspace)?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        let crates = workspace.packages().len();
        println!("layers: {crates} crates, no forbidden edge");
    }
    Ok(Tally::check("layers", findings.is_empty()))
}

fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let members = folders(workspace)?;
    let mut findings = Vec::new();
    for package in workspace.packages() {
        let folder = members[package.name.as_str()];
        if Place::of(folder).is_none() {
            findings.push(Finding::UnknownCrate(package.name.to_string()));
        }
        findings.extend(edge_findings(package, &members));
        findings.extend(unsafe_findings(workspace, package, folder)?);
    }
    Ok(findings)
}

/// Package name -> folder below the root.
fn folders(workspace: &Workspace) -> Result<BTreeMap<&str, &str>> {
    let packages = workspace.packages().iter();
    packages
        .map(|package| {
            let folder = workspace.folder(package).to_str();
            Ok((package.name.as_str(), folder.context("a path in UTF-8")?))
        })
        .collect()
}

fn edge_findings(package: &Package, members: &BTreeMap<&str, &str>) -> Vec<Finding> {
    let place = |name: &str| members.get(name).and_then(|folder| Place::of(folder));
    let Some(from) = place(&package.name) else {
        return Vec::new();
    };
    let dependencies = package.dependencies.iter();
    dependencies
        .filter_map(|dependency| {
            let dev = dependency.kind == DependencyKind::Development;
            let to = place(&dependency.name)?;
            let rule = Edge { from, to, dev }.breaks()?;
            Some(Finding::Edge {
                from: package.name.to_string(),
                to: dependency.name.clone(),
                dev,
                rule,
            })
        })
        .collect()
}

/// The crates whose work is raw memory, a kernel's interface or C.
fn may_be_unsafe(folder: &str) -> bool {
    matches!(
        folder,
        "dma-ring"
            | "backends/af-xdp"
            | "backends/vfio-user"
            | "backends/wire"
            | "backends/qemu"
            | "backends/vfio"
            | "ffi"
            | "benches"
    )
}

fn unsafe_findings(workspace: &Workspace, package: &Package, folder: &str) -> Result<Vec<Finding>> {
    if may_be_unsafe(folder) {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for target in &package.targets {
        let is_product = |kind: &TargetKind| matches!(kind, TargetKind::Lib | TargetKind::Bin);
        if target.kind.iter().any(is_product) && !forbids_unsafe(target.src_path.as_std_path())? {
            let shown = target.src_path.strip_prefix(workspace.root());
            findings.push(Finding::UnsafeNotForbidden(
                shown.unwrap_or(&target.src_path).to_string(),
            ));
        }
    }
    Ok(findings)
}

fn forbids_unsafe(root: &Path) -> Result<bool> {
    let source = std::fs::read_to_string(root);
    let source = source.with_context(|| root.display().to_string())?;
    if source.is_empty() {
        bail!("{} is empty", root.display());
    }
    Ok(source
        .lines()
        .any(|line| line.trim_end() == "#![forbid(unsafe_code)]"))
}

#[cfg(test)]
mod tests {
    use super::Place::*;
    use super::*;

    fn broken(from: Place<'_>, to: Place<'_>) -> Option<Rule> {
        let dev = false;
        Edge { from, to, dev }.breaks()
    }

    fn broken_by_a_test(from: Place<'_>, to: Place<'_>) -> Option<Rule> {
        let dev = true;
        Edge { from, to, dev }.breaks()
    }

    #[test]
    fn the_workspace_keeps_its_layers() {
        let workspace = Workspace::load().unwrap();
        let findings = check(&workspace).unwrap();
        let edges: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(edges.is_empty(), "\n{}\n", edges.join("\n"));
    }

    #[test]
    fn softirq_knows_no_packet() {
        for to in [DmaRing, NicHal, Napi, Netstack, Backend("e1000"), Facade] {
            assert_eq!(broken(Softirq, to), Some("softirq knows no packet"));
        }
    }

    #[test]
    fn napi_knows_no_nic() {
        for to in [NicHal, Netstack, Backend("e1000"), Facade] {
            assert_eq!(broken(Napi, to), Some("napi knows no NIC"));
        }
        assert_eq!(broken(Napi, DmaRing), None);
    }

    #[test]
    fn a_backend_knows_no_skbuff_and_no_other_backend() {
        for to in [Softirq, Napi, Netstack, Facade] {
            let rule = Some("a backend knows no SkBuff");
            assert_eq!(broken(Backend("wire"), to), rule);
            assert_eq!(broken_by_a_test(Backend("wire"), to), rule);
        }
        assert!(broken(Backend("wire"), Backend("e1000")).is_some());
        assert_eq!(broken(Backend("wire"), NicHal), None);
    }

    #[test]
    fn the_stack_meets_no_backend_not_even_in_its_tests() {
        let rule = Some("the stack knows no backend: they meet in softnet");
        assert_eq!(broken(Netstack, Backend("e1000")), rule);
        assert_eq!(broken_by_a_test(Netstack, Backend("e1000")), rule);
    }

    #[test]
    fn the_facade_and_its_tests_join_everything_but_the_tools() {
        for to in [DmaRing, Softirq, NicHal, Napi, Netstack, Backend("wire")] {
            assert_eq!(broken(Facade, to), None);
        }
        assert_eq!(broken_by_a_test(Facade, Ffi), None);
        assert!(broken(Facade, Ffi).is_some());
        assert_eq!(broken(Facade, Tool), Some("nothing stands on the tools"));
    }

    #[test]
    fn c_is_shown_the_facade_only() {
        assert_eq!(broken(Ffi, Facade), None);
        for to in [Netstack, Backend("emulated"), DmaRing] {
            assert!(broken(Ffi, to).is_some());
        }
    }

    #[test]
    fn test_support_is_seen_by_tests_only() {
        assert_eq!(broken_by_a_test(Softirq, TestSupport), None);
        assert_eq!(
            broken(Softirq, TestSupport),
            Some("test-support is for tests")
        );
    }

    #[test]
    fn the_forbidden_edge_is_printed_with_its_sentence() {
        let finding = Finding::Edge {
            from: "softnet-napi".into(),
            to: "softnet-nic-hal".into(),
            dev: true,
            rule: "napi knows no NIC",
        };
        assert_eq!(
            finding.to_string(),
            "forbidden edge softnet-napi -> softnet-nic-hal (dev): napi knows no NIC"
        );
    }

    #[test]
    fn a_crate_in_a_new_folder_has_no_place() {
        assert_eq!(Place::of("drivers/e1000"), None);
        assert_eq!(Place::of("backends/igb"), Some(Backend("igb")));
    }
}
