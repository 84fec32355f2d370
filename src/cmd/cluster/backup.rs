//! `quorate cluster backup`: all keys of a store into a file, while it serves.
//!
//! The nodes put each partition together (`quorate_cluster::archive`); here their portions are written
//! down. A partition whose copies moved meanwhile is read again from its begin. The file has its name
//! only once all of it is on disk.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use quorate_cluster::archive::{End, Header, Mark, Portion, Writer};
use quorate_env::{Clock as _, SystemClock};
use serde_json::json;
use tokio::time::Instant;

use super::administered::{Administered, AdministeredArgs, bytes_text};
use crate::build_info;
use crate::outcome::{Exit, Failure, say};
use crate::signals::Interrupts;
use crate::stdout;

/// How often it is said how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// What to back up, and where to.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write. It must not be there yet.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Take what there is, though too many nodes are away for every acknowledged write to be found.
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    store: AdministeredArgs,
}

type Output = Writer<BufWriter<File>>;

/// Takes a backup.
///
/// # Errors
/// If too many nodes are away, or the file cannot be written; there is no file then.
pub async fn run(args: BackupArgs, as_json: bool) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::listen().map_err(Failure::setup)?;
    let out = &args.out;
    if out.exists() {
        let shown = out.display();
        return Err(Failure::setup(format_args!("{shown} is there already, and no backup is written over")));
    }
    let unfinished = beside(out);
    let taken = tokio::select! {
        biased;
        () = interrupts.wait() => Err(Failure::unknown("interrupted; there is no backup")),
        taken = take(&args, &unfinished) => taken,
    };
    let (header, end) = match taken {
        Ok(taken) => taken,
        Err(failure) => {
            // It may not have come to a file at all.
            let _ = fs::remove_file(&unfinished);
            return Err(failure);
        }
    };
    finish(&unfinished, out).map_err(|e| of_file(out, &e))?;
    if end.is_partial {
        say("acknowledged writes may be missing in it: too many nodes were away");
    }
    if as_json {
        stdout::line(json!({
            "file": out, "store": header.store["name"], "view": header.view, "entries": end.entries,
            "bytes": end.bytes, "lacking": end.lacking, "partial": end.is_partial,
        }))?;
    } else {
        let (shown, size) = (out.display(), bytes_text(end.bytes));
        stdout::line(format_args!("{shown}  {} keys, {size}, view {}", end.entries, header.view))?;
    }
    Ok(Exit::Held)
}

fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

async fn take(args: &BackupArgs, unfinished: &Path) -> Result<(Header, End), Failure> {
    let nodes = Administered::new(&args.store)?;
    let described = nodes.described().await?;
    let header = Header {
        store: described.store,
        view: described.view,
        taken_by: build_info::build(),
        taken_at: SystemClock::new().wall_ns() / 1_000_000_000,
    };
    let file = |e: io::Error| of_file(unfinished, &e);
    let mut writer =
        Writer::begin(BufWriter::new(File::create(unfinished).map_err(file)?), &header).map_err(file)?;
    let write_quorum = header.store["write_quorum"].as_u64().unwrap_or(1);
    let mut end = End::default();
    let mut told = Instant::now();
    for partition in 0..described.partitions {
        let lacking = partition_into(&mut writer, &nodes, partition, args.partial, unfinished).await?;
        end.is_partial |= lacking.len() as u64 >= write_quorum;
        for node in lacking {
            *end.lacking.entry(node).or_default() += 1;
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let (of, mark) = (described.partitions, writer.mark());
            say(format_args!(
                "backed up {} of {of} partitions, {} keys, {}",
                partition + 1,
                mark.entries,
                bytes_text(mark.bytes)
            ));
        }
    }
    let (mut out, end) = writer.end(end).map_err(file)?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(file)?;
    Ok((header, end))
}

/// Writes one partition, and says who did not tell all of it.
async fn partition_into(
    writer: &mut Output,
    nodes: &Administered,
    partition: u32,
    is_partial: bool,
    path: &Path,
) -> Result<BTreeSet<String>, Failure> {
    let begin = writer.mark();
    let until = nodes.deadline();
    let mut shown = String::new();
    let mut lacking = BTreeSet::new();
    let mut last: Option<Portion> = None;
    loop {
        let after = last.as_ref().and_then(|portion| portion.next.as_deref());
        let why = match nodes.portion(partition, after, is_partial).await? {
            Ok(portion) if last.as_ref().is_none_or(|last| last.view == portion.view) => {
                writer.add(&portion.entries).map_err(|e| of_file(path, &e))?;
                lacking.extend(portion.lacking.iter().map(ToString::to_string));
                if portion.next.is_none() {
                    return Ok(lacking);
                }
                last = Some(portion);
                continue;
            }
            Ok(_) => "the members have changed meanwhile".to_owned(),
            Err(moving) => moving,
        };
        if Instant::now() >= until {
            return Err(Failure::unknown(why));
        }
        rewind(writer, begin).map_err(|e| of_file(path, &e))?;
        (last, lacking) = (None, BTreeSet::new());
        nodes.wait(&why, &mut shown).await;
    }
}

/// Cuts off what was written since.
fn rewind(writer: &mut Output, mark: Mark) -> io::Result<()> {
    let out = writer.out();
    out.flush()?;
    let file = out.get_mut();
    file.set_len(mark.at)?;
    file.seek(SeekFrom::Start(mark.at))?;
    writer.go_back(mark);
    Ok(())
}

fn finish(unfinished: &Path, out: &Path) -> io::Result<()> {
    fs::rename(unfinished, out)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn of_file(path: &Path, error: &io::Error) -> Failure {
    Failure::setup(format_args!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_cluster::archive::{Contents, Entry, Reader};

    use super::*;

    #[test]
    fn what_is_begun_anew_is_cut_off() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("b");
        let header = Header { store: json!({}), view: String::new(), taken_by: String::new(), taken_at: 0 };
        let entry = |key: &'static str| Entry { key: key.into(), record: "a longer record".into() };
        let mut writer = Writer::begin(BufWriter::new(File::create(&path).unwrap()), &header).unwrap();
        writer.add(&[entry("kept")]).unwrap();
        let mark = writer.mark();
        writer.add(&[entry("of an earlier view"), entry("and another")]).unwrap();
        rewind(&mut writer, mark).unwrap();
        writer.add(&[entry("new")]).unwrap();
        writer.end(End::default()).unwrap();
        let mut reader = Reader::begin(File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.next_contents().unwrap(), Contents::Entries(vec![entry("kept")]));
        assert_eq!(reader.next_contents().unwrap(), Contents::Entries(vec![entry("new")]));
        assert!(matches!(reader.next_contents().unwrap(), Contents::End(end) if end.entries == 2));
    }
}
