//! Leases: one holder, tokens that only grow, and what a store forgets is held by nobody.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tallyport_core::{
    model::ErrorKind,
    store::{Claim, FencingToken, Held, Leases, Locking, MemoryStore, Owner, Store, Wish},
};

use crate::{
    agree::on_every_store,
    instances::{Instance, named, redis},
    testing::RedisServer,
};

const LONG: Duration = Duration::from_secs(3600);

fn wish(owner: u128, term: Duration) -> Wish<'static> {
    Wish { lease: "export:main", owner: Owner(owner), holder: "web:7", term }
}

fn held(owner: u128, token: FencingToken) -> Held<'static> {
    Held { lease: "export:main", owner: Owner(owner), token }
}

fn granted(store: &mut dyn Store, owner: u128, term: Duration) -> FencingToken {
    match store.acquire(&wish(owner, term)).unwrap() {
        Claim::Granted(token) => token,
        taken => panic!("{taken:?}"),
    }
}

#[test]
fn a_lease_has_one_holder_and_each_grant_a_higher_token() {
    on_every_store(|kind, open| {
        let (mut a, mut b) = (open(), open());
        // What may be evicted may be granted twice.
        let items = ["memcached", "the host's own"].contains(&kind);
        let locking = if items { Locking::Unfenced } else { Locking::Fenced };
        assert_eq!(a.locking(), locking, "{kind}");
        assert_eq!(a.standing("export:main").unwrap(), Default::default(), "{kind}");
        let first = granted(&mut *a, 1, LONG);
        // The answer may have been lost: asking again changes nothing.
        assert_eq!(granted(&mut *a, 1, LONG), first, "{kind}");
        let Claim::Taken { holder, left } = b.acquire(&wish(2, LONG)).unwrap() else {
            panic!("{kind}: two holders");
        };
        assert_eq!(holder, "web:7", "{kind}");
        assert!(left > LONG / 2 && left <= LONG, "{kind}: {left:?}");
        let standing = b.standing("export:main").unwrap();
        assert_eq!(standing.token, Some(first), "{kind}");
        assert_eq!(standing.holder.unwrap().0, "web:7", "{kind}");

        // Neither another owner nor another token renews or releases.
        for wrong in [held(2, first), held(1, FencingToken(first.0 - 1))] {
            assert!(!b.renew(&wrong, LONG).unwrap(), "{kind}");
            assert!(!b.release(&wrong).unwrap(), "{kind}");
        }
        assert!(a.renew(&held(1, first), LONG).unwrap(), "{kind}");
        // Leases of other names are others.
        let other = Wish { lease: "export:other", ..wish(2, LONG) };
        assert!(matches!(b.acquire(&other).unwrap(), Claim::Granted(_)), "{kind}");

        assert!(a.release(&held(1, first)).unwrap(), "{kind}");
        assert!(!a.release(&held(1, first)).unwrap(), "{kind}");
        assert!(!a.renew(&held(1, first), LONG).unwrap(), "{kind}");
        let standing = b.standing("export:main").unwrap();
        assert_eq!((standing.token, standing.holder), (Some(first), None), "{kind}");
        let second = granted(&mut *b, 2, LONG);
        assert!(second > first, "{kind}: {second} after {first}");
    });
}

#[test]
fn what_is_noted_beside_a_lease_is_there_for_all_and_outlives_its_holders() {
    on_every_store(|kind, open| {
        let (mut a, mut b) = (open(), open());
        assert_eq!(b.noted("export:noted").unwrap(), None, "{kind}");
        // A lease that nobody had yet, too.
        for text in ["first", "größer \"than\"\nbefore", ""] {
            a.note("export:noted", text).unwrap();
            assert_eq!(b.noted("export:noted").unwrap().as_deref(), Some(text), "{kind}");
        }
        a.note("export:noted", "last").unwrap();
        let noted = Wish { lease: "export:noted", ..wish(1, LONG) };
        let Claim::Granted(token) = a.acquire(&noted).unwrap() else { panic!("{kind}") };
        let held = Held { lease: "export:noted", ..held(1, token) };
        assert!(a.renew(&held, LONG).unwrap() && b.release(&held).unwrap(), "{kind}");
        let Claim::Granted(next) = b.acquire(&noted).unwrap() else { panic!("{kind}") };
        assert!(next > token, "{kind}: a note is no grant");
        assert_eq!(b.noted("export:noted").unwrap().as_deref(), Some("last"), "{kind}");
        assert_eq!(b.noted("export:another").unwrap(), None, "{kind}");
    });
}

#[test]
fn a_lease_whose_term_ended_is_lost_although_nobody_took_it() {
    on_every_store(|kind, open| {
        let mut store = open();
        let first = granted(&mut *store, 1, Duration::ZERO);
        assert!(!store.renew(&held(1, first), LONG).unwrap(), "{kind}");
        assert!(!store.release(&held(1, first)).unwrap(), "{kind}");
        assert_eq!(store.standing("export:main").unwrap().holder, None, "{kind}");
        // The same owner too gets a new grant.
        let again = granted(&mut *store, 1, LONG);
        assert!(again > first, "{kind}");
    });
}

