//! Did the store keep its word? The operation log and the checkers that judge it.
pub mod history;
