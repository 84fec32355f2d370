//! What a node takes on, and what it puts off.
//!
//! Requests of clients are let in up to a bound and refused at once beyond it ([`Admission`]): a
//! refusal that costs nothing is worth more to its client than an answer after its deadline. A
//! request that is let in has a [`Ticket`], which says until when its answer is of use.
//!
//! Background work asks one [`Background`] before it goes on, which lets it work as fast as
//! requests do not notice (`controller`; Dynamo, section 6.5).
//!
//! Not here: the bounds of other queues (`api` for connections, `rpc` for peers, `store` for
//! writes that wait for the disk), or what a request does.

mod background; // whom background work asks
mod controller; // how fast it may go
mod latencies; // what requests say about that
mod requests; // letting clients in

pub use background::Background;
pub use requests::{Admission, Ticket};
