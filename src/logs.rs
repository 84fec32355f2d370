//! Log lines on standard error, chosen by `QUORATE_LOG` (such as `debug` or
//! `quorate_cluster=trace`): for people, or one JSON object a line for programs.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line: timestamp, level, target, message and what else belongs to it.
    Json,
}

/// Whether lines for people are made JSON too.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Starts logging at `default_level` unless `QUORATE_LOG` says otherwise. Colours only on a
/// terminal, and not under `NO_COLOR`.
pub fn start(default_level: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| EnvFilter::new(default_level));
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process changes nothing.
    let _ = match format {
        LogFormat::Text => subscriber.with_ansi(colours).try_init(),
        LogFormat::Json => subscriber.with_ansi(false).event_format(JsonLines).try_init(),
    };
}

/// A line for people as log lines look: the same, or JSON.
pub fn line(message: impl fmt::Display) -> String {
    if !IS_JSON.load(Ordering::Relaxed) {
        return message.to_string();
    }
    let mut object = Map::new();
    object.insert("message".into(), message.to_string().into());
    finish(object, "INFO", "quorate")
}

/// Adds when, how bad and where from.
fn finish(mut object: Map<String, Value>, level: &str, target: &str) -> String {
    let mut now = String::new();
    // A line without its time is better than none.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    object.insert("timestamp".into(), now.into());
    object.insert("level".into(), level.into());
    object.insert("target".into(), target.into());
    Value::Object(object).to_string()
}

/// Writes events as JSON objects, a line each.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let about = event.metadata();
        writeln!(writer, "{}", finish(fields.0, about.level().as_str(), about.target()))
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}
