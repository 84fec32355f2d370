//! Placement and gossip on paper: what `ring plan` and `ring simulate` print, and what they refuse.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::Value;

use crate::harness::quorate;

fn numbers(list: &Value, field: &str) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|item| item[field].as_u64().unwrap()).collect()
}

#[test]
fn a_plan_balances_by_capacity_and_a_join_moves_its_share() {
    let words = ["ring", "plan", "--capacities", "1,1,2,2,4", "--partitions", "1024", "--json"];
    let plan = quorate(&words).with(0).json();
    assert_eq!(numbers(&plan["nodes"], "partitions"), [341, 341, 683, 683, 1024]);
    assert_eq!(numbers(&plan["nodes"], "capacity"), [1, 1, 2, 2, 4]);
    assert!(plan["max_over_fair"].as_f64().unwrap() <= 1.01);
    assert_eq!(plan.get("moved"), None);

    let plan = quorate(&[&words[..], &["--replicas", "3", "--join", "2"]].concat()).with(0).json();
    assert_eq!(plan["nodes"].as_array().unwrap().len(), 6);
    assert_eq!(plan["nodes"][5]["joins"], true);
    assert!(plan["max_over_fair"].as_f64().unwrap() <= 1.01);
    assert_eq!((plan["moved"].as_u64(), plan["moved_minimum"].as_u64()), (Some(512), Some(512)));
}

#[test]
fn zones_are_spread_over_and_one_too_small_is_named() {
    let words = ["ring", "plan", "--capacities", "1,1,2,2,4", "--zones", "a,a,b,b,c", "--spread", "3"];
    let plan = quorate(&[&words[..], &["--json"]].concat()).with(0).json();
    assert_eq!(plan["spread"], 3);
    assert_eq!(plan["zone_too_small"], Value::Null);
    assert_eq!(numbers(&plan["nodes"], "partitions"), [512, 512, 512, 512, 1024]);

    let tiny = ["ring", "plan", "--capacities", "9,9,9,9,1", "--zones", "a,a,b,b,attic"];
    quorate(&[&tiny[..], &["--spread", "3"]].concat()).refused(&["attic", "too small", "add capacity"]);
    let relaxed = quorate(&[&tiny[..], &["--json"]].concat()).with(0);
    assert!(relaxed.stderr.contains("attic"), "{relaxed:?}");
    assert_eq!((relaxed.json()["spread"].as_u64(), relaxed.json()["zones_met"].as_u64()), (Some(2), Some(2)));
    assert_eq!(relaxed.json()["zone_too_small"], "attic");
}

