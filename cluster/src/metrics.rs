//! Counters of one node, written out in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::admission::Background;
use crate::membership::gossip::{Board, Liveness};
use crate::replica::Replica;
use crate::rpc::Peers;
use crate::tls::Certificates;
use crate::transfer::GivenUp;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes over a count that somebody else keeps.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a node counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Gets that clients asked for.
    pub gets: Counter,
    /// Puts and deletes that clients asked for.
    pub puts: Counter,
    /// Requests of clients that were answered with an error.
    pub errors: Counter,
    /// Requests of clients that were refused because too much was in hand.
    pub requests_overloaded: Counter,
    /// Requests of clients that were dropped because nobody waited for them any more.
    pub requests_expired: Counter,
    /// Requests that were not HTTP, or whose head was too long.
    pub requests_malformed: Counter,
    /// Clients that found no room.
    pub connections_refused: Counter,
    /// Clients that took too long for a handshake, a head, a body, or to take their answer.
    pub clients_timed_out: Counter,
    /// TLS handshakes that failed.
    pub handshakes_failed: Counter,
    /// Requests to administer from somebody who may not.
    pub administration_refused: Counter,
    /// Requests of peers that were refused because too many ran.
    pub peer_requests_overloaded: Counter,
    /// Requests to replicas that were dropped because nobody waited for them any more.
    pub peer_requests_expired: Counter,
    /// Peers that took too long for their hello, or said nothing for long.
    pub peers_timed_out: Counter,
    /// Gets, puts and deletes of keys that this node does not own.
    pub coordinated_for_others: Counter,
    /// Requests to replicas, this node's own included.
    pub peer_requests: Counter,
    /// Copies handed to a fallback because their owner did not answer.
    pub hand_overs: Counter,
    /// Owners repaired after a get.
    pub read_repairs: Counter,
    /// Keys merged from old owners of partitions that this node gained.
    pub keys_taken_over: Counter,
    /// Keys handed to the owners of partitions that this node lost.
    pub keys_handed_over: Counter,
    /// Hints delivered to their owners.
    pub hints_delivered: Counter,
    /// Rounds of anti-entropy that were begun.
    pub anti_entropy_rounds: Counter,
    /// Keys in which a round found a difference.
    pub anti_entropy_differences: Counter,
    /// Records sent to other owners by anti-entropy.
    pub anti_entropy_sent: Counter,
    /// Records received from other owners by this node's own rounds of anti-entropy.
    pub anti_entropy_received: Counter,
    /// Deleted keys that this node forgot.
    pub tombstones_collected: Arc<Counter>,
    /// Rounds of the collection of deletes that this node led.
    pub collection_rounds: Counter,
    /// Those of them that were given up, by why.
    collection_given_up: [Counter; GivenUp::ALL.len()],
    /// Walks of the scrubber over all records.
    pub scrub_walks: Counter,
    /// Records whose checksums the scrubber verified.
    pub scrub_records: Counter,
    /// Records that the scrubber found to be damaged before anybody else did.
    pub scrub_damaged: Counter,
    /// Partitions whose records were found not to be those that were written.
    pub tree_mismatches: Counter,
    /// Peer connections that were refused or broken off for what they sent.
    pub peers_refused: AtomicU64,
    /// Messages of gossip given to a link.
    pub gossip_sent: Counter,
    /// Messages of gossip that came.
    pub gossip_received: Counter,
    /// Messages of gossip that were lost because a link was down or busy, or this node was.
    pub gossip_dropped: Counter,
    /// Messages of gossip that made no sense, or came from somebody who is no member.
    pub gossip_ignored: Counter,
    /// When the last round began that compared everything with every other owner and found no
    /// difference, by this node's monotonic clock; 0 before the first.
    pub anti_entropy_clean_ns: AtomicU64,
}

impl Metrics {
    /// Rounds of the collection of deletes that were given up for this reason.
    #[must_use]
    pub fn collection_given_up(&self, why: GivenUp) -> &Counter {
        &self.collection_given_up[why as usize]
    }

