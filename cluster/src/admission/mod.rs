//! What a node takes on, and what it puts off.
//!
//! Requests of clients are let in up to a bound and refused at once beyond it ([`Admission`]): a
//! refusal that costs nothing is worth more to its client than an answer after its deadline. A
//! request that is let in has a [`Ticket`], which says until when its answer is of use.
//!
//! Not here: the bounds of other queues (`api` for connections, `rpc` for peers, `store` for
//! writes that wait for the disk), or what a request does.

mod requests;

pub use requests::{Admission, Ticket};
