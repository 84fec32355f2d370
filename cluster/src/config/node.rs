//! One node's configuration file: who it is, who the others are, and its store.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ConfigError, Limits, StoreDefinition, refuse_unknown_keys};
use crate::ring::{PlacementNode, Rules};
use crate::rpc::Versions;

/// A node's name: 1 to 16 bytes of `a-z`, `0-9` and `-`. Copied, compared and sent as is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(16);
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    /// The name padded with zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        if text.is_empty() || text.len() > 16 || !text.as_bytes().iter().all(allowed) {
            return Err(format!("node id `{text}`: use 1 to 16 of a-z, 0-9 and `-`"));
        }
        let mut id = [0; 16];
        id[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(id))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `[node]`: this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// Its name, unique in the cluster.
    pub id: NodeId,
    /// `host:port` of the HTTPS API.
    pub listen: String,
    /// `host:port` that peers connect to.
    pub peer_listen: String,
    /// Where its records live.
    pub data_dir: String,
    /// Its share of the data relative to the others. Default 1.
    #[serde(default = "one")]
    pub capacity: u32,
    /// The place whose failure takes it down with others. Default empty.
    #[serde(default)]
    pub zone: String,
    /// Peer addresses to ask for the members, by a node that is given no `[[member]]`.
    #[serde(default)]
    pub seeds: Vec<String>,
    /// A file of at least 16 random bytes, the same on every node: the key that context tokens are
    /// authenticated with. Without it the key is derived from the store definition, which catches
    /// mistakes but not forgery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_key_file: Option<String>,
    /// Who may change the members through this node. Default `guarded`.
    #[serde(default)]
    pub administration: Administration,
    /// A file with the token that an administrator shows, at least 16 characters. Read each time, so
    /// that it is replaced by writing the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_token_file: Option<String>,
    /// The newest version of the peer protocol that it speaks, though its release knows newer ones. For an
    /// upgrade that may have to be taken back. Default: the newest that the release knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_max: Option<u32>,
    /// Threads that serve. Default: as many as the machine has cores. Where several nodes share a machine,
    /// fewer for each cost less: threads that find nothing to do sleep and are woken all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroU16>,
}

/// Who may administer a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Administration {
    /// Whoever shows the token of `admin_token_file`, or a client certificate of the authority in
    /// `[tls] ca`.
    #[default]
    Guarded,
    /// Everybody who reaches the API.
    Open,
}

/// `[[member]]`: every node of the cluster, this one included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// `host:port` that peers connect to.
    pub peer: String,
    /// `host:port` of its API.
    pub api: String,
    /// Its share of the data relative to the others. Default 1.
    #[serde(default = "one")]
    pub capacity: u32,
    /// The place whose failure takes it down with others. Default empty.
    #[serde(default)]
    pub zone: String,
}

impl Member {
    /// Refuses a member that nobody could call, or that would hold nothing.
    ///
    /// # Errors
    /// [`ConfigError::BadValue`] for the first such setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (field, address) in [("peer", &self.peer), ("api", &self.api)] {
            let parts = address.rsplit_once(':');
            if !parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
            {
                let why = format!("node {} is called there; give it as host:port", self.id);
                return Err(ConfigError::BadValue { field, value: format!("\"{address}\""), why });
            }
        }
        self.check_capacity()
    }

    fn check_capacity(&self) -> Result<(), ConfigError> {
        if self.capacity > 0 {
            return Ok(());
        }
        let why = format!("node {} would hold nothing; give it at least 1", self.id);
        Err(ConfigError::BadValue { field: "capacity", value: "0".into(), why })
    }

    /// An address of this member that is another's too, or both of its own, and whose.
    #[must_use]
    pub fn address_shared_with<'a>(&'a self, others: &[Self]) -> Option<(&'a str, NodeId)> {
        if self.peer == self.api {
            return Some((&self.peer, self.id));
        }
        [&self.peer, &self.api].into_iter().find_map(|address| {
            let has = |other: &&Self| other.peer == *address || other.api == *address;
            others.iter().find(has).map(|other| (address.as_str(), other.id))
        })
    }
}

fn one() -> u32 {
    1
}

