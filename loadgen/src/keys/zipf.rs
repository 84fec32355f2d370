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

    /// The same law over ranks 1 to `n`.
    ///
    /// # Panics
    /// If `n` is 0.
    #[must_use]
    pub fn over(&self, n: u64) -> Self {
        assert!(n > 0, "Zipf needs ranks");
        if n == self.n {
            return self.clone();
        }
        Self { n, integral_last: self.integral(n as f64 + 0.5), ..*self }
    }

    /// The exponent.
    #[must_use]
    pub fn theta(&self) -> f64 {
        self.theta
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
    use crate::fit;

    #[test]
    fn draws_follow_the_exact_law_for_every_exponent_and_number_of_ranks() {
        const DRAWS: u64 = 300_000;
        for (n, theta) in
            [(10, 0.5), (2, 0.01), (1000, 0.99), (1000, 1.0), (10_000, 0.99), (1000, 1.5), (50, 3.0)]
        {
            let zipf = Zipf::new(n, theta);
            let mut counts = vec![0; n as usize];
            for index in 0..DRAWS {
                counts[zipf.rank(&mut Draws::new(11, Purpose::Operations, index)) as usize - 1] += 1;
            }
            let sum: f64 = (1..=n).map(|k| (k as f64).powf(-theta)).sum();
            let law: Vec<f64> = (1..=n).map(|k| (k as f64).powf(-theta) / sum).collect();
            let fit = fit::chi_square(&counts, &law);
            // The seed is fixed, so this never flakes.
            assert!(fit.p > 0.01, "n={n} theta={theta}: {fit:?}");
        }
    }

    #[test]
    fn ranks_may_grow_as_if_they_had_been_as_many_from_the_beginning() {
        let (grown, fresh) = (Zipf::new(10, 0.99).over(5000), Zipf::new(5000, 0.99));
        for index in 0..10_000 {
            let rank = |zipf: &Zipf| zipf.rank(&mut Draws::new(1, Purpose::Operations, index));
            assert_eq!(rank(&grown), rank(&fresh));
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
