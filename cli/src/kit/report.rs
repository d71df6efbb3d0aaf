//! What a check comes to: data for programs, from which the command makes lines for people.

use std::path::PathBuf;

use serde::Serialize;

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The promise is kept.
    Ok,
    /// The promise is broken; the text says how.
    Failed,
    /// The case does not apply; the text says why.
    Skipped,
    /// The kit could not do its work; the text says why.
    Broken,
}

/// One case on one exporter. The keys never change their meaning.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    /// The exporter; null for a case of the file.
    pub exporter: Option<String>,
    /// Name of the case.
    pub case: &'static str,
    /// What is promised.
    pub promise: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, for all but `ok`; may be empty.
    pub text: String,
    /// How long it took.
    pub milliseconds: u64,
    /// What runs it again, for `failed` and `broken`.
    pub reproduce: Option<String>,
}

/// One exporter of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ExporterReport {
    /// Identity.
    pub id: String,
    /// Version.
    pub version: String,
}

/// A check of a file.
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// `tallyport.plugin-check/1`.
    pub schema: &'static str,
    /// The file.
    pub file: PathBuf,
    /// Identity of the file, by its descriptor.
    pub id: String,
    /// Version of the file, by its descriptor.
    pub version: String,
    /// The exporters that were checked.
    pub exporters: Vec<ExporterReport>,
    /// What random cases follow from.
    pub seed: u64,
    /// What a reader should know of the run.
    pub notes: Vec<String>,
    /// Cases that ended `ok`.
    pub passed: usize,
    /// Cases that ended `failed`.
    pub failed: usize,
    /// Cases that ended `skipped`.
    pub skipped: usize,
    /// Cases that ended `broken`.
    pub broken: usize,
    /// How long it took.
    pub milliseconds: u64,
    /// The cases.
    pub cases: Vec<CaseReport>,
}
