//! The growth rule: which versions of the ABI talk to each other.
//!
//! While the major is 0, another minor is another ABI. From 1.0 on a minor appends only, and each
//! side reads up to the smaller `struct_size`, so every minor of one major serves. The loader asks
//! here with [`Abi::OURS`]; the tests below also ask as hosts of a major that does not exist yet.

use std::fmt;

use tallyport_plugin_api::abi::{TALLYPORT_PLUGIN_ABI, serves};

/// A version of the plugin ABI: `major << 16 | minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abi(pub(super) u32);

impl Abi {
    /// What this host speaks.
    pub(super) const OURS: Self = Self(TALLYPORT_PLUGIN_ABI);

    /// Whether a host of this version can use what was built for `plugin`.
    pub(super) fn serves(self, plugin: Self) -> bool {
        serves(self.0, plugin.0)
    }
}

impl From<(u32, u32)> for Abi {
    fn from((major, minor): (u32, u32)) -> Self {
        Self(major << 16 | minor)
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command, sync::Arc};

    use super::*;
    use crate::{
        engine::Engine,
        model::{Error, ErrorKind},
        plugin::{
            load::{LoadedFile, load_for},
            run::{Export, Limits, Runtime, Source, Wanted},
            table::Table,
        },
    };

    const V1_3: Abi = Abi(1 << 16 | 3);

    /// Compiles `tests/plugins/versions.c` as a plugin of `major.minor` and loads it.
    ///
    /// `shape` is one of its macros: SHORTER, SAME or LONGER tables than this build's.
    fn load(folder: &Path, abi: (u32, u32), shape: &str, host: Abi) -> Result<LoadedFile, Error> {
        let (major, minor) = abi;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let library = folder.join(format!("{shape}-{major}.{minor}.so"));
        let compiled = Command::new("gcc")
            .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"])
            .args(["-fvisibility=hidden", "-Wl,-Bsymbolic,-z,now,-z,nodelete"])
            .args([format!("-DMAJOR={major}u"), format!("-DMINOR={minor}u"), format!("-D{shape}")])
            .arg("-I")
            .arg(root.join("include"))
            .arg(root.join("tests/plugins/versions.c"))
            .arg("-o")
            .arg(&library)
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        load_for(&library, host)
    }

    fn exports(file: &LoadedFile) -> Vec<String> {
        let snapshot = Engine::builder().build().unwrap().snapshot().unwrap();
        let export = Export { snapshot: &snapshot, format: "versions" };
        let (limits, runtime) = (Limits::default(), Runtime::default());
        let zombies = &runtime.zombies;
        let options = &"".into();
        let wanted = Wanted { name: "versions", options, limits: &limits, zombies };
        let text = |table: &Arc<Table>| {
            let exporter = Arc::clone(table).start(&wanted).unwrap();
            let mut bytes = Vec::new();
            let mut out = |more: &[u8]| {
                bytes.extend_from_slice(more);
                Ok(())
            };
            let _ = exporter.export(&export, &mut out).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        file.tables.iter().map(text).collect()
    }

    #[test]
    fn minors_of_major_1_serve_each_other_with_shorter_and_longer_tables() {
        let folder = tempfile::tempdir().unwrap();
        for (abi, shape) in
            [((1, 0), "SHORTER"), ((1, 3), "SAME"), ((1, 4), "LONGER"), ((1, 65_535), "LONGER")]
        {
            let file = load(folder.path(), abi, shape, V1_3).unwrap();
            assert_eq!(file.info.abi, abi);
            // Two exporters each, so the stride is the plugin's own.
            assert_eq!(exports(&file), ["first: host 1.3\n", "second: host 1.3\n"], "{shape}");
            let after = &file.tables[1].raw;
            assert_eq!(
                after.after_fork_child.is_some(),
                shape != "SHORTER",
                "past its end: {shape}"
            );
        }
    }

    #[test]
    fn a_lifecycle_table_of_an_older_plugin_has_no_on_sync() {
        let folder = tempfile::tempdir().unwrap();
        for (shape, hears) in [("OLD_EXTENSION", false), ("SAME", true), ("LONGER", true)] {
            let file = load(folder.path(), (1, 3), shape, V1_3).unwrap();
            for table in &file.tables {
                let lifecycle = table.lifecycle().unwrap();
                assert_eq!(lifecycle.on_sync.is_some(), hears, "{shape}");
                assert_eq!(table.hears_syncs(), hears, "{shape}");
            }
            assert_eq!(exports(&file), ["first: host 1.3\n", "second: host 1.3\n"], "{shape}");
        }
    }

    #[test]
    fn with_major_0_another_minor_is_refused_whatever_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let host = Abi(3);
        for (minor, shape) in [(2, "SHORTER"), (2, "SAME"), (4, "SAME"), (4, "LONGER")] {
            let error = load(folder.path(), (0, minor), shape, host).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PluginAbi);
            let text = error.to_string();
            assert!(text.contains(&format!("built for plugin ABI 0.{minor}; ")), "{text}");
            assert!(text.contains("this host speaks 0.3"), "{text}");
        }
        assert_eq!(exports(&load(folder.path(), (0, 3), "LONGER", host).unwrap()).len(), 2);
    }

    #[test]
    fn another_major_is_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let ours = format!("speaks {}", Abi::OURS);
        for (plugin, host, says) in [
            ((2, 3), V1_3, ["ABI 2.3;", "speaks 1.3"]),
            ((0, 3), V1_3, ["ABI 0.3;", "speaks 1.3"]),
            ((9, 0), Abi::OURS, ["ABI 9.0;", &ours]),
        ] {
            let error = load(folder.path(), plugin, "SAME", host).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PluginAbi);
            for text in says {
                assert!(error.to_string().contains(text), "{text} is not in: {error}");
            }
        }
    }

    #[test]
    fn a_table_of_another_major_than_its_file_is_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path(), (1, 3), "TABLE_OF_2", V1_3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PluginAbi);
        assert!(error.to_string().contains("ABI 2.0; this host speaks 1.3"), "{error}");
    }
}
