//! Secrets: what a file held reaches the plugin and nobody else.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../core/src/store/testing.rs"]
mod testing;

use std::{
    fmt::{self, Write},
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig},
    },
    model::{Error, ErrorKind},
};
use tallyport_tests::plugin;
use tempfile::TempDir;
use testing::RedisServer;
use tracing::{Event, Metadata, Subscriber, field, span};

/// Keeps the text of every event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut log = self.0.lock().unwrap();
        let mut each = |field: &field::Field, value: &dyn fmt::Debug| {
            writeln!(log, "{field}={value:?}").unwrap();
        };
        event.record(&mut each);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A folder with a secret in a file.
fn secret(content: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, content).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn entry(options: Value) -> PluginConfig {
    PluginConfig {
        path: Some(plugin("tells_its_options.c")),
        options: options.as_object().cloned().unwrap(),
        ..PluginConfig::default()
    }
}

/// What the exporter writes, everything else that anybody was told, and how loading ended.
fn told(folder: &TempDir, options: Value) -> (String, String, Result<Vec<String>, Error>) {
    let log = Log::default();
    let (mut written, mut others) = (String::new(), String::new());
    let done = tracing::subscriber::with_default(log.clone(), || {
        let config = Config { base_dir: folder.path().to_owned(), ..Config::default() };
        let engine = Engine::builder().config(config).build().unwrap();
        let done = engine.load_plugin("teller", &entry(options));
        match &done {
            Ok(_) => {
                written = String::from_utf8(engine.export_to_vec("teller").unwrap()).unwrap();
                let error = engine.export_to_vec("teller").unwrap_err();
                let statistics = engine.plugins().by_name("teller").unwrap().statistics();
                write!(others, "{error}\n{error:?}\n{statistics:?}\n").unwrap();
            }
            Err(error) => write!(others, "{error}\n{error:?}\n").unwrap(),
        }
        done
    });
    others.push_str(&log.0.lock().unwrap());
    (written, others, done)
}

#[test]
fn a_secret_reaches_the_plugin_and_nobody_else() {
    let folder = secret("redis://:correct-horse@h/0\n");
    let options = json!({ "dsn_file": "secret", "password": "battery-staple" });
    let (written, others, done) = told(&folder, options);
    done.unwrap();
    let expected = json!({ "dsn": "redis://:correct-horse@h/0", "password": "battery-staple" });
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
    for secret in ["correct-horse", "battery-staple"] {
        assert!(!others.contains(secret), "{others}");
    }
    // It was said, and masked.
    assert!(others.matches("[FILTERED]").count() >= 6, "{others}");
}

#[test]
fn a_secret_is_not_shown_by_the_debug_form_of_what_has_it() {
    let folder = secret("of-the-file");
    let text = format!(
        "schema = 1\n[plugins.teller]\npath = {:?}\nrequired = true\n\
         [plugins.teller.options]\npassword = \"in-the-text\"\ndsn_file = \"secret\"\n",
        plugin("tells_its_options.c")
    );
    let config = Config::parse(&text, "t.toml", folder.path()).unwrap();
    let mut shown = format!("{config:?}{:?}", config.plugins["teller"]);
    let engine = Engine::builder().config(config.clone());
    shown += &format!("{engine:?}");
    let engine = engine.build().unwrap();
    let written = String::from_utf8(engine.export_to_vec("teller").unwrap()).unwrap();
    assert!(written.contains("in-the-text") && written.contains("of-the-file"), "{written}");
    let loaded = engine.plugins().by_name("teller").unwrap();
    shown += &format!("{engine:?}{:?}{loaded:?}{:?}", engine.plugins(), loaded.info());
    for secret in ["in-the-text", "of-the-file"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    // What is no secret is there, the names of the options too.
    for text in ["t.toml", "tells_its_options", "\"password\"", "dsn_file"] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
}

#[test]
fn a_secret_is_not_shown_by_errors_about_it() {
    let folder = secret("a-secret-of-more-than-forty-characters-altogether");
    let (_, others, done) = told(&folder, json!({ "dsn_file": "secret" }));
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Config);
    assert!(others.contains("plugins.teller.options.dsn"), "{others}");
    assert!(!others.contains("forty-characters"), "{others}");
    let folder = secret("swordfish!");
    let (_, others, done) = told(&folder, json!({ "dsn_file": "secret", "mode": "fail" }));
    assert_eq!(done.unwrap_err().kind(), ErrorKind::PluginFailed);
    assert!(others.contains("[FILTERED]") && !others.contains("swordfish"), "{others}");
}

