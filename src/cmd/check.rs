//! `quorate check`: judges histories from any source.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use quorate_check::history::{Format, History, Value};
use quorate_check::{Kind, Model, Options, Report, Verdict, check, explain};
use quorate_cluster::config::parse_duration;

use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// Violations shown for each history; --json shows more, and counts all.
const SHOWN: usize = 5;

/// Judge histories: was every promise kept, and if not, which operations prove it? Reads JSON Lines,
/// Jepsen's EDN, etcd logs of Jepsen and kv logs, plain or zstd, and run directories.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate check history.jsonl
  quorate check results/latest --json
  quorate check a.jsonl b.jsonl.zst --model register --timeout 60s
  quorate check etcd_001.log --explain why.html
  quorate check history.edn --convert jsonl > history.jsonl")]
pub struct CheckArgs {
    /// Files or run directories.
    #[arg(required = true, value_name = "HISTORY")]
    histories: Vec<PathBuf>,
    /// The format of the files (guessed when left out).
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatName>,
    /// What the store should behave like (guessed when left out).
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    /// What every key holds before the first write, as JSON (when left out: 0 for registers in EDN, the
    /// empty string for strings in EDN and kv logs, else not found).
    #[arg(long, value_name = "JSON")]
    initial: Option<String>,
    /// Draw the operations around the first contradiction into one page that opens offline.
    #[arg(long, value_name = "OUT.html")]
    explain: Option<PathBuf>,
    /// Give up on a history with `unknown` after so long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// Do not judge: print the history in another format, jsonl or edn, on standard output.
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["model", "initial", "explain"])]
    convert: Option<FormatName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
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

impl FormatName {
    fn format(self) -> Format {
        match self {
            Self::Jsonl => Format::Jsonl,
            Self::Edn => Format::Edn,
            Self::EtcdLog => Format::EtcdLog,
            Self::KvLog => Format::KvLog,
        }
    }
}

impl ModelName {
    fn model(self) -> Model {
        match self {
            Self::Register => Model::Register,
            Self::CasRegister => Model::CasRegister,
            Self::MultiRegister => Model::MultiRegister,
            Self::Kv => Model::Kv,
            Self::Mutex => Model::Mutex,
            Self::Set => Model::Set,
            Self::Siblings => Model::Siblings,
        }
    }
}

/// Runs it.
///
/// # Errors
/// If the arguments ask for what cannot be done. A history that cannot be read is a result.
pub fn run(args: CheckArgs, json: bool) -> Result<Exit, Failure> {
    let format = args.format.map(FormatName::format);
    if let Some(to) = args.convert {
        return convert(&args.histories, format, to.format());
    }
    let options = options(&args)?;
    if args.explain.is_some() && args.histories.len() > 1 {
        return Err(Failure::setup("--explain draws one history: give one HISTORY"));
    }
    let mut worst = Exit::Held;
    for path in &args.histories {
        let (report, history) = judged(path, format, &options);
        worst = worse(worst, exit_of(report.verdict));
        if let (Some(page), Some(history)) = (&args.explain, &history) {
            std::fs::write(page, explain(history, &report))
                .map_err(|e| Failure::setup(format_args!("--explain {}: {e}", page.display())))?;
        }
        if json {
            let line = serde_json::to_string(&report).map_err(Failure::setup)?;
            stdout::line(line)?;
        } else {
            print(path, &report)?;
        }
    }
    Ok(worst)
}

/// Prints one history in another format.
fn convert(histories: &[PathBuf], from: Option<Format>, to: Format) -> Result<Exit, Failure> {
    let [path] = histories else {
        return Err(Failure::setup("--convert prints one history: give one HISTORY"));
    };
    let history = History::read_as(path, from).map_err(Failure::setup)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let losses = history.convert(to, &mut out).and_then(|losses| {
        std::io::Write::flush(&mut out)?;
        Ok(losses)
    });
    let losses = losses.map_err(|e| Failure::setup(format_args!("{}: --convert: {e}", path.display())))?;
    for loss in losses {
        say(format_args!("warning: {}: {loss}", path.display()));
    }
    Ok(Exit::Held)
}

fn options(args: &CheckArgs) -> Result<Options, Failure> {
    Ok(Options {
        model: args.model.map(ModelName::model),
        initial: args.initial.as_deref().map(initial).transpose()?,
        timeout: Some(args.timeout),
        // A page is looked at by a person: a smaller contradiction is worth a second.
        witness_steps_max: if args.explain.is_some() {
            5_000_000
        } else {
            Options::default().witness_steps_max
        },
        ..Options::default()
    })
}

fn initial(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json).map_err(|e| {
        Failure::setup(format_args!(
            "--initial `{json}`: not a value: {e}; write a string, an integer or null as JSON"
        ))
    })
}

/// Judges one file or directory, and says how long that took.
fn judged(path: &Path, format: Option<Format>, options: &Options) -> (Report, Option<History>) {
    let started = Instant::now();
    let (mut report, history) = match History::read_as(path, format) {
        Ok(history) => (check(&history, options), Some(history)),
        Err(error) => (Report::error(error), None),
    };
    report.file = Some(path.display().to_string());
    report.elapsed_ms = Some(started.elapsed().as_secs_f64() * 1e3);
    (report, history)
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
        for (what, unit, spread) in
            [("stale by", " ms", staleness.stale_ms), ("stale by", " versions", staleness.stale_versions)]
        {
            if let Some(d) = spread.filter(|spread| spread.max > 0.0) {
                lines.push(format!(
                    "{what} {:.3}{unit} in the mean, p99 {:.3}, p99.9 {:.3}, at most {:.3}",
                    d.mean, d.p99, d.p999, d.max
                ));
            }
        }
        for bucket in staleness.t_visibility.iter().filter(|bucket| bucket.fresh < bucket.reads) {
            let below = bucket.below_ms.map_or_else(String::new, |ms| format!("less than {ms} ms "));
            let share = bucket.fresh as f64 / bucket.reads as f64 * 100.0;
            lines.push(format!("  {below}after a write: {share:.3} % of {} reads fresh", bucket.reads));
        }
    }
    if let Some(set) = &report.set {
        lines.push(format!(
            "elements: {} tried, {} stable, {} lost, {} never read, {} stale; {} gets with duplicates",
            set.attempts, set.stable, set.lost, set.never_read, set.stale, set.duplicated
        ));
    }
    if let Some((most, _)) = report.sibling_counts.last_key_value() {
        let all: u64 = report.sibling_counts.values().sum();
        let one = report.sibling_counts.range(..=1).map(|(_, count)| count).sum::<u64>();
        lines.push(format!("{one} of {all} gets returned one value or none, the others up to {most}"));
    }
    if let Some(certified) = report.certified {
        lines.push(format!("proved by an order of {certified} operations, which was verified"));
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
