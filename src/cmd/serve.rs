//! `quorate serve`: one node in the foreground.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use quorate_cluster::config::{Config, TlsSection};
use quorate_cluster::node::{Node, NodeParts};
use quorate_env::{Env, Random, SystemClock, SystemDisk, TokioNetwork};
use serde_json::json;
use tokio::sync::oneshot;

use crate::build_info;
use crate::logs::LogFormat;
use crate::outcome::{Exit, Failure, say};
use crate::signals::{Hangups, Interrupts};
use crate::stdout;
use quorate_cluster::tls::{Certificates, Look};
use quorate_processes::pki::own_certificates;
use quorate_processes::server_runtime;

/// How long requests in flight may take to end once the node was asked to stop.
const FAREWELL_MAX: Duration = Duration::from_secs(4);

/// Run one node in the foreground, until Ctrl-C or SIGTERM; SIGHUP has it look at its certificates at
/// once. Its configuration file has the sections [node] (id, listen, peer_listen, data_dir, capacity, zone, token_key_file, administration,
/// admin_token_file, protocol_max, threads, and bounds: connections_max, streams_max, requests_max,
/// request_bytes_max, peer_requests_max, link_requests_max, commits_max, cache_bytes), [store], one [[member]] a node of the cluster
/// and, unless a development certificate will do, [tls] (cert, key, ca).
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  quorate serve --config n1.toml")]
pub struct ServeArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Also stop when standard input ends: for programs that start nodes and must not leave any
    /// behind, whatever happens to them.
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Runs it until it is asked to stop.
///
/// # Errors
/// If the node cannot start, or breaks while running.
pub fn run(args: ServeArgs, json: bool) -> Result<Exit, Failure> {
    let config = read_config(&args.config)?;
    let runtime = server_runtime(config.node.threads);
    let runtime = runtime.map_err(|e| Failure::setup(format_args!("cannot start the runtime: {e}")))?;
    runtime.block_on(serve(args, config, json))
}

async fn serve(args: ServeArgs, config: Config, json: bool) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::listen().map_err(Failure::setup)?;
    let hangups = Hangups::listen().map_err(Failure::setup)?;
    let in_file = |e: &dyn std::fmt::Display| Failure::setup(format_args!("{}: {e}", args.config.display()));
    let tls = certificates(&config)?;
    let disk =
        SystemDisk::open(&config.node.data_dir).map_err(|e| in_file(&format_args!("data_dir: {e}")))?;
    let clock = Arc::new(SystemClock::new());
    let certificates = Certificates::open(&tls, Arc::clone(&clock) as _).map_err(|e| in_file(&e))?;
    let certificates = Arc::new(certificates);
    let shown = Arc::clone(&certificates);
    let env = Env { net: Arc::new(TokioNetwork), clock, random: Random::from_system(), disk: Arc::new(disk) };
    let id = config.node.id;
    let parts = NodeParts { config, env, engine: None, tls: Some(certificates) };
    let node = Node::start(parts).await.map_err(|e| in_file(&e))?.with_build(&build_info::build());
    if json {
        let url = format!("https://{}", node.api_address());
        stdout::line(json!({ "id": id.as_str(), "url": url, "peer": node.peer_address(), "ca": tls.ca }))?;
    } else {
        say(format_args!("{id}: https://{}, peers at {}", node.api_address(), node.peer_address()));
    }

    tokio::spawn(hangups.each(move || {
        tracing::info!("SIGHUP: looking at the certificates");
        // It says itself what is new, but nothing if nothing is.
        if shown.look() == Look::Same {
            tracing::info!("the certificates are those that are in use");
        }
    }));
    let handle = node.handle();
    let stdin = stdin_end(args.until_stdin_closes);
    let running = node.run();
    tokio::pin!(running);
    tokio::select! {
        biased;
        () = interrupts.wait() => {}
        () = stdin => {}
        ended = &mut running => {
            return ended.map(|()| Exit::Held).map_err(|e| Failure::setup(format_args!("{id}: {e}")));
        }
    }
    handle.shut_down();
    match tokio::time::timeout(FAREWELL_MAX, running).await {
        Ok(ended) => ended.map_err(|e| Failure::setup(format_args!("{id}: {e}")))?,
        Err(_) => say(format_args!("{id}: requests were still open after {} s", FAREWELL_MAX.as_secs())),
    }
    Ok(Exit::Held)
}

/// Reads a node's configuration file.
///
/// # Errors
/// With the file and what is wrong in it.
pub fn read_config(path: &Path) -> Result<Config, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::setup(format_args!("{name}: cannot read: {e}")))?;
    Config::from_toml(&text).map_err(|e| Failure::setup(format_args!("{name}: {e}")))
}

/// The files of `[tls]`, or development ones beside the data.
fn certificates(config: &Config) -> Result<TlsSection, Failure> {
    if let Some(tls) = &config.tls {
        return Ok(tls.clone());
    }
    let node = &config.node;
    let dir = Path::new(&node.data_dir).join("tls");
    let (section, new) = own_certificates(&dir, node.id.as_str(), &node.listen)?;
    if new {
        say(format_args!(
            "{}: no [tls] in the configuration: made a development authority and certificate in {}; \
             clients trust {}",
            node.id,
            dir.display(),
            dir.join("ca.pem").display()
        ));
    }
    Ok(section)
}

/// Returns when standard input has ended; never if that does not matter.
async fn stdin_end(matters: bool) {
    if !matters {
        return std::future::pending().await;
    }
    let (ended, wait) = oneshot::channel();
    // A thread of its own: the runtime would wait for a blocked read of its own at the end.
    std::thread::spawn(move || {
        let mut ignored = [0_u8; 512];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut ignored).is_ok_and(|count| count > 0) {}
        // The node may have stopped for another reason by now.
        let _ = ended.send(());
    });
    let _ = wait.await;
}
