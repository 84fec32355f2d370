//! How many copies each node should hold: its fair share by capacity, as whole partitions.
//!
//! The fair share is water-filled: no node holds more than one copy of a partition, so what a
//! large node cannot take is shared among the others by their capacities.
//!
//! Shares are fractions of a partition and a node holds whole ones, so every change of the
//! members leaves a choice of who rounds up. That choice is where needless moves come from:
//! [`settle`] takes what each node already holds as the first answer.

/// Each node's fair share of `partitions * replicas` copies, in copies, at most `partitions` each.
///
/// # Panics
/// If there are fewer nodes than replicas: the copies have nowhere to go.
#[must_use]
pub fn fair_shares(capacities: &[u32], partitions: u32, replicas: usize) -> Vec<f64> {
    assert!(capacities.len() >= replicas, "{} nodes cannot hold {replicas} copies", capacities.len());
    let full = f64::from(partitions);
    let mut shares = vec![0.0; capacities.len()];
    let mut open: Vec<usize> = (0..capacities.len()).collect();
    let mut copies = full * replicas as f64;
    loop {
        let capacity: f64 = open.iter().map(|i| f64::from(capacities[*i])).sum();
        let share =
            |i: usize| if capacity > 0.0 { copies * f64::from(capacities[i]) / capacity } else { 0.0 };
        let (over, rest): (Vec<usize>, Vec<usize>) = open.iter().partition(|i| share(**i) >= full);
        if over.is_empty() {
            for i in open {
                shares[i] = share(i);
            }
            return shares;
        }
        for i in over {
            shares[i] = full;
            copies -= full;
        }
        open = rest;
    }
}

/// The fair shares rounded to whole copies that add up, by largest remainder; ties go to the
/// node that comes first.
///
/// # Panics
/// As [`fair_shares`].
#[must_use]
pub fn quotas(capacities: &[u32], partitions: u32, replicas: usize) -> Vec<u32> {
    let shares = fair_shares(capacities, partitions, replicas);
    let claims: Vec<Claim> = shares.iter().map(|share| Claim::new(*share, partitions)).collect();
    settle(&claims, u64::from(partitions) * replicas as u64)
}

/// Shares are sums of a few f64 products: 511.9999999 counts as 512.
pub(super) const NUDGE: f64 = 1e-6;

/// One node's, or one zone's, share on its way to a whole number of copies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// What it should hold, in copies.
    pub share: f64,
    /// What it should have held before the change; 0 for a newcomer.
    pub share_before: f64,
    /// What it holds.
    pub held: u32,
    /// The least it may be given.
    pub low: u32,
    /// The most it may be given.
    pub high: u32,
}

impl Claim {
    /// A newcomer's.
    pub fn new(share: f64, high: u32) -> Self {
        Self { share, share_before: 0.0, held: 0, low: 0, high }
    }

    fn floor(&self) -> u32 {
        (self.share + NUDGE).floor() as u32
    }

    fn ceil(&self) -> u32 {
        ((self.share - NUDGE).ceil().max(0.0)) as u32
    }

    fn grows(&self) -> bool {
        self.share >= self.share_before - NUDGE
    }
}

/// Rounds shares to whole copies that add up to `total`.
///
/// Each stays as near as it may to what is held, within one copy of its share. Where that does
/// not add up, whoever's share grew takes the difference if the sum is short, and whoever's
/// shrank if it is long, even by a copy more than rounding explains: so a join gives nothing to
/// a node that was there before, and a leave takes nothing from a node that stays.
///
/// The bounds must admit `total`; what they do not admit is left out.
pub(super) fn settle(claims: &[Claim], total: u64) -> Vec<u32> {
    let near = |c: &Claim| c.held.clamp(c.floor(), c.ceil().max(c.floor())).clamp(c.low, c.high);
    let mut settled: Vec<u32> = claims.iter().map(near).collect();
    let dealt: u64 = settled.iter().map(|q| u64::from(*q)).sum();
    if dealt < total {
        let mut rest = total - dealt;
        let mut raise = |may: &dyn Fn(&Claim, u32) -> bool| {
            step(claims, &mut settled, &mut rest, 1, &|c, q| q < c.high && may(c, q));
        };
        raise(&|c, q| c.grows() && q < c.ceil());
        raise(&|c, q| !c.grows() && q < c.held);
        raise(&|c, q| q < c.ceil());
        raise(&|_, _| true);
    } else {
        let mut rest = dealt - total;
        let mut lower = |may: &dyn Fn(&Claim, u32) -> bool| {
            step(claims, &mut settled, &mut rest, -1, &|c, q| q > c.low && may(c, q));
        };
        lower(&|c, q| !c.grows() && q > c.floor());
        lower(&|c, q| c.grows() && q > c.held);
        lower(&|c, q| q > c.floor());
        lower(&|_, _| true);
    }
    settled
}

