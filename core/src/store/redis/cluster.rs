//! The nodes of a cluster, or the one server: which shard is where, and who is asked when a node is gone.
//!
//! A node that cannot be reached loses its shards: any other one that is known tells where they went.
//! Nothing has been sent to it then, so that is safe for every step. What each answers is not looked at
//! here, but for what says that the node is the wrong one.

use std::{collections::HashMap, time::Instant};

use redis::{Cmd, Value};

use super::{
    super::socket::{Address, Repeat},
    node::Node,
    reply::Reply,
    value::{is_displaced, redirected, refused},
};
use crate::model::{Error, ErrorKind};

/// How often a command follows to another node.
const REDIRECTS: usize = 5;
/// Nodes that are kept, but for more that are in use.
const KEPT: usize = 64;

/// Nodes that are known, and the way to each shard.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// Node of each shard, as far as it is known.
    routes: HashMap<u32, usize>,
    /// Who is asked where there is no route: the first one, until it fails.
    guide: usize,
    login: Login,
}

/// What logs in is a password.
struct Login(Vec<Cmd>);

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[FILTERED]")
    }
}

/// Nodes that are not asked again by one exchange, and why the first of them was not reached.
#[derive(Default)]
struct Passed {
    nodes: Vec<usize>,
    error: Option<Error>,
}

impl Passed {
    fn add(&mut self, node: usize, error: Option<Error>) {
        self.nodes.push(node);
        self.error = self.error.take().or(error);
    }
}

impl Nodes {
    pub(super) fn new(address: Address, login: Vec<Cmd>) -> Self {
        Self {
            nodes: vec![Node::new(address)],
            routes: HashMap::new(),
            guide: 0,
            login: Login(login),
        }
    }

    /// Remembers nodes, to be asked when others are gone. One may be listed for each of its ranges of slots.
    pub(super) fn meet(&mut self, members: &[(String, u16)]) {
        // The first one that is known, and as many more.
        let mut met: Vec<&(String, u16)> = Vec::new();
        for member in members {
            if met.len() < KEPT - 1 && !met.contains(&member) {
                met.push(member);
                self.index(Address::Tcp(member.0.clone(), member.1), &Passed::default());
            }
        }
    }

    /// The node at an address. Where there are too many, a new one takes the place of one that nothing
    /// leads to: over the years a cluster may have had any number of addresses.
    fn index(&mut self, address: Address, passed: &Passed) -> usize {
        if let Some(index) = self.nodes.iter().position(|node| node.address == address) {
            return index;
        }
        let Self { nodes, routes, guide, .. } = self;
        let mut spare = None;
        if nodes.len() >= KEPT {
            for (index, node) in nodes.iter_mut().enumerate() {
                let used = index == 0 || index == *guide || passed.nodes.contains(&index);
                if used || routes.values().any(|route| *route == index) {
                    continue;
                }
                // The first one, or the first that there is no connection to.
                let open = node.is_open();
                if spare.is_none() || !open {
                    spare = Some(index);
                }
                if !open {
                    break;
                }
            }
        }
        match spare.and_then(|index| Some((index, nodes.get_mut(index)?))) {
            Some((index, node)) => {
                *node = Node::new(address);
                index
            }
            None => {
                nodes.push(Node::new(address));
                nodes.len() - 1
            }
        }
    }

    /// Whom to ask for a shard: the node that has it, or else the guide and those behind it.
    fn choice(&self, shard: u32, passed: &Passed) -> Option<usize> {
        let route = self.routes.get(&shard).copied();
        let others = (0..self.nodes.len()).map(|n| (self.guide + n) % self.nodes.len());
        route.into_iter().chain(others).find(|node| !passed.nodes.contains(node))
    }

    /// No longer sends to a node what another one may have by now.
    fn turn_from(&mut self, index: usize) {
        self.routes.retain(|_, node| *node != index);
        if self.guide == index {
            self.guide = (index + 1) % self.nodes.len().max(1);
        }
    }

