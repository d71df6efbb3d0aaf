//! An exporter that can be registered, wherever its code runs: a table of this process, or what a
//! helper process found in a file.

use std::sync::Arc;

use serde_json::Value;

use super::{config::PluginConfig, source::PluginFile};
use crate::{
    model::Error,
    plugin::{Loader, Source, Table},
};

/// An exporter that is not registered yet.
pub(super) struct Choice {
    pub(super) id: String,
    /// JSON Schema of its options, if it describes them.
    pub(super) options_schema: Option<Value>,
    pub(super) source: Arc<dyn Source>,
}

/// The exporters of a file that are wanted, and the ids of all that it has.
pub(super) type Found = (Vec<Choice>, Vec<String>);

impl From<Arc<Table>> for Choice {
    fn from(table: Arc<Table>) -> Self {
        let options_schema = table.options_schema.clone();
        Self { id: table.id.clone(), options_schema, source: table }
    }
}

/// The exporters of a file that a helper process loads: none of its code runs here.
#[cfg(target_os = "linux")]
pub(super) fn isolated(
    loader: &Loader,
    name: &str,
    plugin: &PluginConfig,
    source: &PluginFile,
) -> Result<Found, Error> {
    use crate::plugin::{Launch, RemoteFile};

    let (helper, job) = source.for_helper(loader)?;
    let launch = Launch { helper, job, limits: (&plugin.helper).into() };
    let file = RemoteFile::load(launch, name)?;
    source.has_capabilities(file.capabilities())?;
    // One that is not asked for may be unable to run in a helper.
    let sources = file.sources(|id| plugin.wants(id))?.into_iter();
    let choices =
        sources.map(|(id, options_schema, source)| Choice { id, options_schema, source }).collect();
    Ok((choices, file.ids()))
}

/// Helper processes need memory files and sealing.
#[cfg(not(target_os = "linux"))]
pub(super) fn isolated(
    _: &Loader,
    _: &str,
    _: &PluginConfig,
    _: &PluginFile,
) -> Result<Found, Error> {
    let message = "`isolation = \"process\"` exists on Linux only";
    Err(Error::new(crate::model::ErrorKind::Unsupported, message).with_field("isolation"))
}
