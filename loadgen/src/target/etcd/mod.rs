//! etcd 3 as a target: `Range`, `Put` and `DeleteRange` of its gRPC service, one call at a time on
//! each connection.
//!
//! gRPC is a prefix of five bytes and two trailers over HTTP/2, so this speaks it over [`h2`] itself.
//! A channel of tonic puts a queue and a task between caller and socket and connects again behind
//! the caller's back; that would be measured too. Gets are linearizable unless the URL ends in
//! `?serializable`. An update is a `Range` and then a `Put`, without a transaction.
//!
//! Not here: client certificates and passwords.

mod connection;
mod messages;
mod status;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use quorate_client::TlsTrust;
use quorate_env::{BoxFuture, Network};

use self::connection::Connection;
use self::messages::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader, StatusRequest, StatusResponse,
};
use super::name::Endpoint;
use super::single::{Answer, Protocol, SingleValued, Trouble};
use super::{Call, CallError, CallKind, Completion, Target};

/// Where an etcd cluster is, and how to read it.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// Where its members listen for clients; connections are spread over them.
    pub endpoints: Vec<Endpoint>,
    /// Whom to trust; without it connections are not encrypted.
    pub trust: Option<TlsTrust>,
    /// Whether gets may be answered from what one member happens to have.
    pub serializable: bool,
    /// How long one call may take.
    pub deadline: Duration,
}

/// An etcd cluster under load.
pub struct EtcdTarget(SingleValued<Etcd>);

impl EtcdTarget {
    /// The cluster that `options` describe. Connects only when needed.
    ///
    /// # Errors
    /// An endpoint that cannot be part of a URL.
    pub fn new(network: Arc<dyn Network>, options: EtcdOptions) -> Result<Self, String> {
        let EtcdOptions { endpoints, trust, serializable, deadline } = options;
        // TLS peers of etcd insist on being told that HTTP/2 is meant.
        let trust = trust.map(|trust| trust.speaking(b"h2"));
        let scheme = if trust.is_some() { "https" } else { "http" };
        let methods: Result<Vec<_>, _> = endpoints.iter().map(|e| Methods::of(scheme, e)).collect();
        let etcd = Etcd { network, methods: methods?, endpoints, trust, serializable };
        Ok(Self(SingleValued::new(etcd, deadline)))
    }

    /// Opens `connections` and asks whether every member answers.
    ///
    /// # Errors
    /// A sentence for people that names the member.
    pub async fn open(&self, connections: usize) -> Result<(), String> {
        let opened = self.0.open(connections).await;
        let is_plain = self.0.protocol().trust.is_none();
        opened.map_err(|why| match why.contains("connection lost") && is_plain {
            // A server that expects TLS says nothing else.
            true => format!("{why}; if it is encrypted, write etcds:// and give --ca"),
            false => why,
        })
    }

    /// What its members say they are, such as `etcd 3.5.16`; none if they do not say.
    pub async fn version(&self) -> Option<String> {
        self.0.version().await
    }
}

impl Target for EtcdTarget {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Completion> {
        Box::pin(self.0.call(call))
    }

    fn for_thread(&self) -> Option<Arc<dyn Target>> {
        Some(Arc::new(Self(self.0.afresh())))
    }
}

struct Etcd {
    network: Arc<dyn Network>,
    endpoints: Vec<Endpoint>,
    /// By endpoint.
    methods: Vec<Methods>,
    trust: Option<TlsTrust>,
    serializable: bool,
}

/// The URLs of the methods on one member, made once.
struct Methods {
    range: Uri,
    put: Uri,
    delete: Uri,
    status: Uri,
}

impl Methods {
    fn of(scheme: &str, endpoint: &Endpoint) -> Result<Self, String> {
        let uri = |method: &str| -> Result<Uri, String> {
            let text = format!("{scheme}://{endpoint}/etcdserverpb.{method}");
            text.parse().map_err(|e| format!("{text}: {e}"))
        };
        Ok(Self {
            range: uri("KV/Range")?,
            put: uri("KV/Put")?,
            delete: uri("KV/DeleteRange")?,
            status: uri("Maintenance/Status")?,
        })
    }
}

impl Protocol for Etcd {
    type Connection = Member;

    fn nodes(&self) -> usize {
        self.endpoints.len()
    }

    fn name(&self, node: usize) -> String {
        let scheme = if self.trust.is_some() { "etcds" } else { "etcd" };
        format!("{scheme}://{}", self.endpoints[node])
    }

    async fn connect(&self, node: usize) -> Result<Member, CallError> {
        let error = |kind: &str, message| CallError { kind: kind.to_owned(), message };
        let endpoint = &self.endpoints[node];
        let stream = self.network.connect(&endpoint.to_string()).await;
        let mut stream = stream.map_err(|e| error("connect", format!("cannot connect: {e}")))?;
        if let Some(trust) = &self.trust {
            let wrapped = trust.wrap(&endpoint.host, stream).await;
            stream = wrapped.map_err(|why| error("handshake", format!("TLS handshake failed: {why}")))?;
        }
        let connection = Connection::begin(stream).await;
        let connection = connection.map_err(|e| error("connect", format!("cannot begin HTTP/2: {e}")))?;
        Ok(Member { connection, node })
    }

    async fn exchange(
        &self,
        member: &mut Member,
        call: &Call<'_>,
        sent: &mut bool,
    ) -> Result<Answer, Trouble> {
        let methods = &self.methods[member.node];
        let connection = &mut member.connection;
        let key = Bytes::copy_from_slice(call.key_name.as_bytes());
        match call.kind {
            CallKind::Get => {
                let request = RangeRequest { key, serializable: self.serializable };
                let found: RangeResponse = connection.unary(methods.range.clone(), &request, sent).await?;
                let found = found.kvs.into_iter().next();
                Ok(Answer {
                    version: found.as_ref().map(|pair| pair.mod_revision.to_string()),
                    value: found.map(|pair| pair.value.to_vec()),
                })
            }
            CallKind::Put => {
                let request = PutRequest { key, value: Bytes::copy_from_slice(call.bytes) };
                let done: PutResponse = connection.unary(methods.put.clone(), &request, sent).await?;
                Ok(written(done.header))
            }
            CallKind::Delete => {
                let request = DeleteRangeRequest { key };
                let done: DeleteRangeResponse =
                    connection.unary(methods.delete.clone(), &request, sent).await?;
                Ok(written(done.header))
            }
        }
    }

    async fn version(&self, member: &mut Member) -> Option<String> {
        let uri = self.methods[member.node].status.clone();
        let status =
            member.connection.unary::<StatusResponse>(uri, &StatusRequest {}, &mut false).await.ok()?;
        (!status.version.is_empty()).then(|| format!("etcd {}", status.version))
    }

    fn is_quiet(member: &mut Member) -> bool {
        member.connection.is_open()
    }
}

/// A connection, and whom it is to.
struct Member {
    connection: Connection,
    node: usize,
}

fn written(header: Option<ResponseHeader>) -> Answer {
    Answer { value: None, version: header.map(|header| header.revision.to_string()) }
}
