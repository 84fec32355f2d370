//! Who is in the cluster, and who owns what while that changes.
//!
//! Dynamo, section 4.8: members are added and removed explicitly, from any node, and every node
//! holds the whole view. Unlike there, a change is chosen by the members of the view before it,
//! so that two administrators cannot fork the ring.
//!
//! Who is alive is another question, and its answers are only hints: [`gossip`] finds them, as does
//! whoever sends a request (`rpc::peers`). Nobody becomes or ceases to be a member by them.

mod administrator;
mod agreement;
mod confirmed;
mod decree;
mod disks;
mod file;
pub mod gossip;
mod holdings;
mod marks;
mod newest;
mod steward;
mod underway;
mod view;
mod views;

pub use administrator::{AdministrationError, Administrator};
pub use agreement::{bring_up, call_under, catch_up};
pub use decree::{Accepted, Acceptor, Ballot, Proposer, Step, Vote};
pub use disks::Disks;
pub use holdings::{Found, Gap, Holdings, Mark, SAME_BIRTH};
pub use marks::Witnesses;
pub use newest::Watch;
pub use steward::Steward;
pub use underway::{Operation, Underway};
pub use view::{Change, ChangeError, Phase, View, ViewVersion};
pub use views::{Report, Views};
