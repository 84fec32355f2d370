//! Whether a node is quiet: nothing is left on it from before a fence (`membership::View::fence_begun`).

use serde::{Deserialize, Serialize};

use super::ReplicaService;
use crate::membership::ViewVersion;
use crate::rpc::Response;

/// What may be left on a node from before the fence that it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// The view that it is in.
    pub view: ViewVersion,
    /// Operations that began under an earlier view and are not over.
    pub under_way: u64,
    /// Whether it keeps hints, or copies that others own.
    pub keeps_for_others: bool,
    /// Whether it casts no votes in some partition, or some of its records are damaged.
    pub lacks: bool,
}

impl Quiet {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.under_way == 0 && !self.keeps_for_others && !self.lacks
    }
}

impl ReplicaService {
    /// How quiet this node is. If it is, that is on its disk before it says so: no restart brings
    /// back a hint that was delivered.
    ///
    /// # Errors
    /// What to answer when it cannot be found out, or not be made durable.
    pub(super) async fn quiet(&self) -> Result<Quiet, Response> {
        let refused = |error: String| Response::refused(error, false);
        let view = self.views.current();
        let quiet = Quiet {
            view: view.version(),
            under_way: self.views.under_way_from_before(view.version()),
            keeps_for_others: self
                .replica
                .keeps_for_others(self.me, &view)
                .map_err(|error| refused(error.to_string()))?,
            lacks: !self.views.voteless().is_empty() || self.replica.is_damaged(),
        };
        if quiet.is_quiet() {
            self.replica.flush().await.map_err(|error| refused(error.to_string()))?;
            self.views.confirm(quiet.view).await.map_err(|error| refused(error.to_string()))?;
        }
        Ok(quiet)
    }
}
