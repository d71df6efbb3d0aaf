//! The keys `isolation` and `[plugins.NAME.helper]`.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PluginConfig;
use crate::{
    model::schema::{KeyPath, Violation, ViolationKind},
    plugin::HelperLimits,
};

/// Less does not even hold the helper program and a small plugin.
const MIN_ADDRESS_SPACE: u64 = 64 << 20;
const MAX_ADDRESS_SPACE: u64 = 1 << 47;
const MAX_CPU_SECONDS: u64 = 86_400;
const MIN_OPEN_FILES: u64 = 16;
const MAX_OPEN_FILES: u64 = 1 << 20;

/// Where an exporter's code runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IsolationConfig {
    /// In the host's own process.
    #[default]
    None,
    /// In a helper process: what crashes, hangs or exits there costs one export.
    Process,
}

/// What the helper process of an exporter may use. Absent: what the host may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HelperConfig {
    /// Bytes of address space: of code, stacks, all that is allocated, and the snapshot.
    #[schemars(range(min = MIN_ADDRESS_SPACE, max = MAX_ADDRESS_SPACE))]
    pub address_space_bytes: Option<u64>,
    /// Seconds of CPU time of one call.
    #[schemars(range(min = 1, max = MAX_CPU_SECONDS))]
    pub cpu_seconds: Option<u64>,
    /// Descriptors that are open at the same time.
    #[schemars(range(min = MIN_OPEN_FILES, max = MAX_OPEN_FILES))]
    pub open_files: Option<u64>,
}

impl From<&HelperConfig> for HelperLimits {
    fn from(helper: &HelperConfig) -> Self {
        let &HelperConfig { address_space_bytes, cpu_seconds, open_files } = helper;
        Self { address_space_bytes, cpu_seconds, open_files }
    }
}

/// What the keys of a plugin ask of each other, and ranges for what code filled in.
pub(super) fn check(plugin: &PluginConfig, table: &KeyPath, violations: &mut Vec<Violation>) {
    let HelperConfig { address_space_bytes, cpu_seconds, open_files } = plugin.helper;
    let checks: [(&str, Option<u64>, RangeInclusive<u64>); 3] = [
        ("address_space_bytes", address_space_bytes, MIN_ADDRESS_SPACE..=MAX_ADDRESS_SPACE),
        ("cpu_seconds", cpu_seconds, 1..=MAX_CPU_SECONDS),
        ("open_files", open_files, MIN_OPEN_FILES..=MAX_OPEN_FILES),
    ];
    for (key, value, range) in checks {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            let message =
                format!("must be between {} and {}, is {value}", range.start(), range.end());
            let place = table.then("helper").then(key);
            violations.push(Violation::new(place, ViolationKind::OutOfRange, message));
        }
    }
    let isolated = plugin.isolation == IsolationConfig::Process;
    if !isolated && plugin.helper != HelperConfig::default() {
        let message = "needs `isolation = \"process\"`: no helper process has these limits";
        let place = table.then("helper");
        violations.push(Violation::new(place, ViolationKind::NotAllowed, message));
    }
}
