//! From values to places on paper, and where to write numbers.

/// How an axis maps values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps are equal differences.
    Linear,
    /// Equal steps are equal factors; values that are not positive are drawn at the lowest end.
    Log,
}

/// A scale over a range of values, laid on a range of pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis over all of `values`, a little extended to round numbers, from pixel `from` to `to`.
    pub(super) fn over(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let usable = |v: &f64| v.is_finite() && (scale == Scale::Linear || *v > 0.0);
        let (mut low, mut high) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            (low, high) = (0.1, 1.0);
        }
        match scale {
            Scale::Linear => {
                low = low.min(0.0);
                let step = nice_step(high - low);
                high = (high / step).ceil() * step;
                if high <= low {
                    high = low + 1.0;
                }
            }
            Scale::Log => {
                low = round_down(low);
                high = round_up(high);
                if high <= low {
                    high = low * 10.0;
                }
            }
        }
        Self { scale, low, high, from, to }
    }

    /// An axis over exactly this range.
    pub(super) fn exact(scale: Scale, low: f64, high: f64, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { scale, low, high, from, to }
    }

    /// Where `value` lies, kept within the axis.
    pub(super) fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log if value <= 0.0 => 0.0,
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Where numbers are written.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = nice_step(self.high - self.low);
                let first = (self.low / step).ceil();
                let count = ((self.high / step).floor() - first).clamp(0.0, 50.0) as u32;
                (0..=count).map(|i| (first + f64::from(i)) * step).collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10();
                // 1, 2, 5 while there is room, then powers of ten alone.
                let within: &[f64] = if decades <= 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let first = self.low.log10().floor() as i32;
                let last = self.high.log10().ceil() as i32;
                (first..=last)
                    .flat_map(|power| within.iter().map(move |m| m * 10_f64.powi(power)))
                    .filter(|v| (self.low * 0.999..=self.high * 1.001).contains(v))
                    .collect()
            }
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten that divides `span` into about five.
fn nice_step(span: f64) -> f64 {
    let rough = if span > 0.0 { span / 5.0 } else { 0.2 };
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough * 0.999).unwrap_or(10.0);
    step * power
}

fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|m| m * power).find(|v| *v <= value * 1.001).unwrap_or(power)
}

fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|v| *v >= value * 0.999).unwrap_or(power * 10.0)
}

/// A number as short as it can be without lying.
pub(super) fn short(value: f64) -> String {
    let rounded = |value: f64| {
        let text = if value.abs() >= 10.0 { format!("{value:.0}") } else { format!("{value:.3}") };
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match value.abs() {
        v if v >= 1e6 => format!("{}M", rounded(value / 1e6)),
        v if v >= 1e4 => format!("{}k", rounded(value / 1e3)),
        _ => rounded(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_start_at_zero_and_end_round() {
        let axis = Axis::over(Scale::Linear, [3.0, 1987.0].into_iter(), 0.0, 100.0);
        assert_eq!(axis.ticks(), [0.0, 500.0, 1000.0, 1500.0, 2000.0]);
        assert_eq!((axis.place(0.0), axis.place(1000.0), axis.place(9e9)), (0.0, 50.0, 100.0));
    }

    #[test]
    fn log_axes_span_round_numbers_and_survive_zero() {
        let axis = Axis::over(Scale::Log, [0.0, 0.3, 18.0].into_iter(), 100.0, 0.0);
        let ticks: Vec<String> = axis.ticks().into_iter().map(short).collect();
        assert_eq!(ticks, ["0.2", "0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(axis.place(0.0), 100.0);
        assert_eq!(axis.place(20.0), 0.0);
    }

    #[test]
    fn nothing_to_show_is_still_an_axis() {
        for scale in [Scale::Linear, Scale::Log] {
            let axis = Axis::over(scale, std::iter::empty(), 0.0, 10.0);
            assert!(axis.place(0.5).is_finite() && !axis.ticks().is_empty());
            let flat = Axis::over(scale, [0.0, f64::NAN].into_iter(), 0.0, 10.0);
            assert!(flat.place(0.0).is_finite());
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.05, "0.05"), (1.0, "1"), (2.5, "2.5"), (2000.0, "2000"), (12_000.0, "12k"), (1.5e6, "1.5M")]
        {
            assert_eq!(short(value), text);
        }
    }
}
