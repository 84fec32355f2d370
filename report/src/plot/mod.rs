//! Plots as inline SVG: readable without a script, in light and in dark, on paper too.
//!
//! Colours are CSS classes (`s0`, `s1`, ...; `band`), which the page defines for both themes.
//!
//! Not here: what is plotted.

mod axis;
mod line;

pub use axis::Scale;
pub use line::{Band, Plot, Series, Tick};
