//! Make, list and revoke API keys.

use std::sync::Arc;

use howdah_plan::problem::{Kind, Problem};
use jiff::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Command, Effect, Example, Lasts, Nothing, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::access::store::KeyInfo;
use crate::runtime::Context;

/// Longest name of a key.
const LONGEST_NAME: usize = 100;
/// Longest time a key may last, in days.
const LONGEST_LIFE: i64 = 36_500;

/// A key to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What it is for, 1 to 100 characters.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[^\u0000-\u001f\u007f]+$"))]
    pub name: String,
    /// The widest thing it allows.
    #[serde(default = "read")]
    pub scope: Scope,
    /// Days until it expires, 1 to 36500; never when absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 36500))]
    pub expires_in_days: Option<i64>,
}

fn read() -> Scope {
    Scope::Read
}

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedKey {
    /// The key itself: shown now and never again.
    pub key: String,
    /// What there is to know of it.
    pub info: KeyInfo,
}

/// The keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyList {
    /// Newest first.
    pub keys: Vec<KeyInfo>,
}

/// A key to revoke.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// Its id, how it begins (`hdk_` and eight characters), or its name where one working key has it.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[^\u0000-\u001f\u007f]+$"))]
    pub id: String,
}

async fn create(context: Arc<Context>, call: Call, input: CreateKey) -> Result<CreatedKey, Problem> {
    let length = input.name.chars().count();
    if length == 0 || length > LONGEST_NAME || input.name.chars().any(char::is_control) {
        return Err(Problem::new(Kind::Usage, "the name of the key does not fit").detail(format!(
            "it has {length} characters; 1 to {LONGEST_NAME} are allowed, none of them control characters"
        )));
    }
    let expires_at = input.expires_in_days.map(end_after).transpose()?;
    let (key, info) = context.keys(&call)?.create(&input.name, input.scope, expires_at).await?;
    Ok(CreatedKey { key: key.reveal().to_owned(), info })
}

fn end_after(days: i64) -> Result<Timestamp, Problem> {
    let unfit = || {
        Problem::new(Kind::Usage, format!("a key cannot expire in `{days}` days"))
            .detail(format!("1 to {LONGEST_LIFE} are allowed"))
    };
    if !(1..=LONGEST_LIFE).contains(&days) {
        return Err(unfit());
    }
    Timestamp::now().checked_add(Span::new().hours(days * 24)).map_err(|_| unfit())
}

async fn list(context: Arc<Context>, call: Call, _: Nothing) -> Result<KeyList, Problem> {
    Ok(KeyList { keys: context.keys(&call)?.list().await? })
}

async fn revoke(context: Arc<Context>, call: Call, input: RevokeKey) -> Result<KeyInfo, Problem> {
    let revoked = context.keys(&call)?.revoke(&input.id).await?;
    context.runtime.gate.forget();
    Ok(revoked)
}

/// Makes a key.
pub const CREATE: Skill<Context> = Skill {
    name: "create_key",
    summary: "Create an API key.",
    description: "Makes an API key of 256 random bits and shows it once. Howdah keeps its SHA-256 only. Without a scope \
                  it may read; `write` includes `read`, `admin` includes both.",
    effect: Effect::Operates,
    lasts: Lasts::Request,
    scope: Scope::Admin,
    command: Command { words: "keys create", positional: &["name"] },
    route: Route { method: "POST", path: "/v1/keys", success: 201 },
    input: schema_of::<CreateKey>,
    output: schema_of::<CreatedKey>,
    examples: &[
        Example {
            title: "A key that may search",
            input: r#"{"name": "website"}"#,
            command: "howdah keys create website",
        },
        Example {
            title: "A key that may ingest, for 90 days",
            input: r#"{"name": "loader", "scope": "write", "expires_in_days": 90}"#,
            command: "howdah keys create loader --scope write --expires-in-days 90",
        },
    ],
    check: fits::<CreateKey>,
    run: |context, call| Box::pin(typed(context, call, create)),
};

/// Lists the keys.
pub const LIST: Skill<Context> = Skill {
    name: "list_keys",
    summary: "List the API keys.",
    description: "Lists the API keys, newest first: what each is for, how it begins, what it allows, whether it works and \
                  when it was last used. The keys themselves are not kept.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Admin,
    command: Command { words: "keys list", positional: &[] },
    route: Route { method: "GET", path: "/v1/keys", success: 200 },
    input: schema_of::<Nothing>,
    output: schema_of::<KeyList>,
    examples: &[Example { title: "All keys", input: "{}", command: "howdah keys list" }],
    check: fits::<Nothing>,
    run: |context, call| Box::pin(typed(context, call, list)),
};

/// Revokes a key.
pub const REVOKE: Skill<Context> = Skill {
    name: "revoke_key",
    summary: "Revoke an API key.",
    description: "Takes an API key back. It stops working at once here, and within two seconds on other servers of the \
                  same database. It stays in the list. Revoking it again changes nothing.",
    effect: Effect::Operates,
    lasts: Lasts::Request,
    scope: Scope::Admin,
    command: Command { words: "keys revoke", positional: &["id"] },
    route: Route { method: "DELETE", path: "/v1/keys/{id}", success: 200 },
    input: schema_of::<RevokeKey>,
    output: schema_of::<KeyInfo>,
    examples: &[
        Example {
            title: "By how it begins",
            input: r#"{"id": "hdk_AbCdEfGh"}"#,
            command: "howdah keys revoke hdk_AbCdEfGh",
        },
        Example {
            title: "By its name",
            input: r#"{"id": "website"}"#,
            command: "howdah keys revoke website",
        },
    ],
    check: fits::<RevokeKey>,
    run: |context, call| Box::pin(typed(context, call, revoke)),
};
