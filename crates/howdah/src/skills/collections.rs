//! Look at collections, and get and delete what is in them.

use std::sync::Arc;

use howdah_plan::problem::Problem;
use howdah_plan::spec::resolve::resolve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Command, Effect, Example, Lasts, Nothing, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::collections::{self, DeleteRequest, Deleted, Description, GetRequest, StoredRow, UpdateRequest};
use crate::runtime::Context;
use howdah_postgres::Purpose;

/// The collections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionList {
    /// In the order of the declaration.
    pub collections: Vec<Description>,
}

/// A collection to describe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Describe {
    /// Its name.
    pub collection: String,
    /// Whether rows are counted, however many there are.
    #[serde(default)]
    pub exact: bool,
}

async fn list(context: Arc<Context>, call: Call, _: Nothing) -> Result<CollectionList, Problem> {
    Ok(CollectionList {
        collections: collections::list(&context.pools(&call, Purpose::Read), context.spec()).await?,
    })
}

async fn describe(context: Arc<Context>, call: Call, input: Describe) -> Result<Description, Problem> {
    let resolved = resolve(context.spec(), &input.collection)?;
    collections::describe(
        &context.pools(&call, Purpose::Read).account(&resolved.name),
        &resolved,
        input.exact,
    )
    .await
}

async fn get(context: Arc<Context>, call: Call, input: GetRequest) -> Result<StoredRow, Problem> {
    let resolved = resolve(context.spec(), &input.collection)?;
    collections::get(&context.pools(&call, Purpose::Read).account(&resolved.name), &resolved, &input).await
}

async fn update(context: Arc<Context>, call: Call, input: UpdateRequest) -> Result<StoredRow, Problem> {
    let resolved = resolve(context.spec(), &input.collection)?;
    collections::update(&context.pools(&call, Purpose::Write).account(&resolved.name), &resolved, &input)
        .await
}

async fn delete(context: Arc<Context>, call: Call, input: DeleteRequest) -> Result<Deleted, Problem> {
    let resolved = resolve(context.spec(), &input.collection)?;
    collections::delete(&context.pools(&call, Purpose::Write).account(&resolved.name), &resolved, &input)
        .await
}

/// Lists collections.
pub const LIST: Skill<Context> = Skill {
    name: "list_collections",
    summary: "List the collections.",
    description: "Lists the declared collections with their rows, dimensions, index and sizes.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "collections list", positional: &[] },
    route: Route { method: "GET", path: "/v1/collections", success: 200 },
    input: schema_of::<Nothing>,
    output: schema_of::<CollectionList>,
    examples: &[Example { title: "All of them", input: "{}", command: "howdah collections" }],
    check: fits::<Nothing>,
    run: |context, call| Box::pin(typed(context, call, list)),
};

/// Describes one.
pub const DESCRIBE: Skill<Context> = Skill {
    name: "describe_collection",
    summary: "Describe a collection.",
    description: "Describes one collection: table, rows, model, dimensions, metric, fields to filter on, indexes and sizes.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "collections show", positional: &["collection"] },
    route: Route { method: "GET", path: "/v1/collections/{collection}", success: 200 },
    input: schema_of::<Describe>,
    output: schema_of::<Description>,
    examples: &[Example {
        title: "One",
        input: r#"{"collection": "manual"}"#,
        command: "howdah collections show manual",
    }],
    check: fits::<Describe>,
    run: |context, call| Box::pin(typed(context, call, describe)),
};

/// Gets a row.
pub const GET: Skill<Context> = Skill {
    name: "get_document",
    summary: "Get a row by its id.",
    description: "Gets one row of a collection as it is stored, with its embedding where asked for.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "get", positional: &["collection", "id"] },
    route: Route { method: "GET", path: "/v1/collections/{collection}/documents/{id}", success: 200 },
    input: schema_of::<GetRequest>,
    output: schema_of::<StoredRow>,
    examples: &[Example {
        title: "The row 7",
        input: r#"{"collection": "manual", "id": 7}"#,
        command: "howdah get manual 7",
    }],
    check: fits::<GetRequest>,
    run: |context, call| Box::pin(typed(context, call, get)),
};

/// Changes a row.
pub const UPDATE: Skill<Context> = Skill {
    name: "update_document",
    summary: "Change the metadata of a row.",
    description: "Changes the metadata of one row by a merge patch (RFC 7386) and gives the row as it is then. Text, embedding \
                  and declared fields stay. Loading a changed document anew brings the document's own metadata back.",
    effect: Effect::Writes,
    lasts: Lasts::Request,
    scope: Scope::Write,
    command: Command { words: "update", positional: &["collection", "id"] },
    route: Route { method: "PATCH", path: "/v1/collections/{collection}/documents/{id}", success: 200 },
    input: schema_of::<UpdateRequest>,
    output: schema_of::<StoredRow>,
    examples: &[Example {
        title: "A key is set and another taken away",
        input: r#"{"collection": "manual", "id": 7, "metadata": {"lang": "en", "draft": null}}"#,
        command: "howdah update manual 7 --metadata '{\"lang\": \"en\", \"draft\": null}'",
    }],
    check: fits::<UpdateRequest>,
    run: |context, call| Box::pin(typed(context, call, update)),
};

/// Deletes rows.
pub const DELETE: Skill<Context> = Skill {
    name: "delete_documents",
    summary: "Delete rows by id, document or filter.",
    description: "Deletes rows of a collection: those with the given ids, all of one document, or all that fit a filter. \
                  Exactly one of the three is given. Counts without deleting where asked to.",
    effect: Effect::Writes,
    lasts: Lasts::Request,
    scope: Scope::Write,
    command: Command { words: "delete", positional: &["collection", "ids"] },
    route: Route { method: "POST", path: "/v1/collections/{collection}/documents/delete", success: 200 },
    input: schema_of::<DeleteRequest>,
    output: schema_of::<Deleted>,
    examples: &[
        Example {
            title: "A document",
            input: r#"{"collection": "manual", "source": "docs/old.md"}"#,
            command: "howdah delete manual --source docs/old.md",
        },
        Example {
            title: "What would go",
            input: r#"{"collection": "manual", "filter": {"metadata.lang": "xx"}, "dry_run": true}"#,
            command: "howdah delete manual --filter '{\"metadata.lang\": \"xx\"}' --dry-run",
        },
    ],
    check: fits::<DeleteRequest>,
    run: |context, call| Box::pin(typed(context, call, delete)),
};