#[test]
fn a_file_that_everybody_can_read_holds_no_secret() {
    let folder = secret("swordfish?");
    let file = folder.path().join("secret");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let text = format!(
        "schema = 1\n[plugins.teller]\npath = {:?}\nrequired = true\n\
         [plugins.teller.options]\npassword_file = \"secret\"\n",
        plugin("tells_its_options.c")
    );
    let config = |folder: &Path| Config::parse(&text, "t.toml", folder).unwrap();
    let error = Engine::builder().config(config(folder.path())).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let command = format!("`chmod o-rwx {}`", file.display());
    for text in ["t.toml:6:17: `plugins.teller.options.password_file`:", "mode 0644", &command] {
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    Engine::builder().config(config(folder.path())).build().unwrap();
}

#[test]
fn the_password_of_a_store_is_told_to_nobody_and_lies_in_no_arena() {
    let server = RedisServer::start(&[]);
    let user = ["ACL", "SETUSER", "teller", "on", ">battery-staple", "~*", "+@all"];
    assert_eq!(server.command(&user), "+OK\r\n");
    let url = |rest: &str| format!("redis://teller:{rest}");
    let right = url(&format!("battery-staple@127.0.0.1:{}/?a=battery-staple", server.port()));
    let other = right.replace("/?a", "/1?a");
    let wrong = url(&format!("battery-horse@127.0.0.1:{}/", server.port()));
    // Nobody is there.
    let away = url("battery-away@127.0.0.1:1/");
    let folder = tempfile::tempdir().unwrap();
    let arena = folder.path().join("metrics.arena");
    let log = Log::default();
    let mut shown = tracing::subscriber::with_default(log.clone(), || {
        let mut shown = String::new();
        for (url, kind) in [
            (&right, None),
            (&wrong, Some(ErrorKind::Config)),
            (&away, Some(ErrorKind::Io)),
            // The arena was published to the first one.
            (&other, Some(ErrorKind::Conflict)),
        ] {
            let text = format!(
                "schema = 1\n[recording]\nshare = \"file\"\narena = {arena:?}\n\
                 [store]\nkind = \"redis\"\nurl = {url:?}\n"
            );
            let config = Config::parse(&text, "t.toml", folder.path()).unwrap();
            shown += &format!("{config:?}");
            let engine = Engine::builder().config(config);
            shown += &format!("{engine:?}");
            let engine = engine.build().unwrap();
            let done = engine.sync();
            assert_eq!(done.as_ref().err().map(Error::kind), kind, "{done:?}");
            shown += &format!("{done:?}{:?}{engine:?}", engine.sync_status());
            shown += &done.err().map(|error| error.to_string()).unwrap_or_default();
            shown += &format!("{:?}", engine.read_shared().map(drop));
        }
        shown
    });
    shown += &log.0.lock().unwrap();
    // What is no secret is there.
    for text in ["127.0.0.1", "distributed_atomic"] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    assert!(!shown.contains("battery"), "{shown}");
    // The header and all of the heap that is in use: the rest of the file is holes.
    let mut used = Vec::new();
    File::open(arena).unwrap().take(2 << 20).read_to_end(&mut used).unwrap();
    assert!(used[1 << 20..].iter().all(|byte| *byte == 0));
    let found = |text: &[u8]| used.windows(text.len()).any(|window| window == text);
    assert!(found(b"redis://127.0.0.1") && !found(b"battery"));
}
