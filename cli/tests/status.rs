//! `tallyport status`: of arenas and stores as they are.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test fails by panicking

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::Place;
use serde_json::Value;
use tallyport_builtin_exporters::EXPORTERS;
use tallyport_core::{
    engine::{
        Engine, RunOptions,
        config::{Config, ShareConfig},
    },
    store::{Claim, Held, Leases, Owner, SqliteStore, Wish},
};

#[test]
fn an_arena_says_who_has_it_and_what_is_in_it() {
    let place = Place::new();
    let mut config = Config::default();
    config.recording.share = ShareConfig::File;
    config.recording.arena = Some(place.path("metrics.arena"));
    let engine = Engine::builder().config(config).build().unwrap();
    engine.metrics().counter("a_total", &[]).unwrap().inc();
    let text = place.run("status --arena metrics.arena").exits(0).silent().stdout;
    assert!(text.contains("1 process\n") && text.contains("none\n"), "{text}");
    let path = place.path("metrics.arena");
    place.write(
        "tallyport.toml",
        format!(
            "schema = 1\nservice_name = 'shop'\n[recording]\nshare = 'file'\narena = '{}'\n",
            path.display()
        ),
    );
    let run = place.run("status --config tallyport.toml --report json").exits(0).silent();
    let json = run.json();
    assert_eq!(
        (&json["schema"], &json["service_name"]),
        (&"tallyport.status/1".into(), &"shop".into())
    );
    assert_eq!(json["arena"]["state"]["processes"][0], std::process::id());
    assert_eq!(json["arena"]["state"]["series"], engine.metrics().series_count());
    assert_eq!(json["store"]["strategy"], "local_only");
    drop(engine);
    let text = place.run("status --config tallyport.toml").exits(0).stdout;
    assert!(text.contains("nobody\n") && text.contains("shop\n"), "{text}");
}

