//! Finds loopback ports that nobody uses.

use std::net::{Ipv4Addr, TcpListener};

use quorate_env::Random;
use rand::RngExt as _;

use super::ProcessError;

/// Ports to choose from: above the well-known ones and below those that operating systems hand
/// to outgoing connections, one of which could otherwise take a node's port before the node does.
const RANGE: std::ops::Range<u16> = 10_240..32_768;

/// Tries per port asked for.
const TRIES: u32 = 200;

/// `count` different ports of 127.0.0.1 that were free a moment ago.
///
/// # Errors
/// If none is found.
pub fn free_ports(count: usize, random: Random) -> Result<Vec<u16>, ProcessError> {
    let mut stream = random.stream("ports");
    // All are held until the last is found, so that none is given twice.
    let mut held: Vec<(u16, TcpListener)> = Vec::with_capacity(count);
    let tries = TRIES.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    for _ in 0..tries {
        if held.len() == count {
            break;
        }
        let port = stream.random_range(RANGE);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    if held.len() < count {
        return Err(ProcessError::NoFreePort { host: "127.0.0.1".into(), tried: tries });
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn ports_are_different_and_can_be_used() {
        let ports = free_ports(12, Random::from_system()).unwrap();
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 12);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
