//! What gossip sends: a packet of the SWIM library, and what this store adds to it.

use bytes::{BufMut, Bytes, BytesMut};
use foca::{Codec, Header, PostcardCodec};
use serde::{Deserialize, Serialize};

use super::{GossipId, Incarnation};
use crate::config::NodeId;
use crate::membership::ViewVersion;

/// One message of gossip. It may be lost, late or doubled; nobody answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagram {
    /// The newest view that the sender holds and would hand out.
    pub view: ViewVersion,
    /// The receiver's latest life that the sender knows of, if the receiver spoke as an earlier
    /// one: it must begin a later one to be heard. A node that lost its disk counts its starts anew.
    pub spoken_to: Option<Incarnation>,
    /// Set if the sender suspects the receiver: the life and the library's own count that it must
    /// exceed to be cleared. The library spreads suspicions among others and hopes that one of them
    /// tells the suspect in time; so the suspect is told with whatever it is sent.
    pub suspected: Option<(Incarnation, u16)>,
    /// The library's own packet; empty if there is nothing else to say.
    pub packet: Bytes,
}

/// A packet that can be read to its end.
pub(super) struct Packet {
    /// Who sent it, to whom, and why.
    pub(super) header: Header<GossipId>,
    /// The packet without news of nodes that the receiver does not want to hear of.
    pub(super) filtered: Bytes,
}

/// Reads a packet and leaves out all news of nodes that are not `wanted`.
///
/// # Errors
/// When it is not a packet.
pub(super) fn read(packet: &Bytes, wanted: impl Fn(NodeId) -> bool) -> Result<Packet, postcard::Error> {
    let mut codec = PostcardCodec;
    let mut rest: &[u8] = packet;
    let header: Header<GossipId> = codec.decode_header(&mut rest)?;
    let head_bytes = packet.len() - rest.len();
    let Some((count, news)) = rest.split_first_chunk::<2>() else {
        return Ok(Packet { header, filtered: packet.clone() });
    };
    let count = u16::from_be_bytes(*count);
    rest = news;
    let mut kept = Vec::new();
    for _ in 0..count {
        let before = rest;
        let member: foca::Member<GossipId> = codec.decode_member(&mut rest)?;
        if wanted(member.id().node) {
            kept.push(&before[..before.len() - rest.len()]);
        }
    }
    if kept.len() == usize::from(count) {
        return Ok(Packet { header, filtered: packet.clone() });
    }
    let mut filtered = BytesMut::with_capacity(packet.len());
    filtered.put_slice(&packet[..head_bytes]);
    filtered.put_u16(u16::try_from(kept.len()).expect("no more than there were"));
    for news in kept {
        filtered.put_slice(news);
    }
    filtered.put_slice(rest);
    Ok(Packet { header, filtered: filtered.freeze() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use foca::{Member, Message};
    use proptest::prelude::*;

    use super::*;

    fn id(n: u32) -> GossipId {
        GossipId {
            node: format!("n{n}").parse().unwrap(),
            incarnation: Incarnation { starts: n, rejoins: 0 },
        }
    }

    fn header() -> BytesMut {
        let mut packet = BytesMut::new();
        let header = Header { src: id(1), src_incarnation: 3, dst: id(2), message: Message::Gossip };
        PostcardCodec.encode_header(&header, &mut packet).unwrap();
        packet
    }

    fn packet(news: &[u32]) -> Bytes {
        let (mut codec, mut packet) = (PostcardCodec, header());
        packet.put_u16(u16::try_from(news.len()).unwrap());
        for n in news {
            codec.encode_member(&Member::alive(id(*n)), &mut packet).unwrap();
        }
        packet.freeze()
    }

    #[test]
    fn news_of_strangers_is_left_out_and_all_else_kept() {
        let known = |node: NodeId| ["n3", "n5", "n1000"].contains(&node.as_str());
        let read = read(&packet(&[3, 4, 5, 600, 1000]), known).unwrap();
        assert_eq!(read.header.src, id(1));
        assert_eq!(read.filtered, packet(&[3, 5, 1000]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&Bytes::from(bytes), |_| false);
        }
    }

    #[test]
    fn a_packet_cut_short_is_refused() {
        let (whole, header_bytes) = (packet(&[3, 4]), header().len());
        for bytes in 0..whole.len() {
            let short = whole.slice(..bytes);
            let is_read = read(&short, |_| true).is_ok_and(|read| read.filtered == short);
            // A header without a count of news is a packet too.
            assert_eq!(is_read, (header_bytes..header_bytes + 2).contains(&bytes), "{bytes} bytes");
        }
    }
}
