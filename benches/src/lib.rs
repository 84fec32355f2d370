//! Holds what benches share; they themselves live in `benches/`.

pub mod histories;
pub mod load;
pub mod processor;
pub mod servers;
pub mod table;
