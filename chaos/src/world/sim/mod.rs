//! The simulated world: the same node and client code on turmoil's network and clock. The only
//! place that names turmoil.
//!
//! One thread plays one run. The world is driven from outside, tick by tick; faults that are due
//! are applied between ticks, so that their order is a matter of the plan alone. Facts about
//! turmoil 0.7 that this relies on: a lost segment stalls its connection for ever (there is no
//! retransmission); crashing a host sends FIN for its connections; a connect across a cut link is
//! refused at once, one to a crashed host hangs.

mod clock;
mod director;
mod load;
mod net;
mod node;
mod panics;
mod stream;
mod tracer;
mod wires;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use quorate_env::marks::MarkCount;

pub use clock::{EPOCH_NS, NodeClock, SimClock};
pub use net::SimNetwork;

use quorate_cluster::planted::plant;

use self::director::Director;
use self::panics::PanicWatch;
use self::tracer::Tracer;
use self::wires::Wires;
use super::stage::Stage;
use super::{Play, Played, World, WorldError};
use crate::members::Desk;
use crate::scenario::Scenario;
use crate::workload::Recorder;

/// Pending segments of one connection; turmoil panics beyond, and connections that wait to be
/// accepted count too.
const TCP_CAPACITY: usize = 16_384;

/// The longest that a run may go on after its load, in simulated time. Reaching it is a bug: every
/// stage has a deadline of its own.
const AFTER_LOAD_MAX: Duration = Duration::from_secs(900);

/// Plays runs in simulated time, the same from the same seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedWorld;

impl World for SimulatedWorld {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn is_deterministic(&self) -> bool {
        true
    }

    fn refuses(&self, _: &Scenario) -> Option<String> {
        None
    }

    fn runs_at_a_time(&self) -> Option<NonZeroUsize> {
        None
    }

    fn play(&self, play: &Play<'_>) -> Result<Played, WorldError> {
        let watch = PanicWatch::begin();
        // The simulation is not used after a panic: it is dropped here, and what was recorded is a copy.
        let played = catch_unwind(AssertUnwindSafe(|| play_out(play, &watch)));
        match (played, watch.first()) {
            (Ok(Ok(played)), None) => Ok(played),
            (_, Some(message)) => Err(WorldError::Panicked { at_ms: watch.at_ms(), message }),
            (Ok(Err(error)), None) => Err(error),
            (Err(_), None) => {
                Err(WorldError::Panicked { at_ms: watch.at_ms(), message: "without a message".into() })
            }
        }
    }
}

fn play_out(play: &Play<'_>, watch: &PanicWatch) -> Result<Played, WorldError> {
    let _planted = plant(play.seams.bug);
    let network = &play.scenario.network;
    let random = quorate_env::Random::from_seed(play.seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(random.child("network").seed())
        .epoch(std::time::UNIX_EPOCH + Duration::from_nanos(EPOCH_NS))
        .tick_duration(network.tick)
        .min_message_latency(network.latency_min)
        .max_message_latency(network.latency_max)
        .tcp_capacity(TCP_CAPACITY)
        .enable_random_order()
        .simulation_duration(play.scenario.workload.duration + AFTER_LOAD_MAX)
        .build();
    let recorder = Recorder::new();
    let stage = Stage::default();
    let section = &play.scenario.cluster;
    let desk = Desk::new(section.node_names().chain(section.spare_names()).collect(), play.first.clone());
    let wires = Wires::default();
    let marks = MarkCount::begin();
    let mut tracer = play.trace.then(Tracer::begin);
    let tape = tracer.as_ref().map(Tracer::tape);
    let nodes = node::start(&mut sim, play, random, (&wires, tape))?;
    load::start(&mut sim, play, (random, &wires, tape), &recorder, &stage, &desk)?;
    let mut director = Director::new(&mut sim, play, random, nodes, wires, desk.clone());
    loop {
        let at_ms = u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX);
        watch.set_time(at_ms);
        if let Some(tracer) = &mut tracer {
            tracer.look(at_ms);
        }
        if let Some(start_ns) = stage.load_start_ns() {
            director.apply_due(&mut sim, start_ns);
        }
        let finished = sim.step().map_err(|e| WorldError::Stopped { at_ms, message: e.to_string() })?;
        if watch.first().is_some() {
            return Err(WorldError::Panicked { at_ms, message: String::new() });
        }
        if finished {
            break;
        }
    }
    let ending = stage.ending();
    let (operations, events) = (recorder.take(), director.into_events());
    let trace = tracer.map(|tracer| tracer.end(&operations, &events));
    Ok(Played {
        operations,
        events,
        marks: Some(marks.counts().into_iter().map(|(mark, count)| (mark.to_owned(), count)).collect()),
        trace,
        load_start_ns: stage.load_start_ns().unwrap_or_default(),
        elapsed_ns: u64::try_from(sim.elapsed().as_nanos()).unwrap_or(u64::MAX),
        rest: ending.rest,
        stuck_change: ending.stuck_change,
        uncollected: ending.uncollected,
        final_reads_failed: ending.final_reads_failed,
        eras: desk.eras(),
        machine: None,
        logs: Vec::new(),
    })
}
