//! Damaged plugin files: every load returns, and none kills the host, with the probe and no pin.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, fs};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig, ProbeConfig},
    },
    model::ErrorKind,
};
use tallyport_tests::{built, plugin};

fn engine() -> Engine {
    let mut config = Config::default();
    config.loading.probe = ProbeConfig::Always;
    // A damaged file may as well run for ever.
    config.loading.probe_timeout_ms = 5_000;
    config.loading.plugin_host = Some(built("tallyport-plugin-host"));
    Engine::builder().config(config).build().unwrap()
}

/// Loads bytes as a file, exports with it if that works, and says how it ended.
fn load(engine: &Engine, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.so");
    fs::write(&path, bytes).unwrap();
    let entry = PluginConfig { path: Some(path), ..PluginConfig::default() };
    match engine.load_plugin("damaged", &entry) {
        Ok(names) => {
            for name in names {
                engine.plugins().unregister(&name).unwrap();
            }
            "loaded".to_owned()
        }
        Err(error) => {
            let known = [ErrorKind::PluginRefused, ErrorKind::PluginAbi, ErrorKind::PluginFailed];
            let text = error.to_string();
            let create = text.contains("could not be created");
            assert!(known.contains(&error.kind()) || create, "{:?}: {text}", error.kind());
            for how in ["crashed in the probe", "hung in the probe", "ended the process"] {
                if text.contains(how) {
                    return how.to_owned();
                }
            }
            "refused".to_owned()
        }
    }
}

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

#[test]
fn a_plugin_that_is_cut_anywhere_is_refused() {
    let engine = engine();
    let rust = built("libtallyport_builtin_exporters_loadable.so");
    for path in [plugin("good_minimal.c"), plugin("statsd_lines.cpp"), rust] {
        let good = fs::read(&path).unwrap();
        // The Rust file has many megabytes of debug information: there, some of the cuts.
        let cuts = good.len() / 512;
        for cut in (0..=cuts).step_by(1 + cuts / 1000 * 20) {
            let how = load(&engine, &good[..(cut * 512).min(good.len() - 1)]);
            assert_eq!(how, "refused", "{} cut at {}", path.display(), cut * 512);
        }
    }
}

#[test]
fn a_plugin_that_is_damaged_anywhere_harms_nobody() {
    let count = std::env::var("TALLYPORT_CORRUPTIONS").map_or(200, |text| text.parse().unwrap());
    let seed = std::env::var("TALLYPORT_SEED").map_or(4, |text| text.parse::<u64>().unwrap());
    let engine = engine();
    let files = [plugin("good_minimal.c"), plugin("statsd_lines.c")];
    let files = files.map(|path| fs::read(path).unwrap());
    let mut ends = BTreeMap::<String, usize>::new();
    for round in 0..count {
        // A round stands by itself, so that one can be run again.
        let mut random = Random((seed << 32 | round) * 2 + 1);
        let mut bytes = files[random.below(2)].clone();
        // What is mapped is in the first half. Most of it is padding: there, nothing is damaged.
        let mut start = random.below(bytes.len() / 2);
        while bytes[start] == 0 {
            start = random.below(bytes.len() / 2);
        }
        let run = 1 + random.below(3);
        for byte in &mut bytes[start..start + run] {
            *byte ^= 1 + random.below(255) as u8;
        }
        // Seen when the test program dies: which one it was.
        println!("seed {seed} round {round}: {run} bytes at {start:#x}");
        *ends.entry(load(&engine, &bytes)).or_default() += 1;
    }
    println!("{ends:?}");
    assert!(ends.contains_key("refused") && ends.contains_key("loaded"), "{ends:?}");
    // The host still does what it is there for.
    let entry = PluginConfig { path: Some(plugin("good_minimal.c")), ..PluginConfig::default() };
    engine.load_plugin("good", &entry).unwrap();
    assert_eq!(engine.export_to_vec("good").unwrap(), b"good\n");
}
