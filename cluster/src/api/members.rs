//! `/cluster/members` and `/cluster/recover`: join, leave, removal and what is left after a loss, through any
//! node.

use std::collections::BTreeSet;

use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::Api;
use super::answer::{Answer, error, json};
use crate::config::{Member, NodeId};
use crate::membership::{AdministrationError, Change};

/// Longest description of a member, in bytes.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Answers `POST /cluster/members`.
pub(super) async fn join(api: &Api, body: Incoming) -> Answer {
    let collecting = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(Ok(body)) = timeout(api.coordinator.timing.request, collecting).await else {
        return bad("the description of the member did not arrive whole, or is too long");
    };
    match serde_json::from_slice::<Member>(&body.to_bytes()) {
        Ok(member) => match member.check() {
            Ok(()) => change(api, Change::Join(member)).await,
            Err(why) => bad(&why.to_string()),
        },
        Err(why) => bad(&format!("not a member ({why}); give id, peer, api, capacity and zone")),
    }
}

/// Answers `DELETE /cluster/members/{id}`.
pub(super) async fn go(api: &Api, id: &str, query: Option<&str>) -> Answer {
    let id: NodeId = match id.parse() {
        Ok(id) => id,
        Err(why) => return bad(&why),
    };
    match query {
        None | Some("") => change(api, Change::Leave(id)).await,
        Some("dead=1") => change(api, Change::Remove(id)).await,
        Some(other) => bad(&format!("`{other}` is not known; dead=1 removes a node that hands nothing over")),
    }
}

/// What `POST /cluster/recover` asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Loss {
    /// Who is lost for good.
    lost: BTreeSet<NodeId>,
    /// Who takes their place.
    #[serde(default)]
    join: Vec<Member>,
}

/// Answers `POST /cluster/recover`.
pub(super) async fn recover(api: &Api, body: Incoming) -> Answer {
    let collecting = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(Ok(body)) = timeout(api.coordinator.timing.request, collecting).await else {
        return bad("what was lost did not arrive whole, or is too long");
    };
    let loss = match serde_json::from_slice::<Loss>(&body.to_bytes()) {
        Ok(loss) => loss,
        Err(why) => {
            return bad(&format!("not a loss ({why}); give lost, a list of names, and join, one of members"));
        }
    };
    if let Some(why) = loss.join.iter().find_map(|member| member.check().err()) {
        return bad(&why.to_string());
    }
    let coordinator = &api.coordinator;
    let (gone, in_doubt) = coordinator.views.current().losses(&loss.lost, coordinator.store.w());
    match api.administrator.order(&loss.lost, &loss.join).await {
        Ok(view) => json(
            StatusCode::ACCEPTED,
            &json!({
                "view": view.version().to_string(),
                "partitions_gone": gone,
                "partitions_in_doubt": in_doubt,
            }),
        ),
        Err(failed) => refusal(&failed),
    }
}

async fn change(api: &Api, change: Change) -> Answer {
    match api.administrator.change(change).await {
        // A zone grows node by node: that it is too small yet is no reason to refuse the next one.
        Ok(view) => json(
            StatusCode::ACCEPTED,
            &json!({
                "view": view.version().to_string(),
                "zone_too_small": view.placement().zone_shortfall().map(|shortfall| shortfall.to_string()),
            }),
        ),
        Err(failed) => refusal(&failed),
    }
}

fn refusal(failed: &AdministrationError) -> Answer {
    let (status, code) = match failed {
        AdministrationError::Refused(_) => (StatusCode::CONFLICT, "change_refused"),
        AdministrationError::GoesOnWithout { .. } => (StatusCode::CONFLICT, "change_under_way"),
        AdministrationError::Outrun(_) | AdministrationError::Overtaken(_) => {
            (StatusCode::CONFLICT, "change_outrun")
        }
        AdministrationError::NoMajority { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_majority"),
        AdministrationError::Absent { .. } => (StatusCode::CONFLICT, "not_there"),
        AdministrationError::MajorityLeft { .. } => (StatusCode::CONFLICT, "majority_left"),
        AdministrationError::NotLost(_) => (StatusCode::CONFLICT, "not_lost"),
        AdministrationError::Silent(_) => (StatusCode::SERVICE_UNAVAILABLE, "silent"),
        AdministrationError::Disk(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk"),
    };
    let body =
        json!({ "error": code, "message": failed.to_string(), "maybe_applied": failed.maybe_applied() });
    json(status, &body)
}

fn bad(message: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, "bad_member", message)
}
