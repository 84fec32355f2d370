//! Whether draws follow their law: Pearson's chi-square test against the exact probabilities.
//!
//! For tests and benches of what this crate draws; a run does not need it.

/// Cells that expect fewer than this are put together, as the test's approximation wants.
const EXPECTED_MIN: f64 = 10.0;

/// The outcome of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Sum of squared deviations, each over what was expected.
    pub chi_square: f64,
    /// Cells that could deviate, less one.
    pub freedom: f64,
    /// How often draws that do follow the law deviate at least as much.
    pub p: f64,
}

/// Tests how often each value was drawn against the probabilities, which add up to 1.
///
/// # Panics
/// If the two differ in length, or fewer than two cells remain.
#[must_use]
pub fn chi_square(counts: &[u64], law: &[f64]) -> Fit {
    assert_eq!(counts.len(), law.len(), "every value has a probability");
    let draws = counts.iter().sum::<u64>() as f64;
    let mut cells: Vec<(f64, f64)> = Vec::new();
    let (mut counted, mut expected) = (0.0, 0.0);
    for (count, probability) in counts.iter().zip(law) {
        counted += *count as f64;
        expected += probability * draws;
        if expected >= EXPECTED_MIN {
            cells.push((counted, expected));
            (counted, expected) = (0.0, 0.0);
        }
    }
    // What is left over at the end goes to the last cell.
    if let Some(last) = cells.last_mut() {
        last.0 += counted;
        last.1 += expected;
    }
    assert!(cells.len() >= 2, "one cell cannot deviate");
    let chi_square = cells.iter().map(|(counted, expected)| (counted - expected).powi(2) / expected).sum();
    let freedom = cells.len() as f64 - 1.0;
    Fit { chi_square, freedom, p: upper_gamma(freedom / 2.0, chi_square / 2.0) }
}

/// The regularised upper incomplete gamma function Q(a, x), by its series below a + 1 and Lentz's
/// continued fraction above (Press et al., "Numerical Recipes", section 6.2).
fn upper_gamma(a: f64, x: f64) -> f64 {
    const STEPS_MAX: u32 = 1_000_000;
    const TINY: f64 = 1e-300;
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..STEPS_MAX {
            term *= x / (a + f64::from(n));
            sum += term;
            if term < sum * 1e-15 {
                break;
            }
        }
        return 1.0 - front * sum;
    }
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for n in 1..STEPS_MAX {
        let n = f64::from(n);
        let an = -n * (n - a);
        b += 2.0;
        d = an * d + b;
        d = 1.0 / if d.abs() < TINY { TINY } else { d };
        c = b + an / c;
        c = if c.abs() < TINY { TINY } else { c };
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// Stirling's series, after lifting the argument to where it is exact to 15 digits.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut below) = (x, 0.0);
    while x < 10.0 {
        below += x.ln();
        x += 1.0;
    }
    let square = x * x;
    let series =
        (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * square)) / square) / square) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_published_tables() {
        // Critical values of the chi-square distribution, and its closed form for two degrees.
        for (freedom, chi_square, p) in [
            (1.0, 3.841_459, 0.05),
            (1.0, 6.634_897, 0.01),
            (10.0, 18.307_038, 0.05),
            (10.0, 3.940_299, 0.95),
            (100.0, 135.806_723, 0.01),
            (1000.0, 1_106.969, 0.01),
            (2.0, 8.0, (-4.0_f64).exp()),
        ] {
            let found = upper_gamma(freedom / 2.0, chi_square / 2.0);
            assert!((found / p - 1.0).abs() < 1e-3, "{freedom} {chi_square}: {found}, not {p}");
        }
        assert!((upper_gamma(5000.0, 5000.0) - 0.498).abs() < 1e-3, "many degrees of freedom");
    }

    #[test]
    fn a_wrong_law_is_found_out_and_a_right_one_is_not() {
        let right = chi_square(&[260, 240, 255, 245], &[0.25; 4]);
        assert!(right.p > 0.5 && (right.freedom, right.chi_square) == (3.0, 1.0), "{right:?}");
        assert!(chi_square(&[320, 240, 230, 210], &[0.25; 4]).p < 1e-4);
        // Cells too rare to say anything are put together.
        let rare = chi_square(&[990, 5, 5], &[0.99, 0.005, 0.005]);
        assert!((rare.freedom - 1.0).abs() < 1e-9, "{rare:?}");
    }
}
