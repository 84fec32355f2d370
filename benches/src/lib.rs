//! Holds nothing: the benches live in `benches/`.
