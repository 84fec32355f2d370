//! Faults as plain data: what, to whom, from when, for how long. Healing is part of the plan.
//!
//! A [`FaultSpec`] is what a scenario file says; a [`Plan`] is what one run does, with every target
//! named and every time fixed. [`Effects`] says what a planned fault does to links and nodes, and
//! [`LinkTable`] what becomes of a link under several faults at once.
//!
//! Each fault draws from a random stream of its own, so that taking one away changes no other.
//!
//! Not here: doing any of it ([`crate::world`]).

mod effects;
mod links;
mod plan;
mod spec;
mod timeline;

pub use effects::{Effects, LinkEffect};
pub use links::{LinkTable, PairState};
pub use plan::{FaultEvent, Phase, Plan, PlannedFault};
pub use spec::{Direction, FaultKind, FaultSpec, Targets};
pub use timeline::{Span, Timeline};
