//! The messages of etcd's `KV` and `Maintenance` services (`rpc.proto`, `kv.proto`), as far as they are needed here.
//!
//! Written by hand: generating them would need protoc. Fields that nothing reads are left out,
//! which protobuf skips; numbers are those of etcd 3.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResponseHeader {
    /// The store's revision when it answered.
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyValue {
    /// The revision of the last change.
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    /// Whether one member may answer from what it has.
    #[prost(bool, tag = "7")]
    pub(super) serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PutResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeleteRangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeleteRangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusResponse {
    /// Such as `3.5.16`.
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use prost::Message as _;

    use super::*;

    #[test]
    fn bytes_are_those_of_the_protocol() {
        let request = RangeRequest { key: "k".into(), serializable: true };
        assert_eq!(request.encode_to_vec(), [0x0a, 1, b'k', 0x38, 1]);
        let request = PutRequest { key: "k".into(), value: "vw".into() };
        assert_eq!(request.encode_to_vec(), [0x0a, 1, b'k', 0x12, 2, b'v', b'w']);
        // A header with a revision, then one pair with key, mod_revision, version and value.
        let response = [0x0a, 2, 0x18, 9, 0x12, 10, 0x0a, 1, b'k', 0x18, 7, 0x20, 2, 0x2a, 1, b'v', 0x20, 1];
        let response = RangeResponse::decode(&response[..]).unwrap();
        assert_eq!(response.kvs, [KeyValue { mod_revision: 7, value: "v".into() }]);
    }
}
