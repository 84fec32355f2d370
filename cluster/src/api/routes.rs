//! Paths to handlers, and the answers that need no quorum.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::{Request, StatusCode};
use serde_json::json;

use super::answer::{Answer, VIEW, body, error, failure, json, method_not_allowed, set};
use super::guard::Caller;
use super::resource::Resource;
use super::{Api, archive, kv, members, placement};
use crate::coordinator::RequestError;
use crate::membership::Gap;

/// What is answered, for programs: OpenAPI 3.1.
pub(super) const OPENAPI: &str = include_str!("../../../docs/openapi.json");

impl Api {
    /// Answers one request, whatever it is.
    pub(super) async fn route(self: Arc<Self>, request: Request<Incoming>, caller: Caller) -> Answer {
        let path = request.uri().path().to_owned();
        let answer = match Resource::at(&path) {
            None => error(
                StatusCode::NOT_FOUND,
                "no_such_path",
                "there is nothing at this path; keys are at /kv/{key}, all paths at /openapi.json",
            ),
            Some(resource) if !resource.takes(request.method()) => method_not_allowed(resource.methods()),
            Some(Resource::Key(key)) => {
                let mut answer = kv::handle(&self, key, request).await;
                // Clients that know who owns what learn from it that they should ask again.
                set(&mut answer, VIEW, &self.coordinator.views.current().version().to_string());
                answer
            }
            Some(Resource::Members) => match self.guard.refuses(caller, request.headers()) {
                None => members::join(&self, request.into_body()).await,
                Some(refusal) => self.keep_out(refusal),
            },
            Some(Resource::Member(id)) => match self.guard.refuses(caller, request.headers()) {
                None => members::go(&self, id, request.uri().query()).await,
                Some(refusal) => self.keep_out(refusal),
            },
            Some(Resource::Recover) => match self.guard.refuses(caller, request.headers()) {
                None => Box::pin(members::recover(&self, request.into_body())).await,
                Some(refusal) => self.keep_out(refusal),
            },
            Some(Resource::Backup(partition)) => match self.guard.refuses(caller, request.headers()) {
                None => Box::pin(archive::backup(&self, partition, request.uri().query())).await,
                Some(refusal) => self.keep_out(refusal),
            },
            Some(Resource::Restore) => match self.guard.refuses(caller, request.headers()) {
                None => Box::pin(archive::restore(&self, request.into_body())).await,
                Some(refusal) => self.keep_out(refusal),
            },
            Some(Resource::Cluster) => self.cluster(),
            Some(Resource::Health) => body(StatusCode::OK, "text/plain", "ok\n"),
            Some(Resource::Ready) => self.ready(),
            Some(Resource::Metrics) => self.metrics(),
            Some(Resource::OpenApi) => body(StatusCode::OK, "application/json", OPENAPI),
        };
        if answer.status().is_server_error() || answer.status() == StatusCode::CONFLICT {
            self.coordinator.metrics.errors.add(1);
        }
        answer
    }

    /// Tells a client that there is no room for it, and to hang up.
    pub(super) fn turn_away(&self) -> Answer {
        let in_hand = self.coordinator.admission.limits().connections_max as u64;
        let mut answer = failure(&RequestError::Overloaded { in_hand, what: "connections" });
        // HTTP/2 has no such field, and is told by GOAWAY.
        set(&mut answer, CONNECTION.as_str(), "close");
        self.coordinator.metrics.errors.add(1);
        answer
    }

    /// Counts and notes somebody who wanted to administer and may not.
    fn keep_out(&self, refusal: Answer) -> Answer {
        self.coordinator.metrics.administration_refused.add(1);
        tracing::warn!(status = refusal.status().as_u16(), "refused to administer for somebody who may not");
        refusal
    }