#[test]
fn a_store_says_who_shares_and_nobody_is_retired_by_looking() {
    let place = Place::new();
    place.write(
        "tallyport.toml",
        "schema = 1\n[store]\nkind = 'sqlite'\npath = 'store.db'\n[sync]\nlease_ms = 1500\n\
         interval_ms = 500\n",
    );
    // Looking makes no store.
    let run = place.run("status --config tallyport.toml").exits(7).says(&["store.db"]);
    assert!(run.stdout.contains("distributed_atomic") && run.stdout.contains("No such file"));
    assert!(!place.path("store.db").exists());
    let mut config = Config::load(place.path("tallyport.toml")).unwrap();
    config.sync.instance = Some("web-1".into());
    let engine = Engine::builder().config(config).build().unwrap();
    engine.metrics().counter("a_total", &[]).unwrap().inc();
    engine.sync().unwrap();
    let look = || place.run("status --config tallyport.toml --report json").exits(0).json();
    // Its lease ends, and looking again and again retires nobody.
    loop {
        let instances = look()["store"]["instances"].clone();
        assert_eq!(instances.as_array().unwrap().len(), 1, "{instances}");
        if instances[0]["alive"] == false {
            break;
        }
    }
    let json = look();
    let instance = &json["store"]["instances"][0];
    assert_eq!(instance["name"], "web-1");
    assert!(instance["series"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(
        (&json["store"]["strategy"], &json["store"]["probed"]),
        (&"distributed_atomic".into(), &true.into())
    );
    let text = place.run("status --config tallyport.toml").exits(0).stdout;
    assert!(text.contains("web-1 (") && text.contains("to be retired"), "{text}");
}

#[test]
fn targets_say_who_has_the_lease_and_what_the_last_run_did() {
    let place = Place::new();
    let toml = "schema = 1\n[store]\nkind = 'sqlite'\npath = 'store.db'\n[sync]\ninstance = 'web-1'\n\
                [targets.file]\nexporter = 'prometheus'\npath = 'out.prom'\ninterval_ms = 240000\n\
                [targets.bad]\nexporter = 'csv'\npath = 'absent/out.csv'\nstrategy = 'event'\n\
                event = 'shop.closed'\nenabled = false\n\
                [targets.own]\nexporter = 'csv'\npath = 'own.csv'\ndata = 'own'\n\
                [targets.push]\nexporter = 'csv'\ndestination = 'http'\n\
                [targets.push.http]\nurl = 'http://u:geheim@127.0.0.1:1/x?token=geheim'\n";
    place.write("tallyport.toml", toml);
    let look = || place.run("status --config tallyport.toml --report json").exits(0).json();
    // Nothing is there yet: what is configured is told, and no store is made.
    let run = place.run("status --config tallyport.toml").exits(7);
    assert!(run.stdout.contains("file: prometheus to file") && run.stdout.contains("not asked"));
    assert!(!place.path("store.db").exists());
    let config = Config::load(place.path("tallyport.toml")).unwrap();
    let engine = Engine::builder().config(config).linked(&EXPORTERS).build().unwrap();
    engine.metrics().counter("a_total", &[]).unwrap().inc();
    engine.sync().unwrap();
    let text = place.run("status --config tallyport.toml").exits(0).silent().stdout;
    assert!(text.contains("nobody has had it") && text.contains("none is known"), "{text}");

    let run = engine.export_target("file", &RunOptions::default()).unwrap();
    let _ = engine.export_target("bad", &RunOptions::default()).unwrap();
    // Another process has the lease of the push.
    let mut store = SqliteStore::open(&place.path("store.db"), Duration::from_secs(5)).unwrap();
    let (lease, owner, term) = ("export:push", Owner(7), Duration::from_secs(600));
    let claim = store.acquire(&Wish { lease, owner, holder: "web-2:9", term }).unwrap();
    let Claim::Granted(token) = claim else { panic!("{claim:?}") };
    let json = look();
    let target = |name: &str| {
        let targets = json["targets"].as_array().unwrap();
        targets.iter().find(|target| target["name"] == name).unwrap().clone()
    };
    let file = target("file");
    assert_eq!((&file["fencing"], &file["interval_ms"]), (&"fenced".into(), &240_000.into()));
    assert!(file["place"].as_str().unwrap().ends_with("/out.prom"), "{file}");
    assert_eq!(file["lease"]["token"], run.token.unwrap().0);
    assert_eq!((&file["lease"]["holder"], &file["next_run_ns"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&file["last_run"]["by"], &file["last_run"]["ending"]),
        (&"web-1".into(), &"delivered".into())
    );
    assert_eq!(file["last_run"]["export_id"], run.export_id.as_str());
    assert_eq!(file["last_success_ns"], file["last_run"]["ended_ns"]);
    let bad = target("bad");
    assert_eq!((&bad["enabled"], &bad["strategy"]), (&false.into(), &"event".into()));
    assert_eq!(
        (&bad["last_run"]["ending"], &bad["last_run"]["retryable"]),
        (&"failed".into(), &false.into())
    );
    assert_eq!(bad["last_success_ns"], Value::Null);
    let own = target("own");
    assert_eq!(
        (&own["fencing"], &own["lease"], &own["last_run"]),
        (&"none".into(), &Value::Null, &Value::Null)
    );
    let push = target("push");
    assert_eq!(
        (&push["fencing"], &push["place"]),
        (&"advisory".into(), &"http://127.0.0.1:1/x".into())
    );
    assert_eq!(
        (&push["lease"]["holder"], &push["lease"]["token"]),
        (&"web-2:9".into(), &token.0.into())
    );
    let left = push["lease"]["expires_ns"].as_u64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert!(left > now && left <= now + 600_000_000_000, "{push}");

    let text = place.run("status --config tallyport.toml").exits(0).silent().stdout;
    for said in [
        "file: prometheus to file `",
        "scheduled every 4 min",
        "fenced; nobody has it (token ",
        " ago by web-1: ",
        "bad: csv to file `",
        "event, disabled",
        "No such file or directory",
        "(for good)",
        "advisory; web-2:9 has it for 9 min (token ",
        "none: each process exports what it recorded",
    ] {
        assert!(text.contains(said), "no {said:?} in\n{text}");
    }
    assert!(!text.contains("geheim") && !json.to_string().contains("geheim"), "{text}");
    // It only looked: who holds the lease still does.
    let held = Held { lease, owner, token };
    assert!(store.renew(&held, term).unwrap());
}

#[test]
fn of_hosts_that_share_an_arena_the_metrics_say_when_they_exported() {
    let place = Place::new();
    let arena = place.path("metrics.arena");
    place.write(
        "tallyport.toml",
        format!(
            "schema = 1\n[recording]\nshare = 'file'\narena = '{}'\n[targets.file]\n\
             exporter = 'prometheus'\npath = 'out.prom'\n",
            arena.display()
        ),
    );
    let config = Config::load(place.path("tallyport.toml")).unwrap();
    let engine = Engine::builder().config(config).linked(&EXPORTERS).build().unwrap();
    let look = || place.run("status --config tallyport.toml --report json").exits(0).json();
    assert_eq!(look()["targets"][0]["last_success_ns"], Value::Null);
    let run = engine.export_target("file", &RunOptions::default()).unwrap();
    let json = look();
    let at = json["targets"][0]["last_success_ns"].as_u64().unwrap();
    assert!(at >= run.started_ns - 1_000_000_000, "{json}");
    assert_eq!(json["targets"][0]["last_run"], Value::Null);
    let text = place.run("status --config tallyport.toml").exits(0).stdout;
    assert!(text.contains("delivered ") && text.contains(" ago\n"), "{text}");
}

#[test]
fn what_cannot_be_read_is_reported_and_ends_with_7() {
    let place = Place::new();
    place.run("status").fails(2, &["--config FILE", "--arena FILE"]);
    place.run("status --config absent.toml").fails(3, &["absent.toml"]);
    let run =
        place.run("status --arena absent.arena --report json").exits(7).says(&["absent.arena"]);
    assert!(run.json()["arena"]["error"].as_str().unwrap().contains("absent.arena"));
    place.write("damaged.arena", vec![0; 100_000]);
    let run = place.run("status --arena damaged.arena").exits(7);
    assert!(run.stdout.contains("error"), "{run:?}");
    place.write(
        "redis.toml",
        "schema = 1\n[store]\nkind = 'redis'\nurl = 'redis://127.0.0.1:1/'\ndeadline_ms = 500\n",
    );
    let run = place.run("status --config redis.toml --report json").exits(7);
    assert!(run.json()["store"]["error"].as_str().unwrap().contains("127.0.0.1:1"), "{run:?}");
}
