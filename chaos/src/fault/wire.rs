//! How good one direction of a link is, under all the faults that are active at once.
//!
//! Parts of what is lost or damaged add up; of several bottlenecks the narrowest counts.

use std::collections::BTreeMap;

/// Of a million segments more than so many are never lost: a connection gets on at last.
const LOSS_MAX_PPM: u32 = 900_000;

/// What happens to what is sent over one directed link, beside cuts, holds and delays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Of a million segments so many are lost, and sent again.
    pub loss_ppm: u32,
    /// Of a million segments so many arrive with other bytes than were sent, unnoticed by TCP.
    pub corrupt_ppm: u32,
    /// Of a million segments so many arrive like that on a link where TLS notices and ends the connection.
    pub torn_ppm: u32,
    /// So many bytes get through in a second.
    pub bytes_per_s: Option<u64>,
}

impl Wire {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        *self == Self::default()
    }
}

/// Sums of active effects on one directed link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WireCounts {
    pub(super) loss_ppm: u32,
    pub(super) corrupt_ppm: u32,
    pub(super) torn_ppm: u32,
    /// Bottlenecks in bytes a second, and how many faults make each.
    pub(super) bottlenecks: BTreeMap<u64, u32>,
}

impl WireCounts {
    pub(super) fn state(&self) -> Wire {
        Wire {
            loss_ppm: self.loss_ppm.min(LOSS_MAX_PPM),
            corrupt_ppm: self.corrupt_ppm.min(1_000_000),
            torn_ppm: self.torn_ppm.min(1_000_000),
            bytes_per_s: self.bottlenecks.keys().next().copied(),
        }
    }

    pub(super) fn narrow(&mut self, bytes_per_s: u64) {
        *self.bottlenecks.entry(bytes_per_s).or_default() += 1;
    }

    /// Takes one such bottleneck away, if there is one.
    pub(super) fn widen(&mut self, bytes_per_s: u64) -> Option<()> {
        let count = self.bottlenecks.get_mut(&bytes_per_s)?;
        *count -= 1;
        if *count == 0 {
            self.bottlenecks.remove(&bytes_per_s);
        }
        Some(())
    }
}
