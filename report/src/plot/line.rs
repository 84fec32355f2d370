//! A plot of lines over one horizontal axis, with bands behind them.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::Scale;
use super::axis::{Axis, short};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// More points than pixels only make the file bigger.
const POINTS_MAX: usize = 700;

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Which colour: 0 to 5.
    pub colour: usize,
    /// Broken, to tell two lines of one colour apart.
    pub dashed: bool,
    /// Its points, by ascending x.
    pub points: Vec<(f64, f64)>,
}

/// A stretch of the horizontal axis that is shaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// What it is.
    pub label: String,
}

/// A place on the horizontal axis with its own words.
#[derive(Clone, Debug)]
pub struct Tick {
    /// Where.
    pub at: f64,
    /// What is written there.
    pub label: String,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows, for those who cannot see it too.
    pub title: String,
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// How the horizontal axis maps values.
    pub x_scale: Scale,
    /// How the vertical axis maps values.
    pub y_scale: Scale,
    /// The words on the horizontal axis; none leaves numbers.
    pub x_ticks: Option<Vec<Tick>>,
    /// Shaded stretches.
    pub bands: Vec<Band>,
    /// The lines.
    pub series: Vec<Series>,
}

impl Plot {
    /// The plot as a figure: SVG, legend, caption.
    #[must_use]
    pub fn figure(&self) -> Markup {
        let xs = || self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0));
        let ys = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.1));
        let (low, high) = xs()
            .filter(|x| x.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
        let x = if low <= high {
            Axis::exact(self.x_scale, low, high, LEFT, WIDTH - RIGHT)
        } else {
            Axis::over(self.x_scale, std::iter::empty(), LEFT, WIDTH - RIGHT)
        };
        let y = Axis::over(self.y_scale, ys, HEIGHT - BOTTOM, TOP);
        let x_ticks = self
            .x_ticks
            .clone()
            .unwrap_or_else(|| x.ticks().into_iter().map(|at| Tick { at, label: short(at) }).collect());
        html! {
            figure {
                figcaption { (self.title) }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(self.title) {
                    @for band in &self.bands {
                        @let (from, to) = (x.place(band.from), x.place(band.to));
                        rect.band x=(px(from)) y=(px(TOP)) width=(px((to - from).max(1.0))) height=(px(HEIGHT - BOTTOM - TOP)) {
                            title { (band.label) }
                        }
                    }
                    @for value in y.ticks() {
                        @let at = px(y.place(value));
                        line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(at) y2=(at) {}
                        text.end x=(LEFT - 6.0) y=(at) dy="0.32em" { (short(value)) }
                    }
                    @for tick in &x_ticks {
                        @let at = px(x.place(tick.at));
                        line.grid x1=(at) x2=(at) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM + 4.0) {}
                        text.middle x=(at) y=(HEIGHT - BOTTOM + 16.0) { (tick.label) }
                    }
                    text.middle x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 6.0) { (self.x_label) }
                    text.middle transform={ "translate(12 " ((TOP + HEIGHT - BOTTOM) / 2.0) ") rotate(-90)" } { (self.y_label) }
                    @for series in &self.series {
                        path class=(line_class(series)) d=(path(series, &x, &y)) {}
                    }
                }
                p.legend {
                    @for series in &self.series {
                        span { svg.key viewBox="0 0 24 8" aria-hidden="true" { path class=(line_class(series)) d="M0 4H24" {} } " " (series.name) }
                        " "
                    }
                    @if !self.bands.is_empty() { span { svg.key viewBox="0 0 24 8" aria-hidden="true" { rect.band width="24" height="8" {} } " fault" } }
                }
            }
        }
    }
}

fn line_class(series: &Series) -> String {
    format!("line s{}{}", series.colour % 6, if series.dashed { " dashed" } else { "" })
}

/// The line through the points. A value that is missing (NaN) interrupts it.
fn path(series: &Series, x: &Axis, y: &Axis) -> String {
    let mut d = String::new();
    let mut pen_down = false;
    for (px_x, px_y) in thinned(&series.points) {
        if !(px_x.is_finite() && px_y.is_finite()) {
            pen_down = false;
            continue;
        }
        let (at_x, at_y) = (px(x.place(px_x)), px(y.place(px_y)));
        // Writing to a string does not fail.
        let _ = write!(d, "{}{at_x} {at_y}", if pen_down { 'L' } else { 'M' });
        pen_down = true;
    }
    d
}

/// At most [`POINTS_MAX`] points: of each run of neighbours the highest, because what a plot of
/// latencies must not lose is its spikes.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let run = points.len().div_ceil(POINTS_MAX).max(1);
    let highest = |run: &[(f64, f64)]| run.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(run).filter_map(highest).collect()
}

/// A tenth of a pixel is enough.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        Plot {
            title: "a < b & \"c\"".into(),
            x_label: "time, s".into(),
            y_label: "latency, ms".into(),
            x_scale: Scale::Linear,
            y_scale: Scale::Log,
            x_ticks: None,
            bands: vec![Band { from: 1.0, to: 2.0, label: "partition <n1>".into() }],
            series: vec![Series { name: "p99".into(), colour: 0, dashed: true, points }],
        }
    }

    #[test]
    fn text_is_escaped() {
        let page = plot(vec![(0.0, 1.0), (3.0, 2.0)]).figure().into_string();
        assert!(page.contains("a &lt; b &amp; &quot;c&quot;"), "{page}");
        assert!(page.contains("partition &lt;n1&gt;"));
        assert!(!page.contains("<n1>"));
    }

    #[test]
    fn a_gap_interrupts_the_line_and_nothing_is_not_a_number() {
        let page = plot(vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 0.0)]).figure().into_string();
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        let d = page.split(" d=\"").nth(1).unwrap_or_default();
        assert_eq!(d.split('"').next().unwrap_or_default().matches('M').count(), 2);
        assert!(!plot(Vec::new()).figure().into_string().contains("NaN"));
    }

    #[test]
    fn thinning_keeps_spikes() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        points[7_777].1 = 900.0;
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS_MAX);
        assert!(thin.contains(&(7_777.0, 900.0)));
    }
}
