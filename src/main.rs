//! The `quorate` command: arguments in, library call, result out.
fn main() {}