    /// Ready: this node's disk takes writes, it can meet both quorums with the peers it believes to be
    /// there, and it votes. A doubt about some partition does not count against it: the others can do without its vote.
    fn ready(&self) -> Answer {
        let coordinator = &self.coordinator;
        if let Some(refusal) = self.engine.refusal() {
            let message = format!("its disk takes no writes: {refusal}");
            return error(StatusCode::SERVICE_UNAVAILABLE, "not_ready", &message);
        }
        if !coordinator.views.holdings().is_proven() {
            let message = "the other members have not said yet whether its disk is the newest that it had";
            return error(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message);
        }
        let mut empty = coordinator.views.voteless();
        empty.retain(|(_, why)| *why != Gap::Doubt);
        if let Some(worst) = empty.iter().map(|(_, why)| *why).max() {
            let why = match worst {
                Gap::LostDisk => "its disk was lost",
                Gap::Gained => "they were gained while it was away",
                Gap::New | Gap::Doubt => {
                    "its disk is empty and the other owners have not said that theirs are"
                }
            };
            let message =
                format!("{} partition(s) are to be refilled from their other owners: {why}", empty.len());
            return error(StatusCode::SERVICE_UNAVAILABLE, "not_ready", &message);
        }
        let view = coordinator.views.current();
        let nodes = view.members().len();
        // Nodes that are leaving may be suspected too, and are nothing that this one needs.
        let there = view.unsuspected(&coordinator.peers.suspected());
        let needed = coordinator.store.r().max(coordinator.store.w());
        if there >= needed {
            body(StatusCode::OK, "text/plain", "ready\n")
        } else {
            let message = format!("{} of {nodes} nodes do not answer; {needed} must", nodes - there);
            error(StatusCode::SERVICE_UNAVAILABLE, "not_ready", &message)
        }
    }

    fn metrics(&self) -> Answer {
        let coordinator = &self.coordinator;
        let in_hand = coordinator.admission.requests();
        let local = &coordinator.local;
        let is_short = coordinator.views.current().placement().zone_shortfall().is_some();
        let mut text = coordinator.metrics.render(
            &local.replica,
            &coordinator.peers,
            &local.background,
            in_hand,
            is_short,
            coordinator.views.voteless().len(),
        );
        text.push_str(&crate::metrics::render_members(&self.board));
        text.push_str(&crate::metrics::render_disk(self.engine.refusal().is_some()));
        text.push_str(&crate::metrics::render_certificates(self.certificates.as_deref()));
        body(StatusCode::OK, "text/plain; version=0.0.4", text)
    }

    /// The view: who is a member, what each owns, and the store's definition; also what program answers.
    fn cluster(&self) -> Answer {
        let coordinator = &self.coordinator;
        let view = coordinator.views.current();
        let placement = view.placement();
        let owned = view.partitions_owned();
        let copies = f64::from(placement.partitions()) * coordinator.store.n() as f64;
        let members: Vec<_> = view
            .members()
            .iter()
            .map(|member| {
                let partitions = owned.get(&member.id).copied().unwrap_or(0);
                let seen = self.board.seen(member.id);
                let spoken = coordinator.peers.spoken(member.id);
                let ahead_ns = spoken.as_ref().and_then(|spoken| spoken.clock_ahead_ns);
                json!({
                    "id": member.id,
                    "api": member.api,
                    "peer": member.peer,
                    "capacity": member.capacity,
                    "zone": member.zone,
                    "partitions": partitions,
                    "ownership_percent": (f64::from(partitions) / copies * 1e4).round() / 1e2,
                    "suspected": coordinator.peers.is_suspected(member.id),
                    "liveness": seen.map(|s| s.liveness),
                    "incarnation": seen.and_then(|s| s.incarnation).map(|i| i.to_string()),
                    "protocol": spoken.as_ref().map(|spoken| spoken.version),
                    "release": spoken.and_then(|spoken| spoken.release),
                    "clock_ahead_ms": ahead_ns.map(|ns| ns / 1_000_000),
                })
            })
            .collect();
        json(
            StatusCode::OK,
            &json!({
                "node": coordinator.me,
                "version": self.build.get().map_or(env!("CARGO_PKG_VERSION"), String::as_str),
                "view": view.version().to_string(),
                "namings": view.namings(),
                "store": coordinator.store,
                "members": members,
                "placement": placement::placement(&view),
                "zone_too_small": placement.zone_shortfall().map(|shortfall| shortfall.to_string()),
            }),
        )
    }
}
