//! Primaries that end, and replicas that take over: of a cluster, and behind one address.

use std::{
    thread,
    time::{Duration, Instant},
};

use tallyport_core::{
    model::ErrorKind,
    store::{RedisSettings, RedisStore},
    sync::Mishaps,
};

use crate::{
    cluster::{cluster, id},
    instances::{Instance, named},
    proxy::Proxy,
    testing::RedisServer,
};

const LONG: Duration = Duration::from_secs(60);

fn instance(url: String, namespace: &str, shards: u32) -> Instance {
    let deadline = Duration::from_secs(10).into();
    let settings = RedisSettings { url, namespace: namespace.into(), shards, deadline };
    Instance::new(Box::new(RedisStore::connect(&settings).unwrap()), named("a"))
}

/// Waits for what a server does by itself.
fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::yield_now();
    }
}

fn replication(server: &RedisServer, key: &str) -> String {
    let info = server.command(&["INFO", "replication"]);
    let value = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or("").to_owned()
}

/// Waits until a replica has all that its primary acknowledged.
fn caught_up(primary: &RedisServer, replica: &RedisServer) {
    until("the replica follows", || {
        let there = replication(replica, "slave_repl_offset");
        replication(replica, "master_link_status") == "up"
            && replication(primary, "master_repl_offset") == there
    });
}

/// A replica of one node of a cluster, which has all that it has.
fn replica_of(primary: &RedisServer, nodes: &[RedisServer]) -> RedisServer {
    let replica = RedisServer::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        // It takes over however old what it has is.
        "--cluster-replica-validity-factor",
        "0",
    ]);
    let port = primary.port().to_string();
    assert_eq!(replica.command(&["CLUSTER", "MEET", "127.0.0.1", &port]), "+OK\r\n");
    let known = "cluster_known_nodes:4";
    let knows = |node: &RedisServer| node.command(&["CLUSTER", "INFO"]).contains(known);
    until("all know the replica", || nodes.iter().chain([&replica]).all(knows));
    let primary_id = id(primary);
    until("it is a replica", || {
        replica.command(&["CLUSTER", "REPLICATE", &primary_id]) == "+OK\r\n"
    });
    caught_up(primary, &replica);
    // Who fails over has to know who follows whom.
    let listed = |node: &RedisServer| {
        node.command(&["CLUSTER", "REPLICAS", &primary_id]).contains(&id(&replica))
    };
    until("all know whose replica it is", || nodes.iter().all(listed));
    replica
}

/// Waits until a replica took over.
fn took_over(replica: &RedisServer, others: &[RedisServer]) {
    until("the replica takes over", || replication(replica, "role") == "master");
    let ready =
        |node: &RedisServer| node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
    until("the cluster is whole", || others.iter().chain([replica]).all(ready));
    // They answer with the new one.
    let port = format!(" 127.0.0.1:{}@", replica.port());
    let knows = |node: &RedisServer| {
        let nodes = node.command(&["CLUSTER", "NODES"]);
        nodes.lines().any(|line| line.contains(&port) && line.contains("master"))
    };
    until("all know who took over", || others.iter().all(knows));
}

fn add_and_sync(instances: &mut [Instance]) {
    for one in instances {
        one.add("requests", "/", 1);
        one.sync();
    }
}

/// Instances on all nodes of a cluster, one of which ends: the seed, or one that is none.
fn a_cluster_fails_over(seed: bool) {
    let mut nodes = cluster();
    let keys = |node: &RedisServer| {
        let size = node.command(&["DBSIZE"]);
        size.trim_matches([':', '\r', '\n']).parse::<u64>().unwrap()
    };
    let mut instances = Vec::new();
    // In which shard an instance is, is chance.
    while instances.len() < 12 || nodes.iter().any(|node| keys(node) == 0) {
        assert!(instances.len() < 200, "a node has no shard");
        let mut one = [instance(nodes[0].url(), "shared", 8)];
        add_and_sync(&mut one);
        instances.extend(one);
    }
    let all = instances.len() as u64;
    let victim = if seed || keys(&nodes[1]) > keys(&nodes[2]) { 1 } else { 2 };
    let victim = if seed { 0 } else { victim };
    let replica = replica_of(&nodes[victim], &nodes);
    add_and_sync(&mut instances);
    caught_up(&nodes[victim], &replica);
    drop(nodes.remove(victim));
    took_over(&replica, &nodes);
    // What was acknowledged is there, and none of them fails even once.
    for _ in 0..2 {
        add_and_sync(&mut instances);
    }
    assert_eq!(instances[0].total("requests", "/"), all * 4);
    for one in &instances {
        assert_eq!(one.session.mishaps(), Mishaps::default());
    }
}

