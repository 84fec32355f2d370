//! What this program was built from, as run directories name it.

use std::collections::BTreeMap;

use quorate_loadgen::rundir::Revision;

/// The source revision; none if it was not built from a checkout.
pub fn revision() -> Option<Revision> {
    let commit = option_env!("QUORATE_COMMIT")?.to_owned();
    Some(Revision { commit, dirty: option_env!("QUORATE_DIRTY") != Some("false") })
}

/// What program this is: `0.1.0 (50c10ad)`, `0.1.0 (50c10ad, changed)`, or `0.1.0` if it was not built from a
/// checkout.
pub fn build() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match revision() {
        Some(revision) if revision.dirty => format!("{version} ({}, changed)", revision.short()),
        Some(revision) => format!("{version} ({})", revision.short()),
        None => version.to_owned(),
    }
}

/// Versions of the program and of the compiler.
pub fn versions() -> BTreeMap<String, String> {
    let version = env!("CARGO_PKG_VERSION");
    let versions = [("quorate", version), ("rustc", env!("QUORATE_RUSTC")), ("profile", profile())];
    versions.map(|(name, version)| (name.to_owned(), version.to_owned())).into()
}

/// Figures of a debug build say little: they must be recognisable.
fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// This process's command line. The program is named, not where it lies.
pub fn command_line() -> Vec<String> {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    std::iter::once("quorate".to_owned()).chain(words).collect()
}