/// Gives (or takes) one copy at a time to those who may, furthest from their share first,
/// round by round until the rest is dealt or nobody may.
fn step(claims: &[Claim], settled: &mut [u32], rest: &mut u64, by: i32, may: &dyn Fn(&Claim, u32) -> bool) {
    while *rest > 0 {
        let mut able: Vec<usize> = (0..claims.len()).filter(|i| may(&claims[*i], settled[*i])).collect();
        if able.is_empty() {
            return;
        }
        let short = |i: usize| (claims[i].share - f64::from(settled[i])) * f64::from(by);
        able.sort_by(|a, b| short(*b).total_cmp(&short(*a)).then(a.cmp(b)));
        for i in able.into_iter().take(usize::try_from(*rest).unwrap_or(usize::MAX)) {
            settled[i] = settled[i].saturating_add_signed(by);
            *rest -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unequal_nodes_get_unequal_quotas() {
        assert_eq!(quotas(&[1, 1, 2, 2, 4], 1024, 3), [341, 341, 683, 683, 1024]);
        assert_eq!(quotas(&[1, 1, 1], 256, 3), [256, 256, 256]);
        assert_eq!(quotas(&[1, 1, 1, 1, 1], 256, 3), [154, 154, 154, 153, 153]);
    }

    #[test]
    fn whoever_rounded_up_before_still_does() {
        let claim = |held| Claim { share: 1.5, share_before: 1.5, held, low: 0, high: 9 };
        assert_eq!(settle(&[claim(1), claim(2), claim(1), claim(2)], 6), [1, 2, 1, 2]);
        assert_eq!(settle(&[claim(2), claim(1), claim(2), claim(1)], 6), [2, 1, 2, 1]);
    }

    #[test]
    fn a_newcomer_takes_the_difference_before_anybody_else_does() {
        // Who held 3 need not lose a whole copy for a newcomer that is due 2.25.
        let old = |held| Claim { share: 2.25, share_before: 3.0, held, low: 0, high: 9 };
        assert_eq!(settle(&[old(3), old(3), old(3), Claim::new(2.25, 9)], 9), [2, 2, 3, 2]);
        assert_eq!(settle(&[old(2), old(2), old(2), Claim::new(2.25, 9)], 9), [2, 2, 2, 3]);
        // Beyond what rounding explains, an old node keeps rather than gains.
        let keeps = Claim { share: 9.9, share_before: 10.1, held: 11, low: 0, high: 20 };
        let small = Claim { share: 3.8, share_before: 3.9, held: 3, low: 0, high: 20 };
        assert_eq!(settle(&[keeps, small, Claim::new(0.3, 20)], 15), [11, 3, 1]);
    }

    #[test]
    fn a_hair_is_no_copy_and_no_capacity_is_no_share() {
        let (below, above) = (Claim::new(511.999_999_9, 999), Claim::new(512.000_000_1, 999));
        assert_eq!((below.floor(), below.ceil(), above.floor(), above.ceil()), (512, 512, 512, 512));
        assert!(Claim { share_before: 512.0, ..below }.grows(), "not less than before");
        assert!(!Claim { share_before: 512.1, ..below }.grows());
        assert_eq!(fair_shares(&[1, 1, 0], 4, 2), [4.0, 4.0, 0.0], "though copies could not be given to it");
    }

    #[test]
    fn who_shrinks_gives_no_more_than_rounding_explains_as_long_as_others_can() {
        let claim = |share, share_before, held| Claim { share, share_before, held, low: 0, high: 9 };
        assert_eq!(settle(&[claim(2.0, 3.0, 2), claim(2.5, 2.0, 3)], 4), [2, 2]);
        // And first whoever is furthest above its share.
        assert_eq!(settle(&[claim(1.2, 2.0, 2), claim(1.8, 2.0, 2)], 3), [1, 2]);
    }

    #[test]
    fn the_largest_remainder_rounds_up() {
        assert_eq!(settle(&[Claim::new(10.1, 99), Claim::new(2.9, 99)], 13), [10, 3]);
    }

    #[test]
    fn who_grows_loses_nothing_that_it_held() {
        let grows = |share, held| Claim { share, share_before: share - 0.5, held, low: 0, high: 9 };
        assert_eq!(settle(&[grows(2.0, 2), grows(5.0, 3), grows(1.5, 3), grows(1.5, 3)], 10), [2, 4, 2, 2]);
    }

    #[test]
    fn bounds_hold_before_shares() {
        let bound = |share, low, high| Claim { low, high, ..Claim::new(share, high) };
        assert_eq!(settle(&[bound(5.0, 0, 3), bound(1.0, 0, 9)], 6), [3, 3]);
        assert_eq!(settle(&[bound(1.0, 4, 9), bound(5.0, 0, 9)], 6), [4, 2]);
    }

    proptest! {
        #[test]
        fn quotas_add_up_and_stay_within_one_copy_of_the_fair_share(
            capacities in prop::collection::vec(1_u32..50, 3..12), partitions in 1_u32..600, replicas in 1_usize..4,
        ) {
            let quotas = quotas(&capacities, partitions, replicas);
            let shares = fair_shares(&capacities, partitions, replicas);
            prop_assert_eq!(quotas.iter().map(|q| u64::from(*q)).sum::<u64>(), u64::from(partitions) * replicas as u64);
            for (quota, share) in quotas.iter().zip(shares) {
                prop_assert!(*quota <= partitions);
                prop_assert!((f64::from(*quota) - share).abs() < 1.0 + 1e-6);
            }
        }

        #[test]
        fn a_join_gives_nothing_to_those_who_were_there(
            capacities in prop::collection::vec(1_u32..9, 3..12), joins in 1_u32..9, partitions in 1_u32..300,
        ) {
            let before = quotas(&capacities, partitions, 3);
            let shares_before = fair_shares(&capacities, partitions, 3);
            let after = [&capacities[..], &[joins]].concat();
            let shares = fair_shares(&after, partitions, 3);
            let mut claims: Vec<Claim> = (0..capacities.len())
                .map(|i| Claim { share: shares[i], share_before: shares_before[i], held: before[i], low: 0, high: partitions })
                .collect();
            claims.push(Claim::new(shares[capacities.len()], partitions));
            let settled = settle(&claims, u64::from(partitions) * 3);
            prop_assert_eq!(settled.iter().map(|q| u64::from(*q)).sum::<u64>(), u64::from(partitions) * 3);
            prop_assert!(settled.iter().zip(&before).all(|(after, before)| after <= before));
        }
    }
}
