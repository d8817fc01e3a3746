//! `include/softnet.h` is what the sources say, and plain C99 and C++11.
#![expect(clippy::unwrap_used, reason = "this is a test")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    let ffi = Path::new(env!("CARGO_MANIFEST_DIR"));
    ffi.parent().unwrap().to_owned()
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    let ffi = root().join("ffi");
    let config = cbindgen::Config::from_file(ffi.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::generate_with_config(&ffi, config).unwrap();
    let mut generated = Vec::new();
    bindings.write(&mut generated);
    let committed = std::fs::read(root().join("include/softnet.h")).unwrap();
    assert!(
        committed == generated,
        "include/softnet.h is not what ffi exports: `cargo xtask header` writes it"
    );
}

/// Compiles a program that is nothing but the header.
fn compiles(compiler: &str, flags: &[&str]) {
    let mut command = Command::new(compiler);
    command
        .args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror"])
        .args(["-pedantic-errors", "-include"])
        .arg(root().join("include/softnet.h"))
        .args(flags)
        .arg("/dev/null");
    let output = match command.output() {
        Err(error) => {
            return softnet_test_support::skip(format_args!("{compiler}: {error}"));
        }
        Ok(output) => output,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{said}");
}

#[test]
fn the_header_is_plain_c99() {
    compiles("gcc", &["-x", "c", "-std=c99"]);
}

#[test]
fn the_header_is_plain_cxx11() {
    compiles("g++", &["-x", "c++", "-std=c++11"]);
}

#[test]
fn every_function_says_whether_threads_may_share_it() {
    let header = std::fs::read_to_string(root().join("include/softnet.h")).unwrap();
    let mut comment = String::new();
    let mut functions = 0;
    for line in header.lines() {
        if let Some(text) = line.strip_prefix("//") {
            comment.push_str(text);
        } else if line.contains("softnet_") && line.contains('(') && !line.starts_with(' ') {
            let is_type = line.starts_with("typedef");
            functions += usize::from(!is_type);
            assert!(is_type || comment.contains("Thread-safe"), "{line}");
            comment.clear();
        } else if line.is_empty() || line.contains(';') {
            comment.clear();
        }
    }
    assert!(functions > 40, "found {functions} functions");
}