    /// All of it as Prometheus reads it. `voteless`: how many partitions this node casts no votes in.
    #[must_use]
    pub fn render(
        &self,
        replica: &Replica,
        peers: &Peers,
        background: &Background,
        in_hand: usize,
        zone_too_small: bool,
        voteless: usize,
    ) -> String {
        let mut text = String::new();
        let stats = replica.engine().stats();
        let (cache_hits, cache_misses) = replica.cache_counts();
        let counters = [
            ("gets_total", "Gets that clients asked for.", self.gets.get()),
            ("puts_total", "Puts and deletes that clients asked for.", self.puts.get()),
            (
                "coordinated_for_others_total",
                "Gets, puts and deletes of keys that this node does not own.",
                self.coordinated_for_others.get(),
            ),
            ("errors_total", "Requests answered with an error.", self.errors.get()),
            (
                "requests_overloaded_total",
                "Requests of clients refused because too much was in hand.",
                self.requests_overloaded.get(),
            ),
            (
                "requests_expired_total",
                "Requests of clients dropped past their deadline.",
                self.requests_expired.get(),
            ),
            (
                "requests_malformed_total",
                "Requests that were not HTTP, or with too long a head.",
                self.requests_malformed.get(),
            ),
            ("connections_refused_total", "Clients that found no room.", self.connections_refused.get()),
            (
                "clients_timed_out_total",
                "Clients too slow with handshake, head, body or taking the answer.",
                self.clients_timed_out.get(),
            ),
            (
                "administration_refused_total",
                "Requests to administer from somebody who may not.",
                self.administration_refused.get(),
            ),
            ("handshakes_failed_total", "TLS handshakes that failed.", self.handshakes_failed.get()),
            (
                "peer_requests_overloaded_total",
                "Requests of peers refused because too many ran.",
                self.peer_requests_overloaded.get(),
            ),
            (
                "peer_requests_expired_total",
                "Requests to replicas dropped past their deadline.",
                self.peer_requests_expired.get() + peers.expired(),
            ),
            (
                "peer_calls_crowded_total",
                "Requests not sent because too many waited for the same peer.",
                peers.crowded(),
            ),
            (
                "peers_timed_out_total",
                "Peers too slow with their hello, or silent for long.",
                self.peers_timed_out.get(),
            ),
            ("peer_requests_total", "Requests to replicas, own included.", self.peer_requests.get()),
            ("hand_overs_total", "Copies handed to a fallback.", self.hand_overs.get()),
            ("read_repairs_total", "Owners repaired after a get.", self.read_repairs.get()),
            ("keys_taken_over_total", "Keys merged from old owners.", self.keys_taken_over.get()),
            ("keys_handed_over_total", "Keys handed to new owners.", self.keys_handed_over.get()),
            ("hints_delivered_total", "Hints delivered to their owners.", self.hints_delivered.get()),
            ("anti_entropy_rounds_total", "Rounds of anti-entropy begun.", self.anti_entropy_rounds.get()),
            (
                "anti_entropy_differences_total",
                "Keys found to differ by anti-entropy.",
                self.anti_entropy_differences.get(),
            ),
            ("anti_entropy_sent_total", "Records sent by anti-entropy.", self.anti_entropy_sent.get()),
            (
                "anti_entropy_received_total",
                "Records received by own anti-entropy.",
                self.anti_entropy_received.get(),
            ),
            (
                "tombstones_collected_total",
                "Deleted keys that were forgotten.",
                self.tombstones_collected.get(),
            ),
            ("collection_rounds_total", "Rounds of collection led.", self.collection_rounds.get()),
            ("scrub_walks_total", "Walks over all records.", self.scrub_walks.get()),
            ("scrub_records_total", "Records verified by the scrubber.", self.scrub_records.get()),
            ("scrub_damaged_total", "Damaged records found by the scrubber.", self.scrub_damaged.get()),
            ("clock_skew_refused_total", "Writes stamped too far in the future.", replica.skewed()),
            ("damage_found_total", "Damaged records found by anybody.", replica.damage_found()),
            ("tree_mismatches_total", "Partitions that changed without a write.", self.tree_mismatches.get()),
            (
                "peers_refused_total",
                "Peer connections refused or broken off.",
                self.peers_refused.load(Ordering::Relaxed),
            ),
            ("background_bytes_total", "Bytes that own background tasks worked on.", background.bytes()),
            (
                "background_for_peers_bytes_total",
                "Bytes that background tasks of other nodes brought.",
                background.bytes_for_peers(),
            ),
            ("gossip_sent_total", "Messages of gossip given to a link.", self.gossip_sent.get()),
            ("gossip_received_total", "Messages of gossip that came.", self.gossip_received.get()),
            ("gossip_dropped_total", "Messages of gossip lost on this node.", self.gossip_dropped.get()),
            (
                "gossip_ignored_total",
                "Messages of gossip without sense or from no member.",
                self.gossip_ignored.get(),
            ),
            ("cache_hits_total", "Copies found in memory.", cache_hits),
            ("cache_misses_total", "Copies looked for in memory in vain.", cache_misses),
            ("store_appends_total", "Batches appended by the engine.", stats.appends),
            ("store_busy_total", "Writes refused because too many waited for the disk.", stats.busy),
            ("store_syncs_total", "Times the disk was synced.", stats.syncs),
        ];
        for (name, help, value) in counters {
            family(&mut text, name, help, "counter");
            sample(&mut text, name, "", value);
        }
        let gauges = [
            ("background_bytes_per_second", "How fast background work may go now.", background.rate()),
            (
                "zone_too_small",
                "1 if a zone is too small for every partition to have a copy there.",
                zone_too_small.into(),
            ),
            ("requests_in_hand", "Requests of clients in hand.", in_hand as u64),
            ("hints_pending", "Hints that wait for their owners.", replica.hints_pending()),
            (
                "anti_entropy_clean_ns",
                "Start of the last full round without differences, monotonic clock.",
                self.anti_entropy_clean_ns.load(Ordering::Acquire),
            ),
            ("cache_bytes", "Memory of the records used of late, about.", replica.cache_bytes()),
            ("store_records", "Records of the engine.", stats.records),
            ("store_live_bytes", "Bytes of keys and values.", stats.live_bytes),
            ("store_log_bytes", "Bytes on disk.", stats.log_bytes),
            ("store_damaged_records", "Records whose checksum does not fit.", stats.damaged_records),
            (
                "quarantined_records",
                "Repaired records that wait for all owners.",
                replica.quarantined() as u64,
            ),
            ("tombstones", "Deleted keys when last listed for collection.", replica.tombstones_told()),
            ("tree_bytes", "Memory of the hash trees.", replica.tree_bytes()),
            ("partitions_to_refill", "Partitions read here that cast no vote yet.", voteless as u64),
        ];
        for (name, help, value) in gauges {
            family(&mut text, name, help, "gauge");
            sample(&mut text, name, "", value);
        }
        family(&mut text, "collection_given_up_total", "Rounds of collection given up.", "counter");
        for why in GivenUp::ALL {
            let labels = format!("{{why=\"{why}\"}}");
            sample(&mut text, "collection_given_up_total", &labels, self.collection_given_up(why).get());
        }
        family(&mut text, "peer_suspected", "1 if the peer is thought not to answer.", "gauge");
        for peer in peers.ids() {
            sample(
                &mut text,
                "peer_suspected",
                &format!("{{peer=\"{peer}\"}}"),
                u64::from(peers.is_suspected(peer)),
            );
        }
        let spoken: Vec<_> = peers.ids().into_iter().filter_map(|id| Some((id, peers.spoken(id)?))).collect();
        family(&mut text, "peer_protocol", "Version of the messages that the peer is sent.", "gauge");
        for (peer, spoken) in &spoken {
            sample(&mut text, "peer_protocol", &format!("{{peer=\"{peer}\"}}"), spoken.version.into());
        }
        let name = "peer_clock_difference_ms";
        family(&mut text, name, "How far the peer's clock is from this node's, either way.", "gauge");
        for (peer, spoken) in &spoken {
            if let Some(ahead_ns) = spoken.clock_ahead_ns {
                sample(&mut text, name, &format!("{{peer=\"{peer}\"}}"), ahead_ns.unsigned_abs() / 1_000_000);
            }
        }
        text
    }
}

