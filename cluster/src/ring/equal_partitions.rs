//! Dynamo's strategy 2 (section 6.2): T random tokens a node, Q equal partitions.
//!
//! Tokens only place: a partition belongs to the first N distinct nodes met clockwise from its
//! end. Partitions are equal and keep their numbers, so what moves can be moved as a whole, but
//! the balance is that of random tokens, and worse with unequal capacities: drawing distinct
//! nodes favours the small ones, however many tokens there are. The paper's way-station between
//! strategies 1 and 3; here to be compared. Zones are not looked at.

use super::tokens::{clockwise, thrown};
use super::{Placement, PlacementNode, Rules};

pub(super) fn place(rules: Rules, nodes: Vec<PlacementNode>) -> Placement {
    let thrown = thrown(rules, &nodes);
    let mut owners = Vec::with_capacity(rules.partitions as usize * rules.replicas as usize);
    for partition in 0..rules.partitions {
        // The last position of the partition, as `partition_of` scales it.
        let next = ((u128::from(partition) + 1) << 64).div_ceil(u128::from(rules.partitions));
        let end = (next - 1) as u64;
        let first = thrown.partition_point(|(at, _)| *at < end);
        clockwise(&thrown, first, rules.replicas as usize, &mut owners);
    }
    Placement { rules, nodes, owners, cuts: Vec::new(), spread: 1 }
}
