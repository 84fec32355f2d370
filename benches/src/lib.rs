//! Holds what benches share; they themselves live in `benches/`.

pub mod histories;
pub mod load;
pub mod processor;
pub mod servers;
pub mod table;

/// As in the program, so that bare servers and loops beside it have the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
