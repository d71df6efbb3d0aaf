//! Options from files: `password_file = "…"` hands the file's content over as `password`.
//!
//! A key that ends in `_file` means that where the exporter's own schema knows the key without the
//! ending, as text, and does not know the key itself. What came from a file, and every text under a
//! name that sounds like a secret or that the schema marks as one, is masked in what plugins say.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{
    model::schema::{KeyPath, Violation, ViolationKind},
    plugin::{Trust, remember},
};

/// What a key ends in whose value is a file.
const ENDING: &str = "_file";
/// Parts of names of secrets.
const NAMES: [&str; 8] =
    ["password", "passwd", "secret", "token", "authorization", "api_key", "apikey", "private_key"];

/// Options with the contents of the files that they name; every secret among them is remembered.
///
/// # Errors
/// What is wrong with a file, at its key.
pub(super) fn expand(
    options: &Map<String, Value>,
    schema: Option<&Value>,
    base_dir: &Path,
    trust: &Trust,
) -> Result<Map<String, Value>, Vec<Violation>> {
    let mut violations = Vec::new();
    let known = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let place = Place { base_dir, trust };
    let expanded = place.table(options, known, &KeyPath::new(), &mut violations);
    if violations.is_empty() { Ok(expanded) } else { Err(violations) }
}

struct Place<'a> {
    base_dir: &'a Path,
    trust: &'a Trust,
}

impl Place<'_> {
    fn table(
        &self,
        options: &Map<String, Value>,
        known: Option<&Map<String, Value>>,
        path: &KeyPath,
        violations: &mut Vec<Violation>,
    ) -> Map<String, Value> {
        let mut expanded = Map::new();
        let property = |key: &str| known.and_then(|known| known.get(key));
        for (key, value) in options {
            let here = path.then(key.as_str());
            let plain = key
                .strip_suffix(ENDING)
                .filter(|plain| property(key).is_none() && property(plain).is_some_and(takes_text));
            let mut wrong = |message: String| {
                violations.push(Violation::new(here.clone(), ViolationKind::NotAllowed, message));
            };
            let (key, value) = match (plain, value) {
                (None, Value::Object(inner)) => {
                    let known = property(key).and_then(|one| one.get("properties"));
                    let known = known.and_then(Value::as_object);
                    (key.as_str(), Value::Object(self.table(inner, known, &here, violations)))
                }
                (None, value) => {
                    let secret = sounds_secret(key) || property(key).is_some_and(is_marked);
                    if let Some(text) = value.as_str().filter(|_| secret) {
                        remember(text);
                    }
                    (key.as_str(), value.clone())
                }
                (Some(plain), _) if options.contains_key(plain) => {
                    wrong(format!("stands beside `{plain}`: give one of them"));
                    continue;
                }
                (Some(plain), Value::String(file)) => {
                    match self.trust.read_secret(&self.base_dir.join(file)) {
                        Ok(text) => {
                            remember(&text);
                            (plain, Value::String(text))
                        }
                        Err(reason) => {
                            wrong(format!("the file `{file}`: {reason}"));
                            continue;
                        }
                    }
                }
                (Some(_), _) => {
                    wrong("must be the path of a file".to_owned());
                    continue;
                }
            };
            expanded.insert(key.to_owned(), value);
        }
        expanded
    }
}

/// Whether the schema of an option has room for text.
fn takes_text(property: &Value) -> bool {
    match property.get("type") {
        Some(Value::String(one)) => one == "string",
        Some(Value::Array(several)) => several.iter().any(|one| one == "string"),
        _ => true,
    }
}

fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    NAMES.iter().any(|name| key.contains(name))
}

/// Whether the schema says that an option is a secret.
fn is_marked(property: &Value) -> bool {
    let flag = |key: &str| property.get(key).is_some_and(|value| *value == true);
    flag("writeOnly") || property.get("format").is_some_and(|format| format == "password")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use serde_json::json;

    use super::*;

    fn options(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn files_stand_for_options_that_the_schema_knows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "hunter2two\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let schema = json!({ "properties": {
            "dsn": { "type": "string" },
            "log_file": { "type": "string" },
            "log": { "type": "string" },
            "count": { "type": "integer" },
            "login": { "properties": { "password": { "type": ["string", "null"] } } },
        } });
        let expand = |value: Value| {
            super::expand(&options(value), Some(&schema), folder.path(), &Trust::default())
        };
        let given = json!({
            "dsn_file": "secret", "log_file": "x.log", "count_file": "c", "other_file": "o",
            "login": { "password_file": file.to_str() },
        });
        assert_eq!(
            expand(given),
            Ok(options(json!({
                "dsn": "hunter2two", "log_file": "x.log", "count_file": "c", "other_file": "o",
                "login": { "password": "hunter2two" },
            })))
        );
        let said = |value: Value| {
            let violations = expand(value).unwrap_err();
            violations.iter().map(Violation::sentence).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            said(json!({ "dsn": "x", "dsn_file": "secret" })),
            "`dsn_file`: stands beside `dsn`: give one of them"
        );
        assert_eq!(said(json!({ "dsn_file": 3 })), "`dsn_file`: must be the path of a file");
        let absent = said(json!({ "login": { "password_file": "absent" } }));
        assert!(
            absent.starts_with("`login.password_file`: the file `absent`: No such"),
            "{absent}"
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let open = said(json!({ "dsn_file": "secret" }));
        assert!(open.contains("everybody can read it (mode 0644): `chmod o-rwx "), "{open}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, b"\xff").unwrap();
        assert!(said(json!({ "dsn_file": "secret" })).contains("not UTF-8"));
        fs::write(&file, vec![b'x'; 70_000]).unwrap();
        assert!(said(json!({ "dsn_file": "secret" })).contains("larger than"));
        assert!(said(json!({ "dsn_file": "/" })).contains("not a regular file"));
    }

    #[test]
    fn without_a_schema_nothing_is_a_file() {
        let given = options(json!({ "password_file": "/nowhere" }));
        let done = expand(&given, None, Path::new(""), &Trust::default());
        assert_eq!(done, Ok(given));
    }
}
