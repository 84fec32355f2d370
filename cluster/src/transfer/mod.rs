//! Background work that brings copies to where they belong: hint delivery and anti-entropy.
//!
//! Everything moved here is synced by its receiver before it is acknowledged, whatever the
//! store promises: responsibility for a write passes on.
//!
//! Not here: deciding where a copy belongs (`ring`), merging it (`replica`).

mod anti_entropy;
mod hint_delivery;

pub use anti_entropy::AntiEntropy;
pub use hint_delivery::HintDelivery;
