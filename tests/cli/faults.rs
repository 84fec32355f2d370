//! Faults of a plan, done to real processes.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_chaos::fault::{FaultKind, Phase, Plan, PlannedFault, Settings};
use quorate_chaos::world::{ProcessFaults, Step};
use quorate_client::{Client, ClientOptions, NodeUrl, ReadOptions, TlsTrust};
use quorate_cluster::config::StoreDefinition;
use quorate_env::{Clock, SystemClock, TokioNetwork};
use quorate_processes::{Lifetime, LocalCluster};
use tempfile::TempDir;

#[tokio::test]
async fn a_killed_node_is_back_when_it_is_ready_and_not_before() {
    let dir = TempDir::new().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_quorate"));
    let store = StoreDefinition::profile("quorum").unwrap();
    let plan = quorate_processes::Plan::of_size(store, 3);
    let started = LocalCluster::start_with(program, dir.path(), &plan, Lifetime::WithHarness).await;
    let mut cluster = started.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let trust = TlsTrust::from_ca_file(&cluster.state().ca, Arc::clone(&clock)).unwrap();
    let urls: Vec<NodeUrl> = cluster.urls().iter().map(|url| url.parse().unwrap()).collect();
    let client = Client::new(Arc::new(TokioNetwork), urls, Some(trust), ClientOptions::default()).unwrap();
    let nodes = ["n1", "n2", "n3"].map(str::to_owned);
    let kill = PlannedFault {
        fault: 0,
        kind: FaultKind::Kill,
        targets: vec!["n2".into()],
        joining: Vec::new(),
        from_ms: 0,
        until_ms: 1,
        settings: Settings::default(),
    };
    let mut faults =
        ProcessFaults::new(&Plan { faults: vec![kill] }, &nodes, &[], client.clone(), Arc::clone(&clock));
    let start_ns = clock.monotonic_ns();
    // All that is due at the first look, or at the next: it is killed and started again.
    let mut steps = Vec::new();
    while !steps.contains(&Step::Heals) {
        let deeds = faults.apply_due(&mut cluster, start_ns).await.unwrap();
        steps.extend(deeds.iter().map(|deed| deed.step));
        tokio::task::yield_now().await;
    }
    assert_eq!(steps, [Step::Begins, Step::Heals], "its process has only begun");
    assert!(!faults.are_all_over());
    assert!(faults.events().iter().all(|event| event.event == Phase::Begin));
    while !faults.are_all_over() {
        faults.apply_due(&mut cluster, start_ns).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(faults.events().len(), 2);
    assert!(client.is_ready(ReadOptions { node: Some(1) }).await.unwrap(), "and now it serves");
    cluster.stop().await;
}
