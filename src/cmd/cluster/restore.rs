//! `quorate cluster restore`: a backup into a store that runs.
//!
//! The whole file is read and checked before anything is restored. What is restored is merged by the
//! nodes as versions, so the same backup may be restored twice, and one that was interrupted goes on.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use quorate_client::Method;
use quorate_cluster::archive::{BackupError, Contents, End, Header, Reader, encode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::administered::{Administered, AdministeredArgs, Answered, Described, bytes_text};
use crate::outcome::{Exit, Failure, say};
use crate::signals::Interrupts;
use crate::stdout;

/// How often it is said how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// What to restore, and where to.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only read all of it, and say what it is; no store is asked.
    #[arg(long)]
    verify: bool,
    /// Restore into a store that holds keys. Versions are merged: what replaced another stays, and
    /// writes that know nothing of each other become siblings (or the later one stays). Registers of a
    /// linearizable store that were ever written stay as they are.
    #[arg(long)]
    merge: bool,
    /// Restore though the store's definition differs from that of the backup; the store's own stays.
    #[arg(long)]
    other_definition: bool,
    #[command(flatten)]
    store: AdministeredArgs,
}

/// What became of what was restored.
#[derive(Debug, Default)]
struct Sums {
    restored: u64,
    kept: u64,
    short: u64,
}

/// Restores a backup.
///
/// # Errors
/// If the file is no whole backup, or not of such a store, or too few nodes take it.
pub async fn run(args: RestoreArgs, as_json: bool) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::listen().map_err(Failure::setup)?;
    let file = &args.file;
    let (header, end) = verified(file)?;
    if end.is_partial {
        let away: Vec<&String> = end.lacking.keys().collect();
        say(format_args!("this backup is partial: acknowledged writes may be missing ({away:?} were away)"));
    }
    if args.verify {
        let name = header.store["name"].as_str().unwrap_or_default();
        if as_json {
            stdout::line(json!({
                "file": file, "store": header.store, "view": header.view, "taken_by": header.taken_by,
                "taken_at": header.taken_at, "entries": end.entries, "bytes": end.bytes,
                "lacking": end.lacking, "partial": end.is_partial,
            }))?;
        } else {
            let (shown, size) = (file.display(), bytes_text(end.bytes));
            stdout::line(format_args!("{shown}  {} keys, {size}, store `{name}`, whole", end.entries))?;
        }
        return Ok(Exit::Held);
    }
    let sums = tokio::select! {
        biased;
        () = interrupts.wait() => Err(Failure::unknown(
            "interrupted; what was restored stays, and the rest can be restored with --merge",
        )),
        sums = restore(&args, &header, &end) => sums,
    }?;
    if sums.short > 0 {
        say(format_args!("{} key(s) are not on all their owners yet: repair brings them there", sums.short));
    }
    if sums.kept > 0 {
        say(format_args!("{} key(s) had been written, and stay as they are", sums.kept));
    }
    if as_json {
        stdout::line(json!({
            "file": file, "entries": end.entries, "restored": sums.restored, "kept": sums.kept,
            "short": sums.short, "partial": end.is_partial,
        }))?;
    } else {
        stdout::line(format_args!("restored {} of {} keys", sums.restored, end.entries))?;
    }
    Ok(Exit::Held)
}

fn opened(path: &Path) -> Result<Reader<BufReader<File>>, Failure> {
    let file = File::open(path).map_err(|e| unreadable(path, &e.into()))?;
    Reader::begin(BufReader::new(file)).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &BackupError) -> Failure {
    Failure::setup(format_args!("{} {error}", path.display()))
}

/// Reads all of it.
fn verified(path: &Path) -> Result<(Header, End), Failure> {
    let mut reader = opened(path)?;
    loop {
        match reader.next_contents().map_err(|e| unreadable(path, &e))? {
            Contents::Entries(_) => {}
            Contents::End(end) => return Ok((reader.header().clone(), end)),
        }
    }
}