/// `[tls]`: files in PEM. Without the section a development CA is made on first start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// The node's certificate chain.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// The authority that signed it: peers and administrators show certificates of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How peers talk to each other; the same on every node. Default `mutual`.
    #[serde(default)]
    pub peers: PeerTraffic,
}

/// How peers talk to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerTraffic {
    /// In TLS, each showing a certificate of the authority in `[tls] ca`.
    #[default]
    Mutual,
    /// In the clear, to whoever connects.
    Plain,
}

/// How long a node waits for what. Not part of the promise; the same on every node of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// A request's deadline at its coordinator.
    pub request: Duration,
    /// How long an owner may stay silent before its copy is handed to a fallback.
    pub hand_over: Duration,
    /// How long a connect may take.
    pub connect: Duration,
    /// How often a suspected peer is tried again.
    pub probe: Duration,
    /// How often hints are offered to their owners.
    pub hint_delivery: Duration,
    /// From the end of one walk over all records, verifying them, to the next.
    pub scrub: Duration,
    /// How long a client may take for a TLS handshake, for the head of a request, and between two
    /// requests; how long a peer may take for its hello.
    pub head: Duration,
    /// How long a peer may say nothing; peers ping far more often.
    pub peer_idle: Duration,
    /// How long a client may refuse to take its answer before it is hung up on.
    pub answer: Duration,
}

impl Timing {
    /// How long a connection may stay silent while answers are due before it is closed. A round
    /// trip must be shorter; a third of the deadline leaves time to ask again.
    #[must_use]
    pub fn stall(&self) -> Duration {
        self.request / 3
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(3),
            hand_over: Duration::from_millis(300),
            connect: Duration::from_millis(500),
            probe: Duration::from_millis(500),
            hint_delivery: Duration::from_millis(500),
            scrub: Duration::from_secs(3600),
            head: Duration::from_secs(30),
            peer_idle: Duration::from_secs(30),
            answer: Duration::from_secs(30),
        }
    }
}

/// One node's whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub node: NodeSection,
    /// Its certificates, if given.
    pub tls: Option<TlsSection>,
    /// What the store promises.
    pub store: StoreDefinition,
    /// All nodes, sorted by id.
    pub members: Vec<Member>,
    /// How long it waits.
    pub timing: Timing,
    /// How much it takes at once.
    pub limits: Limits,
}

