//! Redis Cluster: three nodes, shards on all of them.

use std::time::{Duration, Instant};

use tallyport_core::{
    model::ErrorKind,
    store::{Claim, Held, Leases, Owner, RedisSettings, RedisStore, Store, Wish},
};

use crate::{
    instances::{Instance, named},
    testing::RedisServer,
};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn cluster() -> Vec<RedisServer> {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes: Vec<_> = (0..3).map(|_| RedisServer::start(&options)).collect();
    let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
    for (node, (first, last)) in nodes.iter().zip(slots) {
        assert_eq!(node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "+OK\r\n");
    }
    for node in &nodes[1..] {
        let port = node.port().to_string();
        assert_eq!(nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port]), "+OK\r\n");
    }
    let start = Instant::now();
    let ready = |node: &RedisServer| {
        let info = node.command(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
    };
    while !nodes.iter().all(ready) {
        assert!(start.elapsed() < Duration::from_secs(60), "the cluster does not form");
        std::thread::yield_now();
    }
    nodes
}

/// What a node is called in its cluster.
pub(crate) fn id(node: &RedisServer) -> String {
    let reply = node.command(&["CLUSTER", "MYID"]);
    reply.split("\r\n").nth(1).unwrap().to_owned()
}

#[test]
fn shards_of_a_cluster_lie_on_its_nodes_and_add_up() {
    let nodes = cluster();
    let connect = |node: &RedisServer| {
        let settings = RedisSettings {
            url: node.url(),
            namespace: "shared".into(),
            shards: 8,
            deadline: Duration::from_secs(10).into(),
        };
        RedisStore::connect(&settings).unwrap()
    };
    let mut instances: Vec<_> = (0..12)
        .map(|n| Instance::new(Box::new(connect(&nodes[n % 3])), named(&format!("i{n}"))))
        .collect();
    for instance in &mut instances {
        instance.add("requests", "/", 3);
        instance.sync();
    }
    let keys = |node: &RedisServer| node.command(&["DBSIZE"]);
    // Which shards have an instance is chance; that all of them lie on one node is none.
    let used = nodes.iter().filter(|node| keys(node) != ":0\r\n").count();
    assert!(used >= 2, "{used} nodes have shards");
    assert_eq!(instances[0].total("requests", "/"), 36);
    // Half of them end, on whatever node they are.
    for instance in instances.iter_mut().skip(6) {
        let last = instance.snapshot();
        assert_eq!(instance.session.withdraw(&last).unwrap().retirement.folded, 1);
    }
    let overview = instances[0].everyone();
    assert_eq!(overview.instances, 6);
    assert_eq!(instances[0].total("requests", "/"), 36);
    assert_eq!(connect(&nodes[1]).shards(), 8);

    // A lease is the same one from every node, wherever it lies.
    let wish = |owner| Wish { lease: "export", owner: Owner(owner), holder: "", term: HOUR };
    let Claim::Granted(token) = connect(&nodes[0]).acquire(&wish(1)).unwrap() else { panic!() };
    for node in &nodes {
        assert!(matches!(connect(node).acquire(&wish(2)).unwrap(), Claim::Taken { .. }));
        let held = Held { lease: "export", owner: Owner(1), token };
        assert!(connect(node).renew(&held, HOUR).unwrap());
        connect(node).extend(HOUR * 48).unwrap();
    }

    // A slot moves to another node: those who wrote to the old one follow it.
    let tag = |shard: u32| format!("{{tallyport:shared:{shard}}}:total");
    let number = |reply: String| reply.trim_matches([':', '\r', '\n']).parse::<usize>().unwrap();
    let slot = number(nodes[0].command(&["CLUSTER", "KEYSLOT", &tag(0)]));
    let (from, to) = (slot / 5461, (slot / 5461 + 1) % 3);
    let (from, to) = (&nodes[from.min(2)], &nodes[to]);
    let slot = slot.to_string();
    to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    loop {
        // One at a time: a longer reply may come in pieces.
        let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]);
        let Some(key) = keys.split("\r\n").find(|line| line.starts_with('{')) else { break };
        let port = to.port().to_string();
        let moved = from.command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        assert_eq!(moved, "+OK\r\n");
    }
    // While it moves, the old node answers ASK, and the new one TRYAGAIN to those whose record is not
    // there: they try again.
    for instance in &mut instances {
        instance.add("requests", "/", 1);
        let snapshot = instance.snapshot();
        match instance.session.sync(&snapshot) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
    for node in &nodes {
        node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    for instance in &mut instances {
        instance.add("requests", "/", 1);
        instance.sync();
    }
    assert_eq!(instances[0].total("requests", "/"), 60);
}
