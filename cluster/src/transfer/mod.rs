//! Background work that brings copies to where they belong, and notices when they rot: hint
//! delivery, refilling, evacuation, anti-entropy, the collection of deletes and the scrubber.
//!
//! Everything moved here is synced by its receiver before it is acknowledged, whatever the
//! store promises: responsibility for a write passes on.
//!
//! Not here: deciding where a copy belongs (`ring`), merging it (`replica`).

mod anti_entropy;
mod collection;
mod evacuation;
mod hint_delivery;
mod pull;
mod refill;
mod scrubber;
mod session;

pub use anti_entropy::AntiEntropy;
pub use collection::{Collection, GivenUp};
pub use evacuation::Evacuation;
pub use hint_delivery::HintDelivery;
pub use refill::Refill;
pub use scrubber::Scrubber;