/// What one of three owners does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Acquire(u128, bool),
    Renew(u128, bool),
    Release(u128),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let owner = 0_u128..3;
    let act = prop_oneof![
        (owner.clone(), any::<bool>()).prop_map(|(owner, ends)| Act::Acquire(owner, ends)),
        (owner.clone(), any::<bool>()).prop_map(|(owner, ends)| Act::Renew(owner, ends)),
        owner.prop_map(Act::Release),
    ];
    prop::collection::vec(act, 1..30)
}

/// What an act answered: whether it was granted or done, and whether the token is the one before.
fn answer(store: &mut dyn Store, tokens: &mut [FencingToken; 3], act: Act) -> (bool, bool) {
    let term = |ends| if ends { Duration::ZERO } else { LONG };
    let newest = *tokens.iter().max().unwrap();
    match act {
        Act::Acquire(owner, ends) => match store.acquire(&wish(owner, term(ends))).unwrap() {
            Claim::Granted(token) => {
                assert!(token >= newest, "{token} after {newest}");
                let known = tokens[owner as usize] == token;
                assert!(known || token > newest, "a token twice: {token}");
                tokens[owner as usize] = token;
                (true, known)
            }
            Claim::Taken { .. } => (false, false),
        },
        Act::Renew(owner, ends) => {
            let held = held(owner, tokens[owner as usize]);
            (store.renew(&held, term(ends)).unwrap(), false)
        }
        Act::Release(owner) => {
            (store.release(&held(owner, tokens[owner as usize])).unwrap(), false)
        }
    }
}

#[test]
fn every_store_answers_any_schedule_as_the_one_in_memory_does() {
    on_every_store(|kind, open| {
        let mut runner =
            TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(12) });
        let done = runner.run(&acts(), |acts| {
            let mut real = open();
            // The lease of an earlier case may still be held: it ends here.
            let mut tokens = [FencingToken(0); 3];
            let standing = real.standing("export:main").unwrap();
            for owner in 0..3 {
                let token = standing.token.unwrap_or(FencingToken(0));
                real.release(&held(owner, token)).unwrap();
            }
            let (mut memory, mut others) = (MemoryStore::default(), [FencingToken(0); 3]);
            for act in acts {
                let expected = answer(&mut memory, &mut others, act);
                prop_assert_eq!(
                    answer(&mut *real, &mut tokens, act),
                    expected,
                    "{} {:?}",
                    kind,
                    act
                );
            }
            Ok(())
        });
        done.unwrap();
    });
}

#[test]
fn a_lease_that_redis_lost_is_held_by_nobody() {
    let server = RedisServer::start(&[]);
    let mut a = redis(&server, "shared");
    let key = "{tallyport:shared:0}:lease:export:main";
    let first = granted(&mut a, 1, LONG);
    assert_eq!(server.command(&["DEL", key]), ":1\r\n");
    assert!(!a.renew(&held(1, first), LONG).unwrap());
    assert!(!a.release(&held(1, first)).unwrap());
    // The clock stands in for the token that is gone.
    let second = granted(&mut a, 2, LONG);
    assert!(second > first, "{second} after {first}");

    // Only the owner, without its token: fails closed too.
    server.command(&["HDEL", key, "t"]);
    assert!(!a.renew(&held(2, second), LONG).unwrap());
    server.command(&["HSET", key, "t", "rubbish"]);
    assert_eq!(a.renew(&held(2, second), LONG).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(a.acquire(&wish(3, LONG)).unwrap_err().kind(), ErrorKind::Conflict);
    server.command(&["SET", key, "of somebody else"]);
    assert_eq!(a.acquire(&wish(3, LONG)).unwrap_err().kind(), ErrorKind::Conflict);

    // A token ahead of the clock is exceeded all the same.
    server.command(&["DEL", key]);
    server.command(&["HSET", key, "t", "9000000000000"]);
    assert_eq!(granted(&mut a, 3, LONG), FencingToken(9_000_000_000_001));
}

#[test]
fn an_extension_keeps_what_redis_would_forget_and_renews_no_instance() {
    let server = RedisServer::start(&[]);
    let mut a = Instance::new(Box::new(redis(&server, "shared")), named("a"));
    a.add("requests", "/", 1);
    a.sync();
    let mut store = redis(&server, "shared");
    let id = a.session.identity();
    let shard = id.shard(store.shards());
    let key = |name: &str| format!("{{tallyport:shared:{shard}}}:{name}");
    let left = |name: &str| -> u64 {
        let reply = server.command(&["PTTL", &key(name)]);
        reply.trim_matches([':', '\r', '\n']).parse().unwrap()
    };
    let record = format!("i:{id}");
    let lease = server.command(&["HGET", &key(&record), "l"]);
    let before = (left(&record), left("total"));
    // Shorter than what is left: nothing changes.
    store.extend(Duration::from_secs(1)).unwrap();
    assert!(left(&record) > before.0 - 60_000);
    let week = 7 * 86_400_000;
    store.extend(Duration::from_millis(week)).unwrap();
    assert!(left(&record) > week - 60_000 && left(&record) <= week);
    assert!(left("total") > before.1);
    assert_eq!(server.command(&["HGET", &key(&record), "l"]), lease);
}