#[test]
fn a_node_of_a_cluster_that_ends_is_followed_to_its_replica() {
    a_cluster_fails_over(false);
}

#[test]
fn the_first_node_of_a_cluster_that_ends_is_followed_to_its_replica() {
    a_cluster_fails_over(true);
}

#[test]
fn who_knew_one_node_of_a_cluster_alone_finds_the_others_when_it_ends() {
    let mut nodes = cluster();
    let slot = |key: String| {
        let slot = nodes[0].command(&["CLUSTER", "KEYSLOT", &key]);
        slot.trim_matches([':', '\r', '\n']).parse::<u32>().unwrap()
    };
    // All that it has lies on the first one: no answer ever tells of another.
    let alone = (0..).map(|n| format!("n{n}")).find(|name| {
        let keys =
            [format!("{{tallyport:{name}:0}}:total"), format!("{{tallyport:{name}}}:shards")];
        keys.into_iter().all(|key| slot(key) <= 5460)
    });
    let mut one = instance(nodes[0].url(), &alone.unwrap(), 1);
    one.add("requests", "/", 1);
    one.sync();
    let replica = replica_of(&nodes[0], &nodes);
    // The replica does not get what comes from now on, and takes over without it.
    nodes[0].command(&["ACL", "SETUSER", "default", "-psync"]);
    nodes[0].command(&["CLIENT", "KILL", "TYPE", "replica"]);
    until("the replica is cut off", || replication(&replica, "master_link_status") == "down");
    one.add("requests", "/", 2);
    one.sync();
    assert_eq!(one.total("requests", "/"), 3);
    drop(nodes.remove(0));
    took_over(&replica, &nodes);
    one.add("requests", "/", 4);
    one.sync();
    assert_eq!(one.total("requests", "/"), 7);
    assert_eq!(one.session.mishaps(), Mishaps { rollbacks: 1, ..Mishaps::default() });
}

#[test]
fn an_address_that_another_primary_has_by_now_is_connected_to_anew() {
    let (mut primary, mut replica) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let follow = |replica: &RedisServer, primary: &RedisServer| {
        let port = primary.port().to_string();
        assert_eq!(replica.command(&["REPLICAOF", "127.0.0.1", &port]), "+OK\r\n");
        caught_up(primary, replica);
    };
    let proxy = Proxy::start(primary.port());
    let mut one = instance(proxy.url(), "shared", 1);
    one.add("requests", "/", 1);
    one.sync();
    follow(&replica, &primary);
    for (round, code) in ["READONLY", "MASTERDOWN"].into_iter().enumerate() {
        // Who was the primary lives on, and so does the connection to it.
        assert_eq!(replica.command(&["REPLICAOF", "NO", "ONE"]), "+OK\r\n");
        proxy.aim(replica.port());
        if code == "MASTERDOWN" {
            primary.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
            primary.command(&["CONFIG", "SET", "masterauth", "nobody's"]);
            replica.command(&["ACL", "SETUSER", "default", "-psync"]);
            let port = replica.port().to_string();
            assert_eq!(primary.command(&["REPLICAOF", "127.0.0.1", &port]), "+OK\r\n");
        } else {
            follow(&primary, &replica);
        }
        one.add("requests", "/", 1);
        let snapshot = one.snapshot();
        let error = one.session.sync(&snapshot).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(code), "{error}");
        one.sync();
        assert_eq!(one.total("requests", "/"), 2 + round as u64);
        std::mem::swap(&mut primary, &mut replica);
    }
    assert_eq!(one.session.mishaps(), Mishaps::default());
}
