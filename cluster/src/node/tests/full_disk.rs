//! A disk that takes no writes, and takes them again.

use super::overload::alone;
use super::*;

#[tokio::test]
async fn a_node_whose_disk_is_full_is_not_ready_until_there_is_room_again() {
    let members = members(1);
    let node = start(config(&members[0], &members, &alone()), SimulatedDisk::default()).await.unwrap();
    ready(&node.api).await;
    assert_eq!(put(&node.api, "k", None, "v").await.status, 204);
    assert_eq!(metric(&node.api, "quorate_store_refusing").await, 0);

    node.disk.set_capacity(Some(0));
    let refused = put(&node.api, "full", None, "v").await;
    assert_eq!((refused.status, refused.error()), (507, "disk_full".into()));
    let not_ready = ask(&node.api, "GET", "/readyz", &[], b"").await;
    assert_eq!((not_ready.status, not_ready.error()), (503, "not_ready".into()));
    assert!(not_ready.json()["message"].as_str().unwrap().contains("its disk takes no writes"));
    assert_eq!(metric(&node.api, "quorate_store_refusing").await, 1);
    assert_eq!(ask(&node.api, "GET", "/healthz", &[], b"").await.status, 200, "it runs");
    assert_eq!(get(&node.api, "k").await.status, 200, "and reads");

    node.disk.set_capacity(None);
    // Nobody writes to it meanwhile.
    ready(&node.api).await;
    assert_eq!(put(&node.api, "j", None, "v").await.status, 204);
}
