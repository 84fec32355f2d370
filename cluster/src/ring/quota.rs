//! How many copies each node should hold: its fair share by capacity, as whole partitions.
//!
//! The fair share is water-filled: no node holds more than one copy of a partition, so what a
//! large node cannot take is shared among the others by their capacities.

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
    // Shares are sums of a few f64 products: nudged so that 511.9999999 counts as 512.
    let mut quotas: Vec<u32> = shares.iter().map(|s| (s + 1e-6).floor() as u32).collect();
    let dealt: u64 = quotas.iter().map(|q| u64::from(*q)).sum();
    let missing = u64::from(partitions) * replicas as u64 - dealt;
    let mut by_remainder: Vec<usize> = (0..shares.len()).filter(|i| quotas[*i] < partitions).collect();
    let remainder = |i: usize| shares[i] - f64::from(quotas[i]);
    by_remainder.sort_by(|a, b| remainder(*b).total_cmp(&remainder(*a)).then(a.cmp(b)));
    for i in by_remainder.iter().cycle().take(missing as usize) {
        quotas[*i] += 1;
    }
    quotas
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
    }
}
