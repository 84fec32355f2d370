//! Who is in the cluster, and who owns what while that changes.
//!
//! Dynamo, section 4.8: members are added and removed explicitly, from any node, and every node
//! holds the whole view. Unlike there, a change is chosen by the members of the view before it,
//! so that two administrators cannot fork the ring.
//!
//! Not here: who is alive, which only requests find out (`rpc::peers` keeps what they found).

mod administrator;
mod decree;
mod file;
mod holdings;
mod newest;
mod steward;
mod view;
mod views;

pub use administrator::{AdministrationError, Administrator};
pub use decree::{Accepted, Acceptor, Ballot, Proposer, Step, Vote};
pub use holdings::{Found, Gap, Holdings, Mark, SAME_BIRTH};
pub use newest::Watch;
pub use steward::{Steward, bring_up, catch_up};
pub use view::{Change, ChangeError, Phase, View, ViewVersion};
pub use views::{Report, Views};
