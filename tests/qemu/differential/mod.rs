//! One sequence of operations on QEMU's model of a chip and on ours, and the same outcome
//! in registers, descriptors, memory and frames.
//!
//! `scripts/CHIP/*.txt` are sequences with a purpose; those in `differences` state what is
//! known to differ, and `docs/qemu-differences.md` says of each which section of the
//! manual decides it. The random ones are made from a seed.

mod e1000;
mod igb;
mod ne2000;
mod random;
mod run;
mod script;
mod side;

use run::{Chip, Pair};
use std::path::{Path, PathBuf};

/// The chips that are compared.
const CHIPS: &[&str] = &["e1000", "igb", "ne2000"];

/// The scripts of a chip, by name.
fn scripts(folder: &str) -> Vec<(String, String)> {
    let folder = root().join("tests/qemu/scripts").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut scripts: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into(), text)
        })
        .collect();
    scripts.sort();
    scripts
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every difference stands in the table, and nothing else does.
#[test]
fn the_table_of_differences_is_complete() {
    let table = std::fs::read_to_string(root().join("docs/qemu-differences.md")).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut listed: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let mut known: Vec<String> = CHIPS
        .iter()
        .flat_map(|chip| {
            let scripts = scripts(&format!("{chip}/differences"));
            scripts
                .into_iter()
                .map(move |(name, _)| format!("{chip}/{name}"))
        })
        .collect();
    listed.sort_unstable();
    known.sort();
    assert_eq!(listed, known);
}

/// Runs all scripts of a folder, each on fresh chips, and fails with all that was found.
fn run_scripts(qemu: &Path, chip: &Chip, folder: &str) {
    let scripts = scripts(folder);
    assert!(!scripts.is_empty(), "no scripts in {folder}");
    let mut found = String::new();
    for (name, text) in scripts {
        let mut pair = Pair::new(qemu, chip);
        for op in script::parse(&text, &chip.named()) {
            if let Err(how) = pair.run(&op) {
                found += &format!("{folder}/{name}: {op}: {how}\n");
            }
        }
    }
    assert!(found.is_empty(), "\n{found}");
}
