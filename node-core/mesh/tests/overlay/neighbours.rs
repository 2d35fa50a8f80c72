//! Nodes of one local network find each other without being told of one another. The network is one that this test makes: a
//! network namespace with an interface of its own.

use std::process::Command;

use edge_mesh::MeshConfig;

use crate::network::{config, start, until};

const INSIDE: &str = "THETIS_MESH_TEST_INSIDE";
const ADDRESS: &str = "10.77.0.1";
const SET_UP: &str = "set -e
ip link set lo up
ip link add lan type veth peer name end
ip addr add 10.77.0.1/24 dev lan
ip link set end up
ip link set lan up
ip route add 224.0.0.0/4 dev lan
exec \"$0\" --exact neighbours::two_nodes_in_the_namespace --nocapture";

/// Not a test by itself: what happens in the namespace.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_in_the_namespace() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let neighbour = |local_discovery| MeshConfig {
        listen: vec![format!("/ip4/{ADDRESS}/tcp/0").parse().unwrap()],
        local_discovery,
        ..config(&[])
    };
    let (first, second) = (start(neighbour(true)).await, start(neighbour(true)).await);
    let quiet = start(neighbour(false)).await;
    until("they have found each other", || async {
        first.peers().iter().any(|known| known.peer == second.local_peer())
            && second.peers().iter().any(|known| known.peer == first.local_peer())
    })
    .await;
    assert!(quiet.peers().is_empty(), "who does not look is not found");
    println!("found");
}

#[test]
fn nodes_of_one_local_network_find_each_other() {
    // Root makes one as it is; others may as the root of a user namespace.
    let (mut said, mut errors) = (String::new(), String::new());
    for flags in [&["--net"][..], &["--net", "--map-root-user"]] {
        let mut inside = Command::new("unshare");
        inside.args(flags).args(["sh", "-c", SET_UP]).arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
        match inside.output() {
            Ok(made) => {
                said.push_str(&String::from_utf8_lossy(&made.stdout));
                errors.push_str(&String::from_utf8_lossy(&made.stderr));
            }
            Err(error) => errors.push_str(&error.to_string()),
        }
        if !said.is_empty() {
            break;
        }
    }
    // A container may forbid it. CI may not.
    if said.is_empty() && std::env::var_os("CI").is_none() {
        return println!("skipped: no network namespace can be made here ({errors})");
    }
    assert!(said.contains("found"), "{said}\n{errors}");
}
