//! The exporters that ship with Tallyport: Prometheus and OpenMetrics text, JSON, CSV.
//!
//! Of our own crates they use `tallyport-plugin-api` alone: what they do, a vendor's plugin can
//! do. [`EXPORTERS`] is the set that the engine links in and that `loadable/` exports as a file.
//!
//! One way through each exporter: what depends on names and labels alone is *rendered* once per
//! schema and kept (`rendered`); an export copies that text and prints the values between.

#![forbid(unsafe_code)]

pub mod csv;
pub mod json;
mod number;
pub mod prometheus;
mod rendered;
mod spelling;
mod time;

tallyport_plugin_api::plugin_set! {
    /// The exporters `prometheus`, `json` and `csv`.
    pub static EXPORTERS: [prometheus::Prometheus, json::Json, csv::Csv]
}