impl Config {
    /// Reads a configuration file's text.
    ///
    /// # Errors
    /// The first thing that is wrong, naming section and key.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
        refuse_unknown_keys(&table, "the configuration file", &["node", "tls", "store", "member"])?;
        let mut node =
            table.remove("node").ok_or_else(|| ConfigError::Syntax("there is no [node] section".into()))?;
        let mut limits = Limits::default();
        if let toml::Value::Table(node) = &mut node {
            let mut known = vec![
                "id",
                "listen",
                "peer_listen",
                "data_dir",
                "capacity",
                "zone",
                "seeds",
                "token_key_file",
                "administration",
                "admin_token_file",
                "protocol_max",
                "threads",
            ];
            known.extend(Limits::NAMES);
            refuse_unknown_keys(node, "[node]", &known)?;
            limits = Limits::take_from(node)?;
        }
        let node: NodeSection = section(node, "[node]")?;
        let tls = table.remove("tls").map(|tls| section(tls, "[tls]")).transpose()?;
        let store = match table.remove("store") {
            Some(toml::Value::Table(store)) => StoreDefinition::from_table(&store)?,
            Some(_) => return Err(ConfigError::Syntax("[store] must be a table".into())),
            None => StoreDefinition::default(),
        };
        let members = match table.remove("member") {
            Some(members) => section(members, "[[member]]")?,
            // Whoever has seeds asks them for the members.
            None if !node.seeds.is_empty() => Vec::new(),
            None => vec![Member {
                id: node.id,
                peer: node.peer_listen.clone(),
                api: node.listen.clone(),
                capacity: node.capacity,
                zone: node.zone.clone(),
            }],
        };
        Ok(Self { limits, ..Self::new(node, tls, store, members)? })
    }

    /// Puts the parts together and checks them against each other.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(
        node: NodeSection,
        tls: Option<TlsSection>,
        store: StoreDefinition,
        mut members: Vec<Member>,
    ) -> Result<Self, ConfigError> {
        store.validate()?;
        let spoken = Versions::up_to(None);
        if let Some(max) = node.protocol_max.filter(|max| !spoken.has(*max)) {
            let why =
                format!("this release speaks peer protocol {spoken}; choose one of these, or leave it out");
            return Err(ConfigError::BadValue { field: "protocol_max", value: max.to_string(), why });
        }
        let has_peers = members.len() > 1 || !node.seeds.is_empty();
        if let Some(TlsSection { ca: None, peers: PeerTraffic::Mutual, .. }) = &tls
            && has_peers
        {
            return Err(ConfigError::Clash {
                first: "[tls] without ca".into(),
                second: "[tls] peers = \"mutual\"".into(),
                why: "peers believe each other by the authority in ca; give it, or say peers = \"plain\""
                    .into(),
            });
        }
        members.sort_by_key(|m| m.id);
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(ConfigError::BadValue {
                field: "member.id",
                value: pair[0].id.to_string(),
                why: "given twice; every node needs a name of its own".into(),
            });
        }
        // Nobody calls a node that is alone: it may listen where there is room.
        let is_alone = members.len() == 1;
        members.iter().try_for_each(|m| if is_alone { m.check_capacity() } else { m.check() })?;
        for (at, member) in members.iter().enumerate().filter(|_| !is_alone) {
            if let Some((address, of)) = member.address_shared_with(&members[..at]) {
                let why =
                    format!("it is an address of node {of}; give node {} addresses of its own", member.id);
                return Err(ConfigError::BadValue {
                    field: "[[member]] address",
                    value: address.into(),
                    why,
                });
            }
        }
        if members.is_empty() && !node.seeds.is_empty() {
            return Ok(Self {
                node,
                tls,
                store,
                members,
                timing: Timing::default(),
                limits: Limits::default(),
            });
        }
        let Some(own) = members.iter().find(|m| m.id == node.id) else {
            return Err(ConfigError::Clash {
                first: format!("node.id = {}", node.id),
                second: "[[member]]".into(),
                why: "this node is not among the members; list it too".into(),
            });
        };
        if own.capacity != node.capacity || own.zone != node.zone {
            return Err(ConfigError::Clash {
                first: format!("[node] capacity = {}, zone = \"{}\"", node.capacity, node.zone),
                second: format!("[[member]] capacity = {}, zone = \"{}\"", own.capacity, own.zone),
                why: format!("node {} describes itself in two ways; make them the same", node.id),
            });
        }
        if members.len() < store.n() {
            return Err(ConfigError::Clash {
                first: format!("replicas = {}", store.replicas),
                second: format!("{} member(s)", members.len()),
                why: "no node holds two copies of a key; add nodes or lower replicas".into(),
            });
        }
        let nodes: Vec<PlacementNode> = members.iter().map(PlacementNode::from).collect();
        if let Err(e) = Rules::of_store(&store).check(&nodes) {
            return Err(ConfigError::Clash {
                first: format!("placement = \"{}\"", store.placement),
                second: "the capacities of [[member]]".into(),
                why: e.to_string(),
            });
        }
        Ok(Self { node, tls, store, members, timing: Timing::default(), limits: Limits::default() })
    }

    /// Whether the members must be asked of the seeds.
    #[must_use]
    pub fn seeds_only(&self) -> bool {
        self.members.is_empty()
    }

    /// Writes the configuration file that [`Config::from_toml`] reads.
    ///
    /// # Panics
    /// Never: every part has a TOML form.
    #[must_use]
    pub fn to_toml(&self) -> String {
        #[derive(Serialize)]
        struct File<'a> {
            node: toml::Table,
            #[serde(skip_serializing_if = "Option::is_none")]
            tls: &'a Option<TlsSection>,
            store: &'a StoreDefinition,
            member: &'a [Member],
        }
        let mut node = toml::Table::try_from(&self.node).expect("a section has a TOML form");
        self.limits.put_into(&mut node);
        let file = File { node, tls: &self.tls, store: &self.store, member: &self.members };
        toml::to_string(&file).expect("every part of a configuration has a TOML form")
    }
}

