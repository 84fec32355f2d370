//! Exact Zipf-distributed ranks for any exponent and any number of keys, without tables.
//!
//! Rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from
//! monotone discrete distributions", 1996): invert the integral of a hat function, then accept
//! or redraw. Fewer than 1.1 draws a rank on average.

use crate::draws::Draws;

/// Ranks 1 to n with weight 1/rank^theta.
#[derive(Clone, Debug)]
pub struct Zipf {
    n: u64,
    theta: f64,
    integral_first: f64,
    integral_last: f64,
    accept_below: f64,
}

impl Zipf {
    /// Ranks 1 to `n` with exponent `theta`.
    ///
    /// # Panics
    /// If `n` is 0 or `theta` is not a positive number.
    #[must_use]
    pub fn new(n: u64, theta: f64) -> Self {
        assert!(n > 0 && theta.is_finite() && theta > 0.0, "Zipf needs ranks and a positive exponent");
        let mut zipf = Self { n, theta, integral_first: 0.0, integral_last: 0.0, accept_below: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(n as f64 + 0.5);
        zipf.accept_below = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// A rank from 1 to n.
    pub fn rank(&self, draws: &mut Draws) -> u64 {
        loop {
            let u = self.integral_last + draws.unit() * (self.integral_first - self.integral_last);
            let x = self.inverse(u);
            // Rounding can step over either end.
            let rank = ((x + 0.5) as u64).clamp(1, self.n);
            let k = rank as f64;
            if k - x <= self.accept_below || u >= self.integral(k + 0.5) - self.weight(k) {
                return rank;
            }
        }
    }

    /// The unnormalised weight of a rank.
    fn weight(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// An antiderivative of the weight, written so that theta = 1 needs no case of its own.
    fn integral(&self, x: f64) -> f64 {
        let ln = x.ln();
        exp_m1_over((1.0 - self.theta) * ln) * ln
    }

    /// The inverse of [`Self::integral`].
    fn inverse(&self, x: f64) -> f64 {
        // Rounding could leave the domain of the logarithm.
        let t = (x * (1.0 - self.theta)).max(-1.0);
        (ln_1p_over(t) * x).exp()
    }
}

/// ln(1+x)/x, and its limit near 0.
fn ln_1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x * (1.0 / 3.0 - 0.25 * x)) }
}

/// (e^x-1)/x, and its limit near 0.
fn exp_m1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x / 3.0 * (1.0 + 0.25 * x)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::Purpose;

    const DRAWS: u64 = 1_000_000;

    /// Chi-square of a million draws against the exact law, per degree of freedom, in standard
    /// deviations from its mean. Ranks too rare to expect ten of share a cell.
    fn chi_square_deviations(n: u64, theta: f64) -> f64 {
        let zipf = Zipf::new(n, theta);
        let mut counts = vec![0_u64; n as usize];
        for index in 0..DRAWS {
            counts[zipf.rank(&mut Draws::new(11, Purpose::Operations, index)) as usize - 1] += 1;
        }
        let total: f64 = (1..=n).map(|k| (k as f64).powf(-theta)).sum();
        let (mut chi_square, mut cells, mut expected, mut counted) = (0.0, 0.0, 0.0, 0.0);
        for (i, &count) in counts.iter().enumerate() {
            expected += DRAWS as f64 * ((i + 1) as f64).powf(-theta) / total;
            counted += count as f64;
            if expected >= 10.0 {
                chi_square += (counted - expected).powi(2) / expected;
                (cells, expected, counted) = (cells + 1.0, 0.0, 0.0);
            }
        }
        let freedom: f64 = cells - 1.0;
        (chi_square - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn a_million_draws_follow_the_exact_law_for_every_exponent() {
        for (n, theta) in [(10, 0.5), (1000, 0.99), (1000, 1.0), (10_000, 0.99), (1000, 1.5), (50, 3.0)] {
            let deviations = chi_square_deviations(n, theta);
            // One in a thousand is above 3.3 or so; the seed is fixed, so this never flakes.
            assert!(deviations < 3.3, "n={n} theta={theta}: chi-square is {deviations} deviations too high");
        }
    }

    #[test]
    fn one_key_is_always_drawn_and_huge_key_spaces_cost_nothing() {
        let one = Zipf::new(1, 0.99);
        let huge = Zipf::new(1 << 40, 0.99);
        for index in 0..1000 {
            assert_eq!(one.rank(&mut Draws::new(1, Purpose::Operations, index)), 1);
            assert!((1..=1 << 40).contains(&huge.rank(&mut Draws::new(1, Purpose::Operations, index))));
        }
    }
}
