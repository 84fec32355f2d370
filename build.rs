//! Tells the program its own revision and compiler, so that a run directory can name them.
//! Without git, or outside a checkout, there is no revision; nothing else depends on it.

use std::path::Path;
use std::process::Command;

/// What decides whether a checkout is dirty: all that the program is built from.
const SOURCES: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "src",
    "env",
    "check",
    "client",
    "cluster",
    "loadgen",
    "chaos",
    "report",
];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    // A commit changes the revision without changing a source.
    for file in [".git/HEAD", ".git/packed-refs", ".git/logs/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    if let Some(commit) = output("git", &["rev-parse", "HEAD"]) {
        println!("cargo::rustc-env=QUORATE_COMMIT={commit}");
        let mut status = vec!["--no-optional-locks", "status", "--porcelain", "--"];
        status.extend(SOURCES);
        let clean = output("git", &status).is_some_and(|changed| changed.is_empty());
        println!("cargo::rustc-env=QUORATE_DIRTY={}", !clean);
    }
    let compiler = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    println!("cargo::rustc-env=QUORATE_RUSTC={}", compiler.unwrap_or_else(|| "unknown".to_owned()));
}

fn output(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
