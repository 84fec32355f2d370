//! Faults as plain data: what, to whom, from when, for how long. Healing is part of the plan.
//!
//! A [`FaultSpec`] is what a scenario file says; a [`Plan`] is what one run does, with every target
//! named and every time fixed. [`Effects`] says what a planned fault does to links, nodes and clocks;
//! [`LinkTable`] and [`NodeTable`] what becomes of a link or a node under several faults at once.
//!
//! Each fault draws from a random stream of its own, so that taking one away changes no other.
//!
//! Not here: doing any of it ([`crate::world`]).

mod effects;
mod kind;
mod links;
mod nodes;
mod plan;
mod settings;
mod spec;
mod targets;
mod timeline;
mod wire;

pub use effects::{ClockEffect, Effects, LinkEffect, NodeEffect};
pub use kind::FaultKind;
pub use links::{LinkTable, PairState};
pub use nodes::{NodeState, NodeTable};
pub(crate) use plan::STRIKE;
pub use plan::{Due, FaultEvent, Phase, Plan, PlannedFault};
pub use settings::{Direction, Settings};
pub use spec::FaultSpec;
pub(crate) use spec::Hosts;
pub use targets::Targets;
pub use timeline::{Span, Timeline};
pub use wire::Wire;
