//! Changes of the members during a run: who asks for them, and who owned what when.
//!
//! The [`Desk`] is where faults leave their [`Wish`]es and everybody else looks up the [`Era`]s; the
//! [`Operator`] has the wishes fulfilled through the cluster's own API, as a person would who
//! tries again until it is done. Knows no simulator.
//!
//! Not here: starting and stopping nodes ([`crate::world`]), judging ([`crate::expect`]).

mod desk;
mod era;
mod operator;

pub use desk::{Desk, Wish};
pub use era::{Era, ViewSeen};
pub use operator::Operator;