async fn restore(args: &RestoreArgs, header: &Header, end: &End) -> Result<Sums, Failure> {
    let nodes = Administered::new(&args.store)?;
    let described = nodes.described().await?;
    check_definition(&header.store, &described.store, args.other_definition)?;
    if !args.merge {
        check_empty(&nodes, &described).await?;
    }
    let mut reader = opened(&args.file)?;
    let mut sums = Sums::default();
    let mut told = Instant::now();
    let mut done = 0;
    loop {
        let entries = match reader.next_contents().map_err(|e| unreadable(&args.file, &e))? {
            Contents::Entries(entries) => entries,
            Contents::End(_) => return Ok(sums),
        };
        let answer = put_back(&nodes, &encode(&entries)).await?;
        let count = |field: &str| answer[field].as_u64().unwrap_or_default();
        sums.restored += count("restored");
        sums.kept += count("kept");
        sums.short += count("short");
        done += entries.len() as u64;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            say(format_args!("restored {done} of {} keys", end.entries));
        }
    }
}

async fn put_back(nodes: &Administered, batch: &[u8]) -> Result<Value, Failure> {
    let until = nodes.deadline();
    let mut shown = String::new();
    loop {
        match nodes.ask(Method::Post, "/cluster/restore", batch).await? {
            Answered::Done(answer) => return serde_json::from_slice(&answer).map_err(Failure::setup),
            Answered::Moving(why) if Instant::now() >= until => return Err(Failure::unknown(why)),
            Answered::Moving(why) => nodes.wait(&why, &mut shown).await,
        }
    }
}

/// Refuses a store that holds any key, deleted ones included.
async fn check_empty(nodes: &Administered, described: &Described) -> Result<(), Failure> {
    let until = nodes.deadline();
    let mut shown = String::new();
    for partition in 0..described.partitions {
        loop {
            match nodes.portion(partition, None, false).await? {
                Ok(portion) => match portion.entries.first() {
                    Some(entry) => {
                        let key = entry.key.escape_ascii().to_string();
                        return Err(Failure::setup(format_args!(
                            "the store holds keys already, such as \"{key}\"; --merge merges the backup into them"
                        )));
                    }
                    None => break,
                },
                Err(why) if Instant::now() >= until => return Err(Failure::unknown(why)),
                Err(why) => nodes.wait(&why, &mut shown).await,
            }
        }
    }
    Ok(())
}

/// Refuses a backup of a store that promised something else, unless that is wanted.
fn check_definition(theirs: &Value, ours: &Value, may_differ: bool) -> Result<(), Failure> {
    // Settings that one of the two versions does not have yet are none to compare.
    let both =
        theirs.as_object().into_iter().flatten().filter_map(|(key, was)| Some((key, was, ours.get(key)?)));
    let differing: Vec<_> = both.filter(|(_, was, is)| was != is).collect();
    let shown: Vec<String> =
        differing.iter().map(|(key, was, is)| format!("{key} was {was} and is {is}")).collect();
    let shown = shown.join(", ");
    if differing.iter().any(|(key, ..)| *key == "conflict" || *key == "consistency") {
        return Err(Failure::setup(format_args!(
            "the backup is of another kind of store ({shown}): its records mean nothing in this one; start \
             one with the settings that it was taken from (`restore --verify --json` shows them)"
        )));
    }
    if differing.is_empty() || may_differ {
        if !differing.is_empty() {
            say(format_args!("the store keeps its own definition: {shown}"));
        }
        return Ok(());
    }
    Err(Failure::setup(format_args!(
        "the backup is of a store with another definition ({shown}); the definition of the store that runs \
         would stay as it is: give --other-definition if that is wanted"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn definitions_that_differ_are_named_and_other_kinds_of_store_never_fit() {
        let store =
            |conflict, replicas| json!({ "conflict": conflict, "replicas": replicas, "engine": "log" });
        let (three, five, lww) = (store("siblings", 3), store("siblings", 5), store("last-write-wins", 3));
        assert!(check_definition(&three, &three, false).is_ok());
        let error = check_definition(&three, &five, false).unwrap_err().to_string();
        assert!(error.contains("replicas was 3 and is 5") && !error.contains("engine"), "{error}");
        assert!(check_definition(&three, &five, true).is_ok());
        for may_differ in [false, true] {
            let error = check_definition(&three, &lww, may_differ).unwrap_err().to_string();
            assert!(error.contains("another kind"), "{error}");
        }
        let later = json!({ "conflict": "siblings", "replicas": 3, "engine": "log", "new": 1 });
        assert!(check_definition(&later, &three, false).is_ok());
    }
}
