//! `timeseries.csv`: a row a second, columns by name.

/// The columns of a table of numbers. A cell that is empty is NaN.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeseries {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Timeseries {
    /// Reads comma-separated numbers under a line of names. Where there is a column `phase`, only
    /// the rows of the phase `measure` are kept: a warm-up is not what a run is about.
    ///
    /// # Errors
    /// Which line is wrong, and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines =
            text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
        let Some((_, head)) = lines.next() else { return Err("line 1: there is no line of names".into()) };
        let names: Vec<String> = head.split(',').map(|name| name.trim().to_owned()).collect();
        let phase = names.iter().position(|name| name == "phase");
        let mut rows = Vec::new();
        for (number, line) in lines {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            if cells.len() != names.len() {
                return Err(format!(
                    "line {}: {} cells under {} names",
                    number + 1,
                    cells.len(),
                    names.len()
                ));
            }
            if phase.is_some_and(|index| cells[index] != "measure") {
                continue;
            }
            // Words (such as a phase) are not plotted.
            rows.push(cells.iter().map(|cell| cell.parse().unwrap_or(f64::NAN)).collect());
        }
        Ok(Self { names, rows })
    }

    /// A table of these columns and rows.
    pub(super) fn from_rows(names: &[&str], rows: Vec<Vec<f64>>) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), rows }
    }

    /// Whether there is nothing to plot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The names of the columns.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<Vec<f64>> {
        let index = self.names.iter().position(|n| n == name)?;
        Some(self.rows.iter().map(|row| row[index]).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_gaps_are_not_zero() {
        let table =
            Timeseries::parse("# about\nsecond,phase,p99\n9,warmup,7\n0,measure,1.5\n1,measure,\n").unwrap();
        assert_eq!(table.column("second").unwrap(), [0.0, 1.0]);
        let p99 = table.column("p99").unwrap();
        assert_eq!(p99[0], 1.5);
        assert!(p99[1].is_nan());
        assert_eq!(table.column("p42"), None);
    }

    #[test]
    fn a_short_line_is_named() {
        let error = Timeseries::parse("a,b\n1,2\n3\n").unwrap_err();
        assert_eq!(error, "line 3: 1 cells under 2 names");
        assert!(Timeseries::parse("").is_err());
    }
}