#[test]
fn a_simulation_compares_three_strategies_over_joins_and_leaves() {
    let words = ["ring", "simulate", "--capacities", "1,1,2,2,4", "--events", "join:2,leave:1,resize:3:4"];
    let simulation = quorate(&[&words[..], &["--json"]].concat()).with(0).json();
    let steps = simulation["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 12);
    let of = |strategy: &'static str| steps.iter().filter(move |s| s["strategy"] == strategy);
    assert!(of("quota").all(|s| s["efficiency"].as_f64().unwrap() > 0.99));
    assert!(of("tokens").all(|s| s["efficiency"].as_f64().unwrap() < 0.95));
    assert!(of("tokens-equal-partitions").all(|s| s["efficiency"].as_f64().unwrap() < 0.95));
    let join = of("quota").nth(1).unwrap();
    assert_eq!((join["servers"].as_u64(), join["moved"].as_u64()), (Some(6), Some(512)));
    assert_eq!(join["moved_minimum"], 512);
    assert!(steps.iter().all(|s| s["view_bytes"].as_u64().unwrap() > 0));
    let table = quorate(&words).with(0).stdout;
    assert!(table.contains("tokens-equal-partitions") && table.contains("resize:3:4"), "{table}");
}

#[test]
fn ten_thousand_servers_are_placed() {
    let words = ["ring", "simulate", "--servers", "10000", "--capacities", "1,2,4", "--zones", "a,b,c,d"];
    let more = ["--strategy", "quota", "--events", "join:4", "--json"];
    let simulation = quorate(&[&words[..], &more].concat()).with(0).json();
    let [start, join] = &simulation["steps"].as_array().unwrap()[..] else { panic!("{simulation}") };
    assert_eq!((start["servers"].as_u64(), start["partitions"].as_u64()), (Some(10_000), Some(80_000)));
    assert_eq!(start["zones_met"], 3);
    assert_eq!(join["moved"], join["moved_minimum"]);
    // Two bytes an owner, and a name, a capacity and a zone for each server.
    assert!(start["view_bytes"].as_u64().unwrap() < 2 * 3 * 80_000 + 16 * 10_000);
}

#[test]
fn gossip_is_simulated_the_same_from_the_same_seed() {
    let words = ["ring", "simulate", "--gossip", "40", "--seed", "1"];
    let simulation = quorate(&[&words[..], &["--json"]].concat()).with(0).json();
    let gossip = &simulation["gossip"];
    for stage in ["all_know_all_s", "crash_known_all_s", "restart_known_all_s", "healed_known_all_s"] {
        assert!(gossip[stage].as_f64().unwrap() < 12.0, "{stage}: {gossip}");
    }
    assert_eq!((&gossip["nodes"], &gossip["false_downs"]), (&40.into(), &0.into()));
    assert!(gossip["calm"]["messages_per_s"].as_f64().unwrap() > 1.0);
    let again = quorate(&[&words[..], &["--json"]].concat()).with(0).json();
    assert_eq!(again["gossip"], *gossip);
    let table = quorate(&words).with(0).stdout;
    assert!(table.contains("40 nodes") && table.contains("crash is known to all"), "{table}");
    assert!(table.contains("a probe every 750ms"), "the parameters are stated: {table}");
}

#[test]
fn servers_that_cannot_be_placed_are_refused_by_reason() {
    let plan = |words: &[&str]| quorate(&[&["ring", "plan"], words].concat());
    plan(&[]).refused(&["--capacities"]);
    plan(&["--capacities", "1,1"]).refused(&["2 node(s)", "3 copies", "add nodes"]);
    plan(&["--capacities", "1,0,1"]).refused(&["capacity 0", "at least 1"]);
    plan(&["--capacities", "1,x"]).refused(&["--capacities", "whole number"]);
    plan(&["--capacities", "1,-1,1"]).refused(&["whole number"]);
    plan(&["--capacities", "1,,1"]).refused(&["whole number"]);
    plan(&["--capacities", "1,1,1", "--partitions", "0"]).refused(&["at least 1"]);
    plan(&["--capacities", "1,1,1", "--replicas", "0"]).refused(&["at least 1"]);
    plan(&["--capacities", "1,1,1", "--partitions", "4000000000"]).refused(&["more than a placement holds"]);
    plan(&["--capacities", "1,1,1", "--join", "0"]).refused(&["--join", "at least 1"]);
    plan(&["--capacities", "1,1,1", "--zones", "a,b"]).refused(&["2 zones for 3 capacities"]);
    plan(&["--capacities", "1,1,1", "--zones", "a,b,c", "--join", "1"]).refused(&["--join-zones"]);
    plan(&["--capacities", "1,1,1", "--join", "1", "--join-zones", "a"]).refused(&["without --zones"]);
    plan(&["--capacities", "1,1,1", "--zones", "a,a,b", "--spread", "3"]).refused(&["only 2 zones"]);
    plan(&["--capacities", "1,1,1", "--zones", "a,b,c", "--spread", "4"]).refused(&["3 copies", "4 zones"]);
    plan(&["--capacities", "1,1,1", "--strategy", "random"]).refused(&["random", "tokens-equal-partitions"]);
    let simulate = |words: &[&str]| quorate(&[&["ring", "simulate"], words].concat());
    simulate(&["--servers", "2"]).refused(&["2 node(s)"]);
    simulate(&["--servers", "5", "--events", "leave:6"]).refused(&["leave:6", "no server 6"]);
    simulate(&["--servers", "3", "--events", "leave:1"]).refused(&["leave:1", "2 node(s)"]);
    simulate(&["--servers", "5", "--events", "explode"]).refused(&["explode", "join:CAPACITY"]);
    simulate(&["--servers", "5", "--events", "leave:0"]).refused(&["count from 1"]);
    simulate(&["--servers", "9000000"]).refused(&["at most 1000000"]);
    simulate(&["--gossip", "1"]).refused(&["--gossip"]);
    simulate(&["--gossip", "10", "--servers", "5"]).refused(&["--gossip", "--servers"]);
    simulate(&["--gossip", "10", "--loss", "2"]).refused(&["--loss", "0 to 0.9"]);
    simulate(&["--capacities", "1,1,1", "--zones", "a,b"]).refused(&["2 zones for 3 capacities"]);
}
