//! Asks a node whether it is answering yet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientOptions, Method, NodeChoice, NodeUrl, Request, Retry, TlsTrust};
use quorate_env::{SystemClock, TokioNetwork};

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(1);

/// Asks one node, over and over.
pub struct HealthProbe {
    client: Client,
}

impl HealthProbe {
    /// A probe of the node at `url`, trusting the authority in `ca_file`.
    ///
    /// # Errors
    /// If URL or file are unusable.
    pub fn new(url: &str, ca_file: &Path) -> Result<Self, quorate_client::SetupError> {
        let trust = TlsTrust::from_ca_file(ca_file, Arc::new(SystemClock::new()))?;
        let url: NodeUrl = url.parse()?;
        let options = ClientOptions {
            node_choice: NodeChoice::Fixed(0),
            deadline: QUESTION,
            retry: Retry::Never,
            ..ClientOptions::default()
        };
        Ok(Self { client: Client::new(Arc::new(TokioNetwork), vec![url], Some(trust), options)? })
    }

    /// Every member as the node sees it by gossip: name, liveness and incarnation. Nothing if it does
    /// not say.
    pub async fn members(&self) -> Option<Vec<(String, String, String)>> {
        let request = Request { method: Method::Get, target: "/cluster", headers: &[], body: b"" };
        let (_, response) = self.client.request_any(&request, None).await.ok()?;
        let view: serde_json::Value = serde_json::from_slice(&response.body).ok()?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        let member = |m: &serde_json::Value| (text(&m["id"]), text(&m["liveness"]), text(&m["incarnation"]));
        Some(view["members"].as_array()?.iter().map(member).collect())
    }

    /// Whether it answers `GET /healthz` with 200.
    ///
    /// # Errors
    /// With what it met instead.
    pub async fn ask(&self) -> Result<(), String> {
        self.get("/healthz").await
    }

    /// Whether it answers `GET /readyz` with 200: it votes, and can meet its quorums.
    ///
    /// # Errors
    /// With what it met instead.
    pub async fn ask_ready(&self) -> Result<(), String> {
        self.get("/readyz").await
    }

    async fn get(&self, target: &str) -> Result<(), String> {
        let request = Request { method: Method::Get, target, headers: &[], body: b"" };
        match self.client.request_any(&request, None).await {
            Ok((_, response)) if response.status == 200 => Ok(()),
            Ok((_, response)) => Err(format!("it answered {}", response.status)),
            Err(e) => Err(e.to_string()),
        }
    }
}
