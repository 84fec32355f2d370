//! Load on a store, and honest figures about it.
//!
//! Arrivals and operations are pure functions of a seed and an index, fixed before the run
//! begins; the store cannot slow down the clock it is measured by. Latency counts from the
//! intended slot, so that a stall is charged to every operation that had to wait for it
//! (what leaving that out is called: coordinated omission).
//!
//! In the order a newcomer should read: [`plan`], [`arrivals`], [`workload`], [`sizes`],
//! [`target`], [`engine`], [`recorder`], [`results`], [`windows`], [`trust`], [`search`], [`rundir`].
//!
//! Not here: any knowledge of how the store works inside, printing, checking of histories.

pub mod arrivals;
pub mod draws;
pub mod engine;
pub mod fit;
pub mod keys;
pub mod observe;
pub mod plan;
pub mod recorder;
pub mod results;
pub mod rundir;
pub mod search;
pub mod sizes;
pub mod target;
pub mod trust;
pub mod value;
pub mod windows;
pub mod workload;

pub use arrivals::{ArrivalKind, Arrivals, Rate, RateSetting, Schedule, Trace, TraceError};
pub use engine::{Interval, IntervalSink, LoadReport, LoadRun, PhaseReport, RunOutcome};
pub use keys::KeyDistribution;
pub use observe::{OperationObserver, OperationRecord, Phase, Progress, Silent, Tick};
pub use plan::{LoadPlan, Pace, Part, PlanError, PlanSettings};
pub use recorder::Recorder;
pub use results::Results;
pub use rundir::{RunDirectory, RunRecord};
pub use sizes::ValueSizes;
pub use target::{
    Call, CallKind, Completion, EtcdTarget, NullTarget, Outcome, QuorateTarget, RedisTarget, Target,
    TargetName,
};
pub use trust::{Trust, Verdict};
pub use value::ValueId;
pub use workload::{Mix, OpKind, Operation, Workload};
