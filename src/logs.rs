//! Log lines on standard error, chosen by `QUORATE_LOG` (such as `debug` or
//! `quorate_cluster=trace`).

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging at `default_level` unless `QUORATE_LOG` says otherwise. Colours only on a
/// terminal, and not under `NO_COLOR`.
pub fn start(default_level: &str) {
    let filter = EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| EnvFilter::new(default_level));
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // A second start in one process changes nothing.
    let _ = subscriber.try_init();
}
