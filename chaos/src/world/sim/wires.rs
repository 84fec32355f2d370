//! What faults do to what is sent over a link: loss, damage, narrow bandwidth.
//!
//! turmoil delivers every segment of a healthy link in order; what a bad link makes of that under TCP is
//! worked out here, where a host reads from its streams. Every read of what arrived is one segment. One that
//! is lost is sent again after a timeout of 200 ms (Linux's least) that doubles with every loss in a row (RFC
//! 6298, section 5.5), and all that follows in the stream waits for it; a lost SYN is sent again after one
//! second. Fast retransmission is left out, so that loss delays somewhat more here than on a long transfer over
//! a real network. On a narrow link segments wait in line, those of all connections in one.
//!
//! Damage that TCP's checksum misses: on links between nodes a byte really changes, and it is for their own
//! checksums to notice. What clients and nodes send each other is TLS in production, which notices for certain
//! and ends the connection; simulations speak in the clear, so there the connection ends at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_env::{Random, RandomStream};
use rand::RngExt as _;

use crate::fault::Wire;

/// Least time after which a segment without an acknowledgement is sent again.
const RETRANSMIT_MIN: Duration = Duration::from_millis(200);
/// The same for the first segment of a connection.
const SYN_RETRANSMIT_MIN: Duration = Duration::from_secs(1);
/// A segment is not lost more often than that in a row.
const LOSSES_MAX: u32 = 6;

/// From one host to another.
type Link = (IpAddr, IpAddr);

/// All links of one simulation. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Wires {
    /// How many links are bad. Looked at first: most of the time none is.
    bad: Arc<AtomicUsize>,
    links: Arc<Mutex<BTreeMap<Link, Bad>>>,
}

struct Bad {
    wire: Wire,
    random: RandomStream,
    /// When the last segment in line is through, in nanoseconds of the simulation.
    free_ns: u64,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// So much later than it would have it arrives.
    pub(super) delay: Duration,
    /// What else happens to it.
    pub(super) damage: Damage,
}

/// Damage to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// None.
    None,
    /// All bits of a byte are inverted: of this one, counted round and round.
    Byte(u64),
    /// It is noticed at once, and the connection ends.
    Noticed,
}

impl Wires {
    /// Says how good a link is from now on. `random` is where its fates are drawn from if they never were.
    pub(super) fn set(&self, link: Link, wire: Wire, random: impl FnOnce() -> RandomStream) {
        let mut links = self.lock();
        let bad =
            links.entry(link).or_insert_with(|| Bad { wire: Wire::default(), random: random(), free_ns: 0 });
        bad.wire = wire;
        let count = links.values().filter(|bad| !bad.wire.is_sound()).count();
        self.bad.store(count, Ordering::Relaxed);
    }

    /// Whether anything may happen to a segment on any link.
    pub(super) fn are_bad(&self) -> bool {
        self.bad.load(Ordering::Relaxed) > 0
    }

    /// The fate of a segment of `bytes` that arrives at `now_ns`.
    pub(super) fn fate(&self, link: Link, bytes: usize, now_ns: u64) -> Fate {
        let mut links = self.lock();
        let Some(bad) = links.get_mut(&link) else {
            return Fate { delay: Duration::ZERO, damage: Damage::None };
        };
        let mut delay = lost_for(&mut bad.random, bad.wire.loss_ppm, RETRANSMIT_MIN);
        if let Some(bytes_per_s) = bad.wire.bytes_per_s {
            let takes_ns = (bytes as u64).saturating_mul(1_000_000_000) / bytes_per_s.max(1);
            bad.free_ns = bad.free_ns.max(now_ns) + takes_ns;
            delay += Duration::from_nanos(bad.free_ns - now_ns);
        }
        let damage = if happens(&mut bad.random, bad.wire.torn_ppm) {
            Damage::Noticed
        } else if happens(&mut bad.random, bad.wire.corrupt_ppm) {
            Damage::Byte(bad.random.random_range(0..u64::MAX))
        } else {
            Damage::None
        };
        Fate { delay, damage }
    }

    /// How much longer it takes to connect: both the first segment and its answer may be lost.
    pub(super) fn connecting(&self, (from, to): Link) -> Duration {
        let mut links = self.lock();
        let lost = |link: Link| {
            let bad = links.get_mut(&link)?;
            Some(lost_for(&mut bad.random, bad.wire.loss_ppm, SYN_RETRANSMIT_MIN))
        };
        [(from, to), (to, from)].map(lost).into_iter().flatten().sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Link, Bad>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the fates on a link are drawn from, by the names of its ends.
pub(super) fn stream(random: Random, from: &str, to: &str) -> RandomStream {
    random.child("network").child("wires").stream(&format!("{from}>{to}"))
}

/// Draws nothing for what cannot happen.
fn happens(random: &mut RandomStream, ppm: u32) -> bool {
    ppm > 0 && random.random_range(0..1_000_000) < ppm
}

/// How long it takes until a segment is not lost.
fn lost_for(random: &mut RandomStream, ppm: u32, first: Duration) -> Duration {
    let mut losses = 0;
    while losses < LOSSES_MAX && happens(random, ppm) {
        losses += 1;
    }
    first * (2_u32.pow(losses) - 1)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ends() -> Link {
        (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into())
    }

    fn wires(wire: Wire) -> Wires {
        let wires = Wires::default();
        wires.set(ends(), wire, || stream(Random::from_seed(1), "a", "b"));
        wires
    }

    #[test]
    fn a_lost_segment_comes_after_timeouts_that_double() {
        let wires = wires(Wire { loss_ppm: 300_000, ..Wire::default() });
        let mut delays: Vec<u128> =
            (0..2_000).map(|_| wires.fate(ends(), 100, 0).delay.as_millis()).collect();
        let lost = delays.iter().filter(|ms| **ms > 0).count();
        assert!((500..700).contains(&lost), "{lost} of 2000");
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.starts_with(&[0, 200, 600, 1_400]) && delays.len() <= 7, "{delays:?}");
    }

    #[test]
    fn segments_wait_in_line_on_a_narrow_link_and_the_other_way_is_free() {
        let wires = wires(Wire { bytes_per_s: Some(1_000), ..Wire::default() });
        let delay_ms = |bytes, now_ms: u64| wires.fate(ends(), bytes, now_ms * 1_000_000).delay.as_millis();
        assert_eq!((delay_ms(100, 0), delay_ms(200, 0), delay_ms(100, 250)), (100, 300, 150));
        assert_eq!(delay_ms(10, 10_000), 10, "it is free again");
        let (a, b) = ends();
        assert_eq!(wires.fate((b, a), 100, 0).delay, Duration::ZERO);
    }

    #[test]
    fn a_sound_link_draws_nothing() {
        let wires = wires(Wire { corrupt_ppm: 1_000_000, ..Wire::default() });
        assert!(wires.are_bad() && matches!(wires.fate(ends(), 1, 0).damage, Damage::Byte(_)));
        wires.set(ends(), Wire::default(), || stream(Random::from_seed(1), "a", "b"));
        assert!(!wires.are_bad());
        assert_eq!(wires.fate(ends(), 1, 0), Fate { delay: Duration::ZERO, damage: Damage::None });
        assert_eq!(wires.connecting(ends()), Duration::ZERO);
    }
}
