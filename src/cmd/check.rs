//! `quorate check`: judges histories from any source.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use quorate_check::history::Value;
use quorate_check::{Kind, Model, Options, Report, Verdict, check_path};
use quorate_cluster::config::parse_duration;

use super::not_yet;
use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// Violations shown for each history; --json shows more, and counts all.
const SHOWN: usize = 5;

/// Judge histories: was every promise kept, and if not, which operations prove it? Reads JSON
/// Lines, plain or zstd, and run directories.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate check history.jsonl
  quorate check results/latest --json
  quorate check a.jsonl b.jsonl.zst --model register --timeout 60s")]
pub struct CheckArgs {
    /// Files or run directories.
    #[arg(required = true, value_name = "HISTORY")]
    histories: Vec<PathBuf>,
    /// The format of the files (guessed when left out).
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What the store should behave like (guessed when left out).
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    /// What every key holds before the first write, as JSON (not found when left out).
    #[arg(long, value_name = "JSON")]
    initial: Option<String>,
    /// Draw what was found.
    #[arg(long, value_name = "OUT.html")]
    explain: Option<PathBuf>,
    /// Give up on a history with `unknown` after so long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// Write the histories in another format.
    #[arg(long, value_name = "FORMAT")]
    convert: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Edn,
    EtcdLog,
    KvLog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModelName {
    Register,
    CasRegister,
    MultiRegister,
    Kv,
    Mutex,
    Set,
    Siblings,
}

/// Runs it.
///
/// # Errors
/// If the arguments ask for what cannot be done. A history that cannot be read is a result.
pub fn run(args: CheckArgs, json: bool) -> Result<Exit, Failure> {
    let options = options(&args)?;
    let mut worst = Exit::Held;
    for path in &args.histories {
        let report = judged(path, &options);
        worst = worse(worst, exit_of(report.verdict));
        if json {
            let line = serde_json::to_string(&report).map_err(Failure::setup)?;
            stdout::line(line)?;
        } else {
            print(path, &report)?;
        }
    }
    Ok(worst)
}

fn options(args: &CheckArgs) -> Result<Options, Failure> {
    for format in [args.format, args.convert].into_iter().flatten() {
        if format != Format::Jsonl {
            let name = format.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
            return Err(not_yet(&format!("the format {name}")));
        }
    }
    if args.convert.is_some() {
        return Err(not_yet("--convert"));
    }
    if args.explain.is_some() {
        return Err(not_yet("--explain"));
    }
    let model = match args.model {
        None => None,
        Some(ModelName::Register) => Some(Model::Register),
        Some(ModelName::CasRegister) => Some(Model::CasRegister),
        Some(ModelName::Siblings) => Some(Model::Siblings),
        Some(ModelName::MultiRegister | ModelName::Kv | ModelName::Mutex | ModelName::Set) => {
            return Err(not_yet("that model: this one knows register, cas-register and siblings; it"));
        }
    };
    let initial = args.initial.as_deref().map(initial).transpose()?;
    Ok(Options { model, initial, timeout: Some(args.timeout), ..Options::default() })
}

fn initial(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json).map_err(|e| {
        Failure::setup(format_args!(
            "--initial `{json}`: not a value: {e}; write a string, an integer or null as JSON"
        ))
    })
}

/// Judges one file or directory, and says how long that took.
fn judged(path: &Path, options: &Options) -> Report {
    let started = Instant::now();
    let mut report = check_path(path, options);
    report.elapsed_ms = Some(started.elapsed().as_secs_f64() * 1e3);
    report
}

/// The exit code of one verdict.
pub fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Valid => Exit::Held,
        Verdict::Invalid => Exit::Violated,
        Verdict::Unknown => Exit::Unknown,
        Verdict::Error => Exit::Setup,
    }
}

/// Of several histories: 3 if any is an error, else 1 if any is invalid, else 2 if any is unknown.
fn worse(a: Exit, b: Exit) -> Exit {
    let weight = |exit| match exit {
        Exit::Held => 0,
        Exit::Unknown => 1,
        Exit::Violated => 2,
        Exit::Setup => 3,
    };
    if weight(b) > weight(a) { b } else { a }
}

fn print(path: &Path, report: &Report) -> Result<(), Failure> {
    if let Some(error) = &report.error {
        stdout::line(format_args!("{}: {}", path.display(), report.verdict))?;
        say(format_args!("error: {error}"));
        return Ok(());
    }
    let model = report.model.map_or("", Model::name);
    stdout::line(format_args!(
        "{}: {} ({model} by {}, {} operations, {} keys, {:.1} ms)",
        path.display(),
        report.verdict,
        report.algorithm,
        report.operations,
        report.keys,
        report.elapsed_ms.unwrap_or_default()
    ))?;
    for line in details(report) {
        stdout::line(format_args!("  {line}"))?;
    }
    for warning in &report.warnings {
        say(format_args!("warning: {}: {warning}", path.display()));
    }
    Ok(())
}

/// What was found, in lines.
pub fn details(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(witness) = &report.witness {
        lines.push(format!("cannot be ordered: operations {witness:?}"));
    }
    if let Some(first) = &report.first_impossible {
        lines.push(format!("first impossible: operation {} (event {})", first.operation, first.event));
    }
    for (kind, count) in &report.violation_counts {
        let shown: Vec<_> = report.violations.iter().filter(|v| v.kind.name() == *kind).take(SHOWN).collect();
        lines.push(format!("{count} {kind}{}", beside(report, kind)));
        lines.extend(shown.iter().map(|v| format!("  {}", v.says)));
        let more = count.saturating_sub(shown.len() as u64);
        if more > 0 && !shown.is_empty() {
            lines.push(format!("  and {more} more"));
        }
    }
    if let Some(staleness) = &report.staleness {
        let distance = staleness.delta_ms_max.map(|ms| format!(", at most {ms:.3} ms from linearizable"));
        let versions =
            staleness.k_at_least.map(|k| format!(", at least the latest {k} value(s) must be allowed"));
        let stale = staleness.stale_reads * 100.0;
        lines.push(format!(
            "{stale:.4} % stale reads{}{}",
            distance.unwrap_or_default(),
            versions.unwrap_or_default()
        ));
    }
    lines.extend(report.not_judged.iter().map(|n| format!("not judged: {} ({})", n.what, n.why)));
    lines
}

/// Says of a kind that does not decide the verdict that it does not.
fn beside(report: &Report, kind: &str) -> &'static str {
    let found: Option<Kind> = report.violations.iter().map(|v| v.kind).find(|k| k.name() == kind);
    match (found, report.model) {
        (Some(kind), Some(model)) if !kind.decides(model) => " (beside the verdict)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_outweighs_a_violation_outweighs_the_unknown() {
        let over =
            |verdicts: &[Verdict]| verdicts.iter().fold(Exit::Held, |worst, v| worse(worst, exit_of(*v)));
        assert_eq!(over(&[Verdict::Valid, Verdict::Unknown]), Exit::Unknown);
        assert_eq!(over(&[Verdict::Invalid, Verdict::Unknown, Verdict::Valid]), Exit::Violated);
        assert_eq!(over(&[Verdict::Invalid, Verdict::Error, Verdict::Unknown]), Exit::Setup);
    }

    #[test]
    fn an_initial_value_is_json() {
        assert!(matches!(initial("0"), Ok(Value::Integer(0))));
        assert!(matches!(initial("\"\""), Ok(Value::Text(_))));
        assert!(initial("nil").is_err_and(|e| e.to_string().contains("--initial")));
    }
}
