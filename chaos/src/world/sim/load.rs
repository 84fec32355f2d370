//! The hosts that clients run on, and that of the one who watches over the stages of a run.

use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientOptions, NodeUrl};
use quorate_cluster::config::Member;
use quorate_env::{Network, Random};

use super::node::{API_PORT, everybody};
use super::wires::Wires;
use super::{SimClock, SimNetwork};
use crate::members::Desk;
use crate::trace::Tape;
use crate::workload::Recorder;
use crate::world::stage::{Casting, IDLE_AGE_MAX, Stage, WATCHER};
use crate::world::{Play, WorldError};

/// Registers the clients' hosts and the watcher's.
pub(super) fn start(
    sim: &mut turmoil::Sim<'_>,
    play: &Play<'_>,
    (random, wires, tape): (Random, &Wires, Option<&Tape>),
    recorder: &Recorder,
    stage: &Stage,
    desk: &Desk,
) -> Result<(), WorldError> {
    let everybody = everybody(play)?;
    let client = |deadline| client(&everybody, (wires, tape), deadline);
    let clock = Arc::new(SimClock);
    let casting = Casting {
        play,
        random,
        recorder,
        stage,
        desk,
        clock,
        everybody: everybody.clone(),
        // Simulated nodes let everybody administer: there is no TLS to carry a token in.
        authorization: None,
        client: &client,
    };
    let (crews, watcher) = casting.cast()?;
    for crew in crews {
        sim.client(crew.host.clone(), async move { Ok(crew.run().await?) });
    }
    sim.client(WATCHER, async move { Ok(watcher.run().await?) });
    Ok(())
}

fn client(
    nodes: &[Member],
    (wires, tape): (&Wires, Option<&Tape>),
    deadline: Duration,
) -> Result<Client, WorldError> {
    let set_up = |e: &dyn std::fmt::Display| WorldError::SetUp(e.to_string());
    let urls: Vec<NodeUrl> = nodes
        .iter()
        .map(|node| format!("http://{}:{API_PORT}", node.id).parse::<NodeUrl>())
        .collect::<Result<_, _>>()
        .map_err(|e| set_up(&e))?;
    let net: Arc<dyn Network> = Arc::new(SimNetwork::of_clients(wires.clone()).taped(tape, "clients"));
    let options = ClientOptions { deadline, idle_age_max: IDLE_AGE_MAX, ..ClientOptions::default() };
    Client::new(net, urls, None, options).map_err(|e| set_up(&e))
}
