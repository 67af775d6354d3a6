//! What does a request say?
//!
//! Path parameters and, for GET and DELETE, the query string become fields of the skill's input, typed as its schema has
//! them; otherwise the body is the input. Nothing is guessed: a parameter twice, one that is not known, a body of another
//! kind, is refused with its name.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use howdah_plan::problem::{Kind, Problem};
use serde_json::{Map, Value};

use crate::faces::http::answer::Failure;
use crate::knowledge::read::json;

/// The fields of a skill's input, as its schema types them.
pub type Properties = Map<String, Value>;

/// Adds the path's parameters to `input`.
///
/// # Errors
/// `usage` when one does not have its type.
pub fn add_path(
    input: &mut Map<String, Value>,
    parameters: &[(String, String)],
    properties: &Properties,
) -> Result<(), Problem> {
    for (name, text) in parameters {
        if text.contains('\0') {
            return Err(unfit(name, "must not contain a NUL character"));
        }
        input.insert(name.clone(), typed(name, text, properties.get(name))?);
    }
    Ok(())
}

/// Adds the query string to `input`.
///
/// # Errors
/// `usage` when a parameter is unknown, appears twice or does not have its type.
pub fn add_query(
    input: &mut Map<String, Value>,
    query: Option<&str>,
    properties: &Properties,
    path: &[(String, String)],
) -> Result<(), Problem> {
    for (name, text) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let known = properties.get(name.as_ref()).filter(|_| path.iter().all(|(taken, _)| *taken != name));
        let Some(schema) = known else {
            let names: Vec<&str> = properties
                .keys()
                .map(String::as_str)
                .filter(|known| path.iter().all(|(taken, _)| taken != known))
                .collect();
            return Err(Problem::new(Kind::Usage, format!("unknown query parameter `{name}`")).detail(
                if names.is_empty() {
                    "there are none here".to_owned()
                } else {
                    format!("known are: {}", names.join(", "))
                },
            ));
        };
        let value = typed(&name, &text, Some(schema))?;
        if input.insert(name.to_string(), value).is_some() {
            return Err(Problem::new(Kind::Usage, format!("query parameter `{name}` is given twice")));
        }
    }
    Ok(())
}

/// A parameter's text as the schema types it.
fn typed(name: &str, text: &str, schema: Option<&Value>) -> Result<Value, Problem> {
    let is = |kind: &str| schema.is_some_and(|schema| has_type(schema, kind));
    if is("integer") {
        let number: i64 = text.parse().map_err(|_| unfit(name, "must be a whole number"))?;
        return Ok(number.into());
    }
    if is("number") {
        let number: f64 = text.parse().map_err(|_| unfit(name, "must be a number"))?;
        return serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| unfit(name, "must be finite"));
    }
    if is("boolean") {
        let truth: bool = text.parse().map_err(|_| unfit(name, "must be `true` or `false`"))?;
        return Ok(truth.into());
    }
    Ok(Value::String(text.to_owned()))
}

fn has_type(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == kind,
        Some(Value::Array(several)) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

fn unfit(name: &str, must: &str) -> Problem {
    Problem::new(Kind::Usage, format!("parameter `{name}` {must}"))
}

/// The body as a JSON object; an empty one is `{}`.
///
/// # Errors
/// 413 when it is larger than `most` bytes, 415 when it is not JSON by its own account, `usage` when it is not an object.
pub async fn body(headers: &HeaderMap, body: Body, most: u64) -> Result<Map<String, Value>, Failure> {
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    if announced(headers).is_some_and(|length| length > most) {
        return Err(too_large(most).into());
    }
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|error| {
        if is_limit(&error) {
            Failure::from(too_large(most))
        } else {
            Problem::new(Kind::Usage, "the body broke off").detail(error.to_string()).into()
        }
    })?;
    if !is_json(headers) {
        if bytes.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            return Ok(Map::new());
        }
        return Err(Failure::from(
            Problem::new(Kind::Usage, "the body is not JSON by its content type")
                .hint("Send `Content-Type: application/json`."),
        )
        .status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    match std::str::from_utf8(&bytes).map_err(|error| error.to_string()).and_then(json::exact) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Problem::new(Kind::Usage, "the body is not a JSON object").into()),
        Err(reason) if reason.starts_with('`') => {
            Err(Problem::new(Kind::Usage, "the body cannot be read without losing something")
                .detail(reason)
                .into())
        }
        Err(reason) => Err(Problem::new(Kind::Usage, "the body is not valid JSON").detail(reason).into()),
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn too_large(most: u64) -> Problem {
    Problem::new(Kind::TooLarge, format!("the body is larger than {most} bytes"))
        .hint("Send fewer documents a request, or raise `max_body_bytes` under `[api]` in howdah.toml.")
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn properties() -> Properties {
        json!({"id": {"type": "string"}, "limit": {"type": ["integer", "null"]}, "sql": {"type": "boolean"}})
            .as_object()
            .cloned()
            .unwrap()
    }

    fn query(text: &str) -> Result<Map<String, Value>, Problem> {
        let mut input = Map::new();
        add_query(&mut input, Some(text), &properties(), &[("id".into(), "7".into())])?;
        Ok(input)
    }

    #[test]
    fn a_query_string_is_typed_by_the_schema() {
        assert_eq!(Value::from(query("limit=5&sql=true").unwrap()), json!({"limit": 5, "sql": true}));
    }

    #[test]
    fn a_query_string_is_not_guessed_at() {
        for (text, message) in [
            ("limti=5", "unknown query parameter `limti`"),
            ("id=8", "unknown query parameter `id`"),
            ("limit=5&limit=6", "query parameter `limit` is given twice"),
            ("limit=five", "parameter `limit` must be a whole number"),
            ("sql=yes", "parameter `sql` must be `true` or `false`"),
        ] {
            assert_eq!(query(text).unwrap_err().message, message);
        }
    }

    #[tokio::test]
    async fn a_body_is_json_an_object_and_not_too_large() {
        let mut headers = HeaderMap::new();
        assert!(body(&headers, Body::empty(), 10).await.unwrap().is_empty());
        let wrong = body(&headers, Body::from("{}"), 10).await.unwrap_err();
        assert_eq!(wrong.status, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        headers.insert(CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        assert_eq!(body(&headers, Body::from("[1]"), 10).await.unwrap_err().problem.kind, Kind::Usage);
        assert_eq!(body(&headers, Body::from("{"), 10).await.unwrap_err().problem.kind, Kind::Usage);
        for (text, place) in
            [("{\"a\":1,\"a\":2}", "`a`"), ("{\"a\":{\"n\":12345678901234567890123}}", "`a.n`")]
        {
            let problem = body(&headers, Body::from(text), 100).await.unwrap_err().problem;
            assert!(problem.detail.is_some_and(|detail| detail.starts_with(place)), "{text}");
        }
        let large = body(&headers, Body::from("x".repeat(11)), 10).await.unwrap_err();
        assert_eq!(large.problem.kind, Kind::TooLarge);
    }
}
