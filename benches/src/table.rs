//! Figures beside their bars.

/// A line of the table.
struct Row {
    figure: String,
    ours: f64,
    other: f64,
    bar: f64,
    at_least: bool,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours / self.other
    }

    fn is_missed(&self) -> bool {
        if self.at_least { self.ratio() < self.bar } else { self.ratio() > self.bar }
    }
}

/// Ratios, and what they must be.
#[derive(Default)]
pub struct Bars(Vec<Row>);

impl Bars {
    /// `ours` must be at most `bar` times `other`.
    pub fn at_most(&mut self, figure: &str, ours: f64, other: f64, bar: f64) {
        self.0.push(Row { figure: figure.to_owned(), ours, other, bar, at_least: false });
    }

    /// `ours` must be at least `bar` times `other`.
    pub fn at_least(&mut self, figure: &str, ours: f64, other: f64, bar: f64) {
        self.0.push(Row { figure: figure.to_owned(), ours, other, bar, at_least: true });
    }

    /// Prints all; returns how many bars were missed.
    pub fn print(&self) -> usize {
        println!("\n{:<70} {:>10} {:>10} {:>8} {:>10}", "figure", "ours", "other", "ratio", "bar");
        for row in &self.0 {
            println!(
                "{:<70} {:>10.1} {:>10.1} {:>8.2} {:>2} {:>7}  {}",
                row.figure,
                row.ours,
                row.other,
                row.ratio(),
                if row.at_least { ">=" } else { "<=" },
                row.bar,
                if row.is_missed() { "MISSED" } else { "met" }
            );
        }
        self.0.iter().filter(|row| row.is_missed()).count()
    }
}
