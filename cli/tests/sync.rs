//! `tallyport sync`: the real command publishes an arena file to a real store.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // as tests

mod common;

use std::{fs, path::Path};

use common::{Place, Run};
use tallyport_core::engine::{
    Engine,
    config::{Config, ShareConfig},
};

fn config(place: &Place, text: &str) -> String {
    let path = place.write("tallyport.toml", format!("schema = 1\n{text}"));
    path.to_str().unwrap().to_owned()
}

fn call(place: &Place, args: &[&str]) -> Run {
    Run::of(place.command(args).output().unwrap())
}

const SQLITE: &str = "[store]\nkind = 'sqlite'\npath = 'store.db'\n";

fn engine(arena: &Path) -> Engine {
    let mut config = Config::default();
    config.recording.share = ShareConfig::File;
    config.recording.arena = Some(arena.to_owned());
    Engine::builder().config(config).build().unwrap()
}

fn add(engine: &Engine, amount: u64) {
    engine.metrics().counter("requests", &[]).unwrap().add(amount);
}

#[test]
fn an_arena_is_published_while_it_is_used_and_after_its_processes_ended() {
    let place = Place::new();
    let (arena, config) = (place.path("metrics.arena"), config(&place, SQLITE));
    let name = arena.to_str().unwrap();
    let shared = || {
        let run =
            call(&place, &["export", "--shared", "--config", &*config, "--format", "prometheus"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stdout
    };
    let host = engine(&arena);
    add(&host, 5);
    let run = call(&place, &["sync", "--arena", name, "--config", &config, "--report", "json"]);
    assert_eq!((run.code, &*run.stderr), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&json["schema"], &json["series"]), (&"tallyport.sync/1".into(), &1.into()));
    assert!(json["skipped_for"].is_null() && json["bytes"].as_u64().unwrap() > 0);
    assert!(shared().contains("requests 5\n"));
    add(&host, 2);
    drop(host);
    for _ in 0..2 {
        let run = call(&place, &["sync", "--arena", name, "--config", &config, "--report", "text"]);
        assert_eq!(run.code, Some(0));
        assert!(run.stderr.contains("published"), "{}", run.stderr);
        assert!(shared().contains("requests 7\n"));
    }
    // And by the file that the configuration names.
    let host = engine(&arena);
    add(&host, 1);
    let text = format!("{SQLITE}[recording]\nshare = 'file'\narena = {arena:?}\n");
    let named = place.write("named.toml", format!("schema = 1\n{text}"));
    let run = call(&place, &["sync", "--config", named.to_str().unwrap()]);
    assert_eq!((run.code, &*run.stdout, &*run.stderr), (Some(0), "", ""));
    assert!(shared().contains("requests 8\n"));
}

#[test]
fn without_an_arena_it_says_that_hosts_sync_themselves() {
    let place = Place::new();
    let config = config(&place, SQLITE);
    let run = call(&place, &["sync", "--config", &config]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("hosts without one sync themselves"), "{}", run.stderr);
    assert!(run.stderr.contains("--arena FILE"), "{}", run.stderr);
}

#[test]
fn what_is_no_arena_and_what_has_no_store_is_refused() {
    let place = Place::new();
    let sqlite = config(&place, SQLITE);
    let missing = place.path("missing.arena");
    let run = call(&place, &["sync", "--arena", missing.to_str().unwrap(), "--config", &sqlite]);
    assert_eq!(run.code, Some(7), "{}", run.stderr);
    assert!(!missing.exists());
    let other = place.write("other.arena", "no arena");
    let run = call(&place, &["sync", "--arena", other.to_str().unwrap(), "--config", &sqlite]);
    assert_eq!(run.code, Some(7), "{}", run.stderr);
    assert_eq!(fs::read_to_string(&other).unwrap(), "no arena");
    let arena = place.path("metrics.arena");
    add(&engine(&arena), 1);
    let none = config(&place, "");
    let run = call(&place, &["sync", "--arena", arena.to_str().unwrap(), "--config", &none]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("no store"), "{}", run.stderr);
    // A store that is not there: later, perhaps.
    let gone = config(&place, "[store]\nkind = 'redis'\nurl = 'redis://127.0.0.1:1/'\n");
    let run = call(&place, &["sync", "--arena", arena.to_str().unwrap(), "--config", &gone]);
    assert_eq!(run.code, Some(5), "{}", run.stderr);
}

#[test]
fn another_process_s_turn_is_success_unless_it_is_asked_about() {
    use std::os::unix::fs::FileExt;
    let place = Place::new();
    let (arena, config) = (place.path("metrics.arena"), config(&place, SQLITE));
    let name = arena.to_str().unwrap();
    let host = engine(&arena);
    add(&host, 5);
    // The turn is this process's, as if it were in the middle of a sync: a word of the header.
    let file = fs::OpenOptions::new().write(true).open(&arena).unwrap();
    let me = u64::from(std::process::id());
    file.write_all_at(&me.to_le_bytes(), 120 * 8).unwrap();
    let run = call(&place, &["sync", "--arena", name, "--config", &config, "--report", "json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["skipped_for"], me);
    let run = call(&place, &["sync", "--arena", name, "--config", &config, "--fail-on-skip"]);
    assert_eq!(run.code, Some(6));
    assert!(run.stderr.contains("was publishing"), "{}", run.stderr);
    // One that ended had it.
    file.write_all_at(&u64::from(u32::MAX).to_le_bytes(), 120 * 8).unwrap();
    let run = call(&place, &["sync", "--arena", name, "--config", &config, "--fail-on-skip"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}
