//! The options of the exporter `csv`, and the layout that they describe.

use serde::Deserialize;
use tallyport_plugin_api::Error;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Column {
    /// When the values were read, RFC 3339.
    Timestamp,
    /// Name of the metric.
    Name,
    /// Kind of the metric.
    Type,
    /// The value.
    Value,
    /// Labels as a JSON object, or a column each.
    Labels,
    /// Help text.
    Help,
    /// Unit.
    Unit,
    /// When the series was created, RFC 3339; empty when that is not known.
    Created,
}

impl Column {
    /// Its name in the header.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::Name => "name",
            Self::Type => "type",
            Self::Value => "value",
            Self::Labels => "labels",
            Self::Help => "help",
            Self::Unit => "unit",
            Self::Created => "created",
        }
    }
}

/// What ends a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RowSeparator {
    /// As text files on Unix.
    #[default]
    #[serde(rename = "\n")]
    Lf,
    /// As RFC 4180 has it.
    #[serde(rename = "\r\n")]
    CrLf,
}

/// Options of the exporter `csv`; see `options.schema.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The columns in their order.
    pub columns: Vec<Column>,
    /// What stands between cells.
    pub separator: String,
    /// What ends a row.
    pub row_separator: RowSeparator,
    /// Whether the first row names the columns.
    pub header: bool,
    /// Whether each label has a column of its own.
    pub flatten_labels: bool,
    /// Whether cells that a spreadsheet would compute are defused.
    pub escape_formulas: bool,
}

impl Default for Options {
    fn default() -> Self {
        use Column::{Labels, Name, Timestamp, Type, Value};
        Self {
            columns: vec![Timestamp, Name, Type, Value, Labels],
            separator: ",".to_owned(),
            row_separator: RowSeparator::Lf,
            header: true,
            flatten_labels: false,
            escape_formulas: false,
        }
    }
}

/// Options that were checked.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) columns: Vec<Column>,
    pub(super) separator: u8,
    pub(super) row_end: &'static [u8],
    pub(super) header: bool,
    pub(super) flatten_labels: bool,
    pub(super) escape_formulas: bool,
}

impl Layout {
    /// # Errors
    /// INVALID_ARGUMENT, naming the option.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        if options.columns.is_empty() {
            return Err(Error::option("columns", "at least one column is needed"));
        }
        for (index, column) in options.columns.iter().enumerate() {
            if options.columns.iter().take(index).any(|before| before == column) {
                let message = format!("`{}` is there already", column.name());
                return Err(Error::option(&format!("columns[{index}]"), message));
            }
        }
        if options.flatten_labels && !options.columns.contains(&Column::Labels) {
            return Err(Error::option("flatten_labels", "needs the column `labels`"));
        }
        let separator = match options.separator.as_bytes() {
            [byte] => Some(*byte).filter(|&byte| is_separator(byte)),
            _ => None,
        };
        let Some(separator) = separator else {
            let message = "must be one ASCII character that is no letter, digit, quote, line end \
                           or one of + - . { }";
            return Err(Error::option("separator", message));
        };
        Ok(Self {
            columns: options.columns.clone(),
            separator,
            row_end: match options.row_separator {
                RowSeparator::Lf => b"\n",
                RowSeparator::CrLf => b"\r\n",
            },
            header: options.header,
            flatten_labels: options.flatten_labels,
            escape_formulas: options.escape_formulas,
        })
    }
}

/// What stands in a number or an empty label set cannot separate cells: those are not quoted.
fn is_separator(byte: u8) -> bool {
    byte == b'\t' || byte == b' ' || (byte.is_ascii_punctuation() && !b"\"+-.{}".contains(&byte))
}