/// How many members gossip takes to be alive, suspect and down, as Prometheus reads it.
#[must_use]
pub fn render_members(board: &Board) -> String {
    let mut text = String::new();
    family(&mut text, "gossip_members", "Members, this node included, as gossip sees them.", "gauge");
    for state in Liveness::ALL {
        sample(&mut text, "gossip_members", &format!("{{state=\"{state}\"}}"), board.count(state) as u64);
    }
    text
}

/// Whether the disk takes writes, as Prometheus reads it.
#[must_use]
pub fn render_disk(is_refusing: bool) -> String {
    let mut text = String::new();
    family(&mut text, "store_refusing", "1 if the disk did not take the last write.", "gauge");
    sample(&mut text, "store_refusing", "", is_refusing.into());
    text
}

/// What became of certificates, as Prometheus reads it; zeros for a node without.
#[must_use]
pub fn render_certificates(certificates: Option<&Certificates>) -> String {
    let mut text = String::new();
    let of = |count: fn(&Certificates) -> u64| certificates.map_or(0, count);
    let counters = [
        ("certificates_replaced_total", "Times changed certificates were taken.", of(Certificates::replaced)),
        (
            "certificates_unusable_total",
            "Times changed certificates could not be used.",
            of(Certificates::unusable),
        ),
        (
            "peer_handshakes_failed_total",
            "Peer connections that came to nothing because of a certificate.",
            of(Certificates::peers_failed),
        ),
    ];
    for (name, help, value) in counters {
        family(&mut text, name, help, "counter");
        sample(&mut text, name, "", value);
    }
    let name = "certificate_expires_seconds";
    family(&mut text, name, "When the certificate expires, in seconds since 1970; 0 if unknown.", "gauge");
    sample(&mut text, name, "", certificates.and_then(Certificates::expire_at_s).unwrap_or(0));
    text
}

fn family(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP quorate_{name} {help}\n# TYPE quorate_{name} {kind}");
}

fn sample(text: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(text, "quorate_{name}{labels} {value}");
}
