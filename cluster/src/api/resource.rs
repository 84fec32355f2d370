//! What there is to ask for: every path, and the methods that it takes.
//!
//! The one table that requests are told apart by and that the OpenAPI document is held against.
//! Not here: what is answered (`routes`, `kv`, `members`).

use hyper::Method;

/// Something that a request can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    /// A key, percent-encoded as it came.
    Key(&'a str),
    /// The view.
    Cluster,
    /// All members.
    Members,
    /// The member of this name.
    Member(&'a str),
    /// What is left after a majority of the members was lost for good.
    Recover,
    /// Some of the partition of this number, for a backup.
    Backup(&'a str),
    /// Some of a backup, to be restored.
    Restore,
    /// Whether the process answers.
    Health,
    /// Whether it should be given requests.
    Ready,
    /// What it counts.
    Metrics,
    /// What it answers at all.
    OpenApi,
}

impl<'a> Resource<'a> {
    /// One of each.
    #[cfg(test)]
    pub(super) const ALL: [Resource<'static>; 11] = [
        Resource::Key("k"),
        Resource::Cluster,
        Resource::Members,
        Resource::Member("n9"),
        Resource::Recover,
        Resource::Backup("0"),
        Resource::Restore,
        Resource::Health,
        Resource::Ready,
        Resource::Metrics,
        Resource::OpenApi,
    ];

    /// What is at `path`, if anything is.
    pub(super) fn at(path: &'a str) -> Option<Self> {
        if let Some(key) = path.strip_prefix("/kv/") {
            return Some(Self::Key(key));
        }
        if let Some(id) = path.strip_prefix("/cluster/members/") {
            return Some(Self::Member(id));
        }
        if let Some(partition) = path.strip_prefix("/cluster/backup/") {
            return Some(Self::Backup(partition));
        }
        Some(match path {
            "/cluster" => Self::Cluster,
            "/cluster/members" => Self::Members,
            "/cluster/recover" => Self::Recover,
            "/cluster/restore" => Self::Restore,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::OpenApi,
            _ => return None,
        })
    }

    /// The methods it takes, as `Allow` lists them.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Key(_) => "GET, PUT, DELETE",
            Self::Members | Self::Recover | Self::Restore => "POST",
            Self::Member(_) => "DELETE",
            Self::Backup(_) => "GET",
            Self::Cluster | Self::Health | Self::Ready | Self::Metrics | Self::OpenApi => "GET",
        }
    }

    /// Whether it takes this one.
    pub(super) fn takes(self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| known == method.as_str())
    }

    /// Its path as the OpenAPI document writes it.
    #[cfg(test)]
    pub(super) fn template(self) -> &'static str {
        match self {
            Self::Key(_) => "/kv/{key}",
            Self::Cluster => "/cluster",
            Self::Members => "/cluster/members",
            Self::Member(_) => "/cluster/members/{id}",
            Self::Recover => "/cluster/recover",
            Self::Backup(_) => "/cluster/backup/{partition}",
            Self::Restore => "/cluster/restore",
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
        }
    }
}
