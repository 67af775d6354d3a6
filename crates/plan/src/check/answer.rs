//! A row of an answer, and what a verdict says about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{FixTemplate, Severity};

/// A row of an answer, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Row(pub serde_json::Map<String, Value>);

impl Row {
    /// A column as text; empty when it is null or missing.
    pub fn text(&self, column: &str) -> &str {
        self.0.get(column).and_then(Value::as_str).unwrap_or_default()
    }

    /// A column as a whole number.
    pub fn int(&self, column: &str) -> Option<i64> {
        match self.0.get(column)? {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A column as a number.
    pub fn float(&self, column: &str) -> Option<f64> {
        match self.0.get(column)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A column as a truth value; false when it is null or missing.
    pub fn is(&self, column: &str) -> bool {
        self.0.get(column).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A column of texts.
    pub fn list(&self, column: &str) -> Vec<&str> {
        let items = self.0.get(column).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What the row is about.
    pub fn object(&self) -> Option<String> {
        Some(self.text("object").to_owned()).filter(|object| !object.is_empty())
    }
}

/// What a verdict found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The measured value, in words: lower case, no full stop, values in backticks.
    pub measured: String,
    /// What it is about, where the row's `object` does not say it.
    pub object: Option<String>,
    /// Another severity than the check's own.
    pub severity: Option<Severity>,
    /// Values for the fix besides the row's own.
    pub values: Vec<(&'static str, String)>,
    /// Another fix than the check's own.
    pub fix: Option<FixTemplate>,
}

impl Found {
    /// Found, with the measured value in words.
    pub fn new(measured: impl Into<String>) -> Self {
        Found { measured: measured.into(), ..Found::default() }
    }

    /// With another severity than the check's own.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }

    /// With a value for the fix.
    #[must_use]
    pub fn value(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// About this.
    #[must_use]
    pub fn about(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// With another fix than the check's own.
    #[must_use]
    pub fn fix(mut self, fix: FixTemplate) -> Self {
        self.fix = Some(fix);
        self
    }
}
