//! The C tests and examples: each compiler, as C and as C++, with sanitizers
//! and under valgrind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

const TESTS: &str = "ffi/tests/c";
const EXAMPLES: &str = "examples/c";

/// What a Rust static library asks of the system, as rustc itself lists it with
/// `--print native-static-libs` for Linux with glibc.
const SYSTEM_LIBRARIES: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

/// A test that runs longer than this hangs.
const TIME_LIMIT: &str = "120s";

/// The exit code by which a test says that it cannot run here.
const SKIPPED: i32 = 77;

/// One way to build and run every program.
struct Variant {
    name: &'static str,
    /// Taken as skipped where this is not installed.
    compiler: &'static str,
    flags: &'static [&'static str],
    /// What runs the program, if not the program itself.
    runner: &'static [&'static str],
}

const C: &[&str] = &["-x", "c", "-std=gnu11"];
const CXX: &[&str] = &["-x", "c++", "-std=gnu++17"];
const SANITIZED: &[&str] = &[
    "-x",
    "c",
    "-std=gnu11",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
];
const VALGRIND: &[&str] = &[
    "valgrind",
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite,indirect",
];

const VARIANTS: [Variant; 7] = [
    variant("gcc", "gcc", C, &[]),
    variant("g++", "g++", CXX, &[]),
    variant("clang", "clang", C, &[]),
    variant("clang++", "clang++", CXX, &[]),
    variant("gcc-asan-ubsan", "gcc", SANITIZED, &[]),
    variant("clang-asan-ubsan", "clang", SANITIZED, &[]),
    variant("valgrind", "gcc", C, VALGRIND),
];

const fn variant(
    name: &'static str,
    compiler: &'static str,
    flags: &'static [&'static str],
    runner: &'static [&'static str],
) -> Variant {
    Variant {
        name,
        compiler,
        flags,
        runner,
    }
}

/// Builds the library, then every program in every variant; runs the tests.
pub(crate) fn run(workspace: &Workspace) -> Result<Tally> {
    let tests = process::files(&workspace.path(TESTS), "c");
    if tests.is_empty() {
        bail!("{TESTS} holds no C test");
    }
    let examples = process::files(&workspace.path(EXAMPLES), "c");
    let library = build_library(workspace)?;
    let mut tally = Tally::default();
    for variant in &VARIANTS {
        let bench = Bench {
            workspace,
            library: &library,
            variant,
        };
        bench.judge_all(&tests, &examples, &mut tally)?;
    }
    println!("c-tests: {tally}");
    Ok(tally)
}

/// Builds `softnet-ffi` and says where its static library is.
fn build_library(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "softnet-ffi", "--lib"]);
    cargo.arg("--message-format=json-render-diagnostics");
    let messages = process::output(&mut cargo)?;
    let mut library = None;
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message? {
            let archives = artifact.filenames.into_iter();
            let archive = archives
                .into_iter()
                .find(|file| file.extension() == Some("a"));
            library = archive.or(library);
        }
    }
    let library = library.context("softnet-ffi builds no static library")?;
    Ok(library.into_std_path_buf())
}

/// One variant with what it builds from.
struct Bench<'a> {
    workspace: &'a Workspace,
    library: &'a Path,
    variant: &'a Variant,
}

impl Bench<'_> {
    fn judge_all(&self, tests: &[PathBuf], examples: &[PathBuf], tally: &mut Tally) -> Result<()> {
        if let Some(missing) = self.missing_tool() {
            tally.skip(
                &format!("c-tests {}", self.variant.name),
                &format!("{missing} is not installed"),
            );
            return Ok(());
        }
        for test in tests {
            self.judge(test, true, tally)?;
        }
        // Nothing that is only built differs under valgrind.
        if self.variant.runner.is_empty() {
            for example in examples {
                self.judge(example, false, tally)?;
            }
        }
        Ok(())
    }

    fn missing_tool(&self) -> Option<&'static str> {
        let mut tools = [self.variant.compiler]
            .into_iter()
            .chain(self.variant.runner.first().copied());
        tools.find(|tool| !process::is_installed(tool))
    }

    /// Builds one program, runs it if it is a test, and counts the outcome.
    fn judge(&self, source: &Path, is_test: bool, tally: &mut Tally) -> Result<()> {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("c {stem} ({})", self.variant.name);
        let program = self.program(&stem);
        let ok = self.build(source, &program)?;
        if !ok || !is_test {
            tally.count(&name, ok);
            println!(
                "{name} ... {}",
                if ok { "built" } else { "FAILED to build" }
            );
            return Ok(());
        }
        self.run(&name, &program, tally)
    }

    fn program(&self, stem: &str) -> PathBuf {
        let folder = self.workspace.target().join("c-tests");
        folder.join(self.variant.name).join(stem)
    }

    fn build(&self, source: &Path, program: &Path) -> Result<bool> {
        if let Some(folder) = program.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut compiler = Command::new(self.variant.compiler);
        compiler
            .args(["-Wall", "-Wextra", "-Werror", "-O1", "-g"])
            .args(self.variant.flags)
            .arg("-I")
            .arg(self.workspace.path("include"))
            .arg(source)
            // The library is no source, whatever language the sources are in.
            .args(["-x", "none"])
            .arg(self.library)
            .args(SYSTEM_LIBRARIES)
            .arg("-o")
            .arg(program);
        process::succeeds(&mut compiler)
    }

    fn run(&self, name: &str, program: &Path, tally: &mut Tally) -> Result<()> {
        let output = Command::new("timeout")
            .arg(TIME_LIMIT)
            .args(self.variant.runner)
            .arg(program)
            .current_dir(self.workspace.root())
            .stdin(Stdio::null())
            .output()
            .context("timeout")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        match output.status.code() {
            Some(0) => {
                println!("{name} ... ok");
                tally.count(name, true);
            }
            Some(SKIPPED) => {
                let reason = printed.lines().last().unwrap_or("no reason given");
                println!("{name} ... skipped: {reason}");
                tally.skip(name, reason);
            }
            _ => {
                println!("{name} ... FAILED: {}", output.status);
                print!("{printed}{}", String::from_utf8_lossy(&output.stderr));
                tally.count(name, false);
            }
        }
        Ok(())
    }
}