    /// Sends commands of one shard and follows it to the node that has it. A connection that turns out
    /// to be gone is made anew once, where the commands may be sent twice.
    pub(super) fn commands<R: Reply>(
        &mut self,
        shard: u32,
        commands: &[Cmd],
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<Vec<R>, Error> {
        let (mut asking, mut repeat, mut redirects) = (None, repeat, 0);
        let mut passed = Passed::default();
        while redirects < REDIRECTS {
            let Some(index) = asking.or_else(|| self.choice(shard, &passed)) else { break };
            if let Err(error) = self.enter(index, &passed, deadline) {
                self.turn_from(index);
                passed.add(index, Some(error));
                asking = None;
                if Instant::now() >= deadline {
                    break;
                }
                continue;
            }
            let Some(node) = self.nodes.get_mut(index) else { break };
            let sent = if asking.is_some() {
                // Each command of a slot that is on its way has to ask.
                let asked = commands.iter().flat_map(|cmd| [redis::cmd("ASKING"), cmd.clone()]);
                let replies = node.exchange(&asked.collect::<Vec<_>>(), deadline);
                replies.map(|replies| replies.into_iter().skip(1).step_by(2).collect())
            } else {
                node.exchange(commands, deadline)
            };
            let replies: Vec<R> = match sent {
                Ok(replies) => replies,
                Err(fault) if fault.gone && repeat == Repeat::Safe => {
                    repeat = Repeat::Never;
                    continue;
                }
                Err(fault) => {
                    self.turn_from(index);
                    return Err(fault.error);
                }
            };
            if replies.iter().filter_map(R::value).any(is_displaced) {
                // The next try resolves the name anew, or asks another node.
                node.close();
                self.turn_from(index);
                return Ok(replies);
            }
            let Some((moved, host, port)) =
                replies.iter().filter_map(R::value).find_map(redirected)
            else {
                return Ok(replies);
            };
            redirects += 1;
            let host = match (&host, &node.address) {
                // The server does not know what it is called.
                (host, Address::Tcp(known, _)) if host.is_empty() => known.clone(),
                _ => host,
            };
            let target = self.index(Address::Tcp(host, port), &passed);
            if passed.nodes.contains(&target) {
                // It does not know yet that the other one is gone: another node may.
                passed.add(index, None);
                asking = None;
            } else if moved {
                self.routes.insert(shard, target);
                asking = None;
            } else {
                asking = Some(target);
            }
        }
        Err(passed.error.unwrap_or_else(|| {
            let message = "Redis store: the cluster sent a command from node to node without end";
            Error::new(ErrorKind::Unavailable, message)
        }))
    }

    /// Connects and logs in, unless the connection is there. Where others could be asked instead, that
    /// takes half of the time that is left.
    fn enter(&mut self, index: usize, passed: &Passed, deadline: Instant) -> Result<(), Error> {
        let alone = self.nodes.len() <= passed.nodes.len() + 1;
        let Some(node) = self.nodes.get_mut(index) else {
            return Err(Error::new(ErrorKind::Unavailable, "Redis store: there is no such node"));
        };
        if node.is_open() {
            return Ok(());
        }
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        let deadline = if alone { deadline } else { half };
        node.connect(deadline)?;
        if self.login.0.is_empty() {
            return Ok(());
        }
        let replies: Vec<Value> =
            node.exchange(&self.login.0, deadline).map_err(|fault| fault.error)?;
        match replies.iter().find_map(refused) {
            Some(error) => {
                node.close();
                Err(error.context("log in"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn at(port: u16) -> Address {
        Address::Tcp("127.0.0.1".into(), port)
    }

    #[test]
    fn nodes_that_a_cluster_had_once_are_forgotten() {
        let mut nodes = Nodes::new(at(1), Vec::new());
        let mut passed = Passed::default();
        for port in 2..=KEPT as u16 {
            nodes.index(at(port), &passed);
        }
        // In use: by a shard, by an exchange, as the guide.
        let used = [0, 7, 20, 33].map(|index| (index, nodes.nodes[index].address.clone()));
        nodes.routes.insert(1000, 7);
        passed.nodes.push(20);
        nodes.guide = 33;
        for port in 1000..9000 {
            let index = nodes.index(at(port), &passed);
            assert!(nodes.nodes[index].address == at(port) && nodes.nodes.len() == KEPT);
        }
        // All that have shards stay, however many.
        for shard in 0..200 {
            let index = nodes.index(at(20_000 + shard), &passed);
            nodes.routes.insert(u32::from(shard), index);
        }
        for shard in 0..200 {
            let index = nodes.routes[&u32::from(shard)];
            assert_eq!(nodes.nodes[index].address, at(20_000 + shard));
        }
        for (index, address) in used {
            assert_eq!(nodes.nodes[index].address, address);
        }
    }

    #[test]
    fn connections_that_nothing_leads_to_are_closed_before_they_are_too_many() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        let mut nodes = Nodes::new(at(1), Vec::new());
        for host in 1..=200_u8 {
            let address = Address::Tcp(format!("127.0.0.{host}"), port);
            let index = nodes.index(address, &Passed::default());
            if host == 1 {
                nodes.nodes[index].connect(deadline).unwrap();
            }
        }
        assert_eq!(nodes.nodes.len(), KEPT);
        // The one that is open goes last.
        assert!(nodes.nodes[1].is_open());
        nodes.routes.extend((2..KEPT).map(|index| (index as u32, index)));
        assert_eq!(nodes.index(at(2), &Passed::default()), 1);
        assert!(!nodes.nodes[1].is_open());
    }

    #[test]
    fn nodes_of_a_list_are_met_once_for_all_their_ranges() {
        let mut members: Vec<_> = (0..200).map(|n| ("10.0.0.2".to_owned(), n % 2)).collect();
        members.extend((2..1000).map(|n| ("10.0.0.2".to_owned(), n)));
        let mut nodes = Nodes::new(at(1), Vec::new());
        for _ in 0..2 {
            nodes.meet(&members);
            let known: Vec<_> = nodes.nodes.iter().skip(1).map(|node| &node.address).collect();
            let expected: Vec<_> =
                (0..KEPT as u16 - 1).map(|port| Address::Tcp("10.0.0.2".into(), port)).collect();
            assert!(known.into_iter().eq(&expected));
        }
    }
}
