//! The configuration: one TOML file, or the same types filled in by code.
//!
//! Every error of a file is reported at once, with line, column, key and the nearest known name.
//! The keys, their defaults and their descriptions are in `types.rs` alone: the JSON Schema that
//! [`Config::json_schema`] prints, and that files are checked against, is derived from it. Nothing
//! here opens a plugin or knows what its options mean.
//!
//! A file, with its comments:
//!
//! ```toml
#![doc = include_str!("example.toml")]
//! ```
//!
//! The way of a file: text → `model/document.rs` (TOML with positions → JSON) →
//! [`Schema`](crate::model::schema::Schema) and `rules.rs` (what a schema cannot say) →
//! [`Config`], or [`ConfigErrors`].

mod isolation;
mod read;
mod rules;
mod run;
mod serve;
mod share;
mod targets;
#[cfg(test)]
mod tests;
mod types;

pub(super) use self::targets::{is_http, mode_of};
pub use self::{
    isolation::{HelperConfig, IsolationConfig},
    read::Source,
    run::RunConfig,
    serve::{AuthConfig, ServeConfig, ServedConfig},
    share::{
        CoordinationConfig, GaugeModeConfig, StoreConfig, StoreKind, StrategyConfig, SyncConfig,
    },
    targets::{
        ExportConfig, HttpConfig, HttpMethodConfig, TargetConfig, TargetData, TargetDestination,
        TargetStrategy, WithoutLease,
    },
    types::{
        CellsConfig, Config, ConfigVersion, HistogramConfig, LibraryConfig, Limits, LoadingConfig,
        LogConfig, LogLevel, MAX_SERIES, PluginConfig, ProbeConfig, RecordingConfig, ShareConfig,
    },
};
pub use crate::model::problems::{ConfigErrors, Problem};
