//! `tallyport status`: of arenas and stores as they are.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by panicking

mod common;

use common::Place;
use tallyport_core::engine::{
    Engine,
    config::{Config, ShareConfig},
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
