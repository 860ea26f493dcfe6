//! The document that an owner keeps about an algorithm or a version: sections (objects) of members.
//! The store keeps it without looking into it; `views` says what the sections are.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// The largest document, in bytes of JSON.
const LIMIT: usize = 1 << 16;

/// The document of a body's sections, within the limit; absent ones are left out.
pub(crate) fn of(
    details: &impl Serialize,
    settings: &impl Serialize,
    version_info: &impl Serialize,
) -> Result<Value, ApiError> {
    let mut sections = Map::new();
    let section = |value: Result<Value, _>| value.map_err(ApiError::internal);
    for (name, value) in [
        ("details", section(serde_json::to_value(details))?),
        ("settings", section(serde_json::to_value(settings))?),
        ("version_info", section(serde_json::to_value(version_info))?),
    ] {
        if !value.is_null() {
            sections.insert(name.to_owned(), value);
        }
    }
    checked(Value::Object(sections))
}

/// Whether a document stays within the limit when the store makes the change.
pub(crate) fn check_changed(document: &Value, change: &Value) -> Result<(), ApiError> {
    checked(overlaid(document, change)).map(drop)
}

/// One document over another: in each section, a member above hides the one of its name below.
pub(crate) fn overlaid(below: &Value, above: &Value) -> Value {
    let mut document = below.as_object().cloned().unwrap_or_default();
    for (name, members) in above.as_object().into_iter().flatten() {
        let section = document.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if let (Some(section), Some(members)) = (section.as_object_mut(), members.as_object()) {
            section.extend(members.clone());
        }
    }
    Value::Object(document)
}

/// A document without one of its sections.
pub(crate) fn without_section(document: &Value, name: &str) -> Value {
    let mut document = document.clone();
    if let Some(sections) = document.as_object_mut() {
        sections.remove(name);
    }
    document
}

fn checked(document: Value) -> Result<Value, ApiError> {
    if document.to_string().len() > LIMIT {
        return Err(ApiError::Invalid(format!(
            "`details`, `settings` and `version_info` together are larger than {LIMIT} bytes"
        )));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_section_above_hides_nothing() {
        let below = json!({"settings": {"a": 1, "b": 2}});
        assert_eq!(overlaid(&below, &json!({"settings": {}, "details": {}}))["settings"], below["settings"]);
        assert_eq!(overlaid(&below, &json!({"settings": {"b": 3}})), json!({"settings": {"a": 1, "b": 3}}));
        assert_eq!(overlaid(&Value::Null, &below), below);
    }

    #[test]
    fn a_document_has_a_limit() {
        let large = json!({"x": "y".repeat(LIMIT)});
        assert!(of(&Value::Null, &large, &Value::Null).is_err());
        assert_eq!(of(&json!({}), &Value::Null, &Value::Null).expect("small"), json!({"details": {}}));
    }
}
