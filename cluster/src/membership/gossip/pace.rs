//! How often gossip speaks and how long it waits, by the number of members.
//!
//! The figures follow memberlist's LAN defaults, as the SWIM library scales them, with two changes that
//! the simulation asked for:
//!
//! - A probe every 750 ms instead of every second, 350 ms for its answer, then three members are asked
//!   to probe too; a suspect has 3 s x log10(members), at least 4 s, to deny it. Whose turn it is, is
//!   random, and sometimes nobody's comes for long.
//! - News is repeated 8 x log10(members + 1) times instead of half as often, to three members every
//!   200 ms while there is any. With half, news of one crash in twenty passed some node by; it then finds
//!   out by its own probe, and that may take it a round of all members.
//!
//! A calm cluster sends about three messages a second and node, whatever its size. A message that is
//! lost costs a few more, which shows where there are only two nodes.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use foca::Config;

/// How often a node probes another.
const PROBE_PERIOD: Duration = Duration::from_millis(750);
/// After how long without an answer others are asked to probe it too. What is left of the period is
/// for their answers.
const PROBE_ANSWER: Duration = Duration::from_millis(350);
/// The least time that a suspect has.
const SUSPECT_MIN: Duration = Duration::from_secs(4);
/// How often nodes that are not known to be alive are spoken to.
pub(super) const KNOCK_PERIOD: Duration = Duration::from_millis(1000);
/// How many of them each time.
pub(super) const KNOCKS: usize = 2;
/// How many members a node speaks to when it starts or begins anew. Each tells it of others.
pub(super) const FIRST_KNOCKS: usize = 8;
/// Rounds in which a new view is spoken of at once, to three members each.
pub(super) const RUMOURS: u32 = 4;
/// Between these rounds.
pub(super) const RUMOUR_PERIOD: Duration = Duration::from_millis(200);
/// A node that has heard nobody for so long distrusts itself rather than all others. Its own
/// probe is answered in every period in calm.
pub(super) const LOST_TOUCH_AFTER: Duration = Duration::from_secs(3);
/// A timer that is so late means that this node stood still, not that the others did.
pub(super) const STOOD_STILL_AFTER: Duration = Duration::from_secs(2);

/// The library's settings for so many members, this node included.
#[must_use]
pub(super) fn config(members: usize) -> Config {
    let members = u32::try_from(members).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let periods = 4.0 * f64::from(members.get()).log10();
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_ANSWER,
        max_transmissions: transmissions(members),
        suspect_to_down_after: PROBE_PERIOD.mul_f64(periods).max(SUSPECT_MIN),
        // The view says who else there is: whoever is not heard of is spoken to (`KNOCK_PERIOD`).
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        // One entry a member at most, and those that left the view are dropped.
        remove_down_after: None,
        ..Config::new_lan(members)
    }
}

/// How often each node repeats a piece of news.
fn transmissions(members: NonZeroU32) -> NonZeroU8 {
    let times = 8.0 * (f64::from(members.get()) + 1.0).log10();
    // Between 2.4 for one member and 77 for as many as can be counted.
    NonZeroU8::new(times as u8).unwrap_or(NonZeroU8::MIN)
}

/// After how long a member that has never been heard of is taken to be down: as long as one that
/// falls silent takes to be, from its first missed probe.
#[must_use]
pub(super) fn unheard_grace(config: &Config) -> Duration {
    config.suspect_to_down_after + 2 * config.probe_period
}