fn section<T: serde::de::DeserializeOwned>(value: toml::Value, name: &str) -> Result<T, ConfigError> {
    value.try_into().map_err(|e: toml::de::Error| ConfigError::Syntax(format!("{name}: {}", e.message())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const FILE: &str = r#"
[node]
id = "n1"
listen = "127.0.0.1:4001"
peer_listen = "127.0.0.1:5001"
data_dir = "data/n1"
[store]
profile = "dynamo"
replicas = 2
[[member]]
id = "n2"
peer = "127.0.0.1:5002"
api = "127.0.0.1:4002"
[[member]]
id = "n1"
peer = "127.0.0.1:5001"
api = "127.0.0.1:4001"
"#;

    #[test]
    fn a_file_reads_back_as_written() {
        let config = Config::from_toml(FILE).unwrap();
        assert_eq!(config.members[0].id.as_str(), "n1");
        assert_eq!(Config::from_toml(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn limits_stand_beside_the_addresses() {
        let limited =
            FILE.replace("data_dir", "requests_max = 7\ncommits_max = 9\ncache_bytes = 0\ndata_dir");
        let config = Config::from_toml(&limited).unwrap();
        assert_eq!(
            config.limits,
            Limits { requests_max: 7, commits_max: 9, cache_bytes: 0, ..Limits::default() }
        );
        assert_eq!(Config::from_toml(&config.to_toml()).unwrap(), config);
        let refused = |line: &str| {
            Config::from_toml(&FILE.replace("data_dir", &format!("{line}\ndata_dir")))
                .unwrap_err()
                .to_string()
        };
        assert!(refused("requests_max = 0").contains("requests_max = 0"));
        assert!(refused("requests_max = \"many\"").contains("[node]"));
        assert!(refused("request_max = 5").contains("did you mean `requests_max`"));
    }

    #[test]
    fn peers_talk_in_mutual_tls_unless_the_file_says_otherwise() {
        let tls = |rest: &str| format!("{FILE}\n[tls]\ncert = \"c\"\nkey = \"k\"\n{rest}");
        let peers = |rest: &str| Config::from_toml(&tls(rest)).unwrap().tls.unwrap().peers;
        assert_eq!(peers("ca = \"a\""), PeerTraffic::Mutual);
        assert_eq!(peers("peers = \"plain\""), PeerTraffic::Plain);
        let refused = Config::from_toml(&tls("")).unwrap_err().to_string();
        assert!(refused.contains("without ca") && refused.contains("peers = \"plain\""), "{refused}");
    }

    #[test]
    fn a_node_is_held_back_to_a_protocol_that_its_release_speaks() {
        let held_back = |max: u32| {
            Config::from_toml(&FILE.replace("data_dir", &format!("protocol_max = {max}\ndata_dir")))
        };
        let config = held_back(Versions::up_to(None).oldest).unwrap();
        assert_eq!(Config::from_toml(&config.to_toml()).unwrap(), config);
        for max in [0, Versions::up_to(None).newest + 1] {
            let refused = held_back(max).unwrap_err().to_string();
            assert!(refused.contains("protocol_max") && refused.contains("peer protocol"), "{refused}");
        }
    }

    #[test]
    fn errors_name_what_clashes() {
        let refused =
            |from: &str, to: &str| Config::from_toml(&FILE.replace(from, to)).unwrap_err().to_string();
        assert!(refused("replicas = 2", "replicas = 3").contains("2 member(s)"));
        assert!(refused("data_dir", "data_dri").contains("did you mean `data_dir`"));
        assert!(refused("id = \"n2\"", "id = \"n1\"").contains("given twice"));
        assert!(refused("id = \"n2\"", "id = \"N 2\"").contains("a-z"));
        assert!(refused("\"127.0.0.1:5002\"", "\"127.0.0.1\"").contains("host:port"));
        assert!(refused("\"127.0.0.1:5002\"", "\"127.0.0.1:4001\"").contains("an address of node n1"));
        let many = FILE.replace("id = \"n2\"", "id = \"n2\"\ncapacity = 4294967295");
        let many = many.replace("replicas = 2", "replicas = 2\nplacement = \"tokens\"");
        let many = Config::from_toml(&many).unwrap_err().to_string();
        assert!(many.contains("placement = \"tokens\"") && many.contains("lower"), "{many}");
    }
}
