//! Single rows: one by its id, and those that have to go.
//!
//! Deleting takes back what ingest remembers of the documents concerned, in the same transaction; otherwise the next
//! ingest would find their hashes unchanged and not bring them back.

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::ask::{check_id, no_such_row};
use howdah_plan::search::filter::{self, Scope};
use howdah_plan::search::param::{Param, Params};
use howdah_plan::search::request::RowId;
use howdah_plan::search::scan::TableFacts;
use howdah_plan::spec::resolve::{Resolved, quote_ident, quote_literal};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Row;

use super::facts;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Lease, Pools, param};

/// Most ids of one deletion.
pub const MAX_IDS: usize = 10_000;

/// Which row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRequest {
    /// Collection.
    pub collection: String,
    /// Id of the row.
    pub id: RowId,
    /// Whether to return its embedding.
    #[serde(default)]
    pub embedding: bool,
}

/// A row as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoredRow {
    /// Id: a number, or text.
    pub id: Value,
    /// Document it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Position in the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<i64>,
    /// Heading it stands under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// JSON metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The declared fields.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub fields: IndexMap<String, Value>,
    /// Whether it has an embedding, without which no vector search finds it.
    pub has_embedding: bool,
    /// The embedding, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// When it was written (RFC 3339, UTC); own tables only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When it was last changed (RFC 3339, UTC); own tables only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
}

/// What to change of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// Collection.
    pub collection: String,
    /// Id of the row.
    pub id: RowId,
    /// A merge patch for the metadata (RFC 7386): a key that is null is taken away, objects are merged, other values replace.
    pub metadata: serde_json::Map<String, Value>,
}

/// Which rows have to go: by `ids`, by `source`, or by `filter`. Exactly one of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeleteRequest {
    /// Collection.
    pub collection: String,
    /// Ids of rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10000))]
    pub ids: Option<Vec<RowId>>,
    /// A document: all its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A filter as in a search; one that holds for every row whatever is in it, such as an empty one, is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub filter: Option<Value>,
    /// Only counts what would go.
    pub dry_run: bool,
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// Rows deleted, or that would be.
    pub rows: u64,
    /// Documents they came from.
    pub documents: u64,
    /// Whether it was only counted.
    pub dry_run: bool,
}

/// Gets one row.
///
/// # Errors
/// `not_found` when there is none; `usage` when the id does not fit the table's key.
pub async fn get(pools: &Pools, resolved: &Resolved, request: &GetRequest) -> Result<StoredRow, Problem> {
    resolved.named_rows()?;
    let facts = facts::of(pools, resolved).await?;
    let id = check_id(&request.id, &facts.id_type)?;
    let mut params = Params::default();
    let condition = id_condition(std::slice::from_ref(&id), resolved, &facts.id_type, &mut params);
    let sql = format!(
        "SELECT {} FROM {} AS t WHERE {condition}",
        stored_columns(resolved, request.embedding),
        resolved.rows()
    );
    let client = pools.get(&resolved.database).await?;
    let rows =
        client.query_typed(&sql, &param::typed(&params.0)).await.map_err(|e| from_pg(&e, "get a row"))?;
    match rows.first() {
        Some(row) => stored(row).map_err(|e| from_pg(&e, "read a row")),
        None => Err(no_such_row(resolved, &request.id)),
    }
}

/// Changes the metadata of one row by a merge patch (RFC 7386) and gives the row as it is then. What it was loaded from is
/// not changed: loading a changed document anew brings the document's own metadata back.
///
/// # Errors
/// `not_found` when there is no such row; `usage` when the collection has no metadata or the id does not fit the key.
pub async fn update(
    pools: &Pools,
    resolved: &Resolved,
    request: &UpdateRequest,
) -> Result<StoredRow, Problem> {
    let Some(column) = &resolved.columns.metadata else {
        return Err(Problem::new(Kind::Usage, format!("collection `{}` has no metadata", resolved.name))
            .hint("Name the column under `adopt.metadata` in howdah.toml."));
    };
    if request.metadata.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)) {
        return Err(Problem::new(Kind::Usage, "the metadata holds a NUL character"));
    }
    let facts = facts::of(pools, resolved).await?;
    resolved.named_rows()?;
    writable(resolved, &facts, "Change them in the tables it is made of.")?;
    let id = check_id(&request.id, &facts.id_type)?;
    let (table, column, fixed) = (resolved.qualified(), quote_ident(column), resolved.fixed());
    let failed = |e: tokio_postgres::Error| from_pg(&e, "update a row");
    let mut client = pools.get(&resolved.database).await?;
    let transaction = client.transaction().await.map_err(failed)?;
    let mut params = Params::default();
    let condition = id_condition(std::slice::from_ref(&id), resolved, &facts.id_type, &mut params);
    let sql =
        format!("SELECT t.{column}::jsonb FROM {table} AS t WHERE ({fixed}) AND ({condition}) FOR UPDATE");
    let rows = transaction.query_typed(&sql, &param::typed(&params.0)).await.map_err(failed)?;
    let Some(row) = rows.first() else { return Err(no_such_row(resolved, &request.id)) };
    let mut metadata = row.try_get::<_, Option<Value>>(0).map_err(failed)?.unwrap_or_default();
    merge(&mut metadata, &request.metadata);
    let mut params = Params::default();
    let condition = id_condition(std::slice::from_ref(&id), resolved, &facts.id_type, &mut params);
    let value = params.bind(Param::Text(metadata.to_string()));
    let stamp = if resolved.adopted { "" } else { ", updated_at = now()" };
    let sql = format!(
        "UPDATE {table} AS t SET {column} = {value}::text::jsonb{stamp} WHERE ({fixed}) AND ({condition}) RETURNING {}",
        stored_columns(resolved, false)
    );
    let rows = transaction.query_typed(&sql, &param::typed(&params.0)).await.map_err(failed)?;
    let Some(row) = rows.first() else { return Err(no_such_row(resolved, &request.id)) };
    let stored = stored(row).map_err(|e| from_pg(&e, "read a row"))?;
    transaction.commit().await.map_err(failed)?;
    Ok(stored)
}

/// PostgreSQL keeps no NUL character in text.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(all) => all.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// RFC 7386: what is null goes, objects are merged, everything else is replaced.
fn merge(into: &mut Value, patch: &serde_json::Map<String, Value>) {
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    let Some(fields) = into.as_object_mut() else { return };
    for (name, value) in patch {
        match value {
            Value::Null => {
                fields.shift_remove(name);
            }
            Value::Object(inner) => merge(fields.entry(name.clone()).or_insert(Value::Null), inner),
            value => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Deletes rows.
///
/// # Errors
/// `usage` unless exactly one of `ids`, `source` and `filter` is given and fits; `not_found` when there is no row of these
/// ids, and nothing of this source.
pub async fn delete(pools: &Pools, resolved: &Resolved, request: &DeleteRequest) -> Result<Deleted, Problem> {
    let facts = facts::of(pools, resolved).await?;
    writable(resolved, &facts, "Delete the rows from the tables it is made of.")?;
    let mut params = Params::default();
    let condition = which(request, resolved, &facts.id_type, &mut params)?;
    let failed = |e: tokio_postgres::Error| from_pg(&e, "delete rows");
    let source = match &resolved.columns.source {
        Some(source) => format!("t.{}::text", quote_ident(source)),
        None => "NULL::text".into(),
    };
    let mut client = pools.get(&resolved.database).await?;
    if request.dry_run {
        let sql = format!(
            "SELECT count(*), count(DISTINCT {source}) FROM {} AS t WHERE {condition}",
            resolved.rows()
        );
        let row = client.query_typed(&sql, &param::typed(&params.0)).await.map_err(failed)?;
        let count = |at: usize| row.first().map_or(0, |row| row.get::<_, i64>(at));
        if count(0) == 0 && !is_remembered(&client, resolved, request).await.map_err(failed)? {
            there(request, resolved)?;
        }
        return Ok(Deleted { rows: whole(count(0)), documents: whole(count(1)), dry_run: true });
    }
    let transaction = client.transaction().await.map_err(failed)?;
    let own = transaction
        .query_one("SELECT to_regclass('howdah.sources') IS NOT NULL", &[])
        .await
        .map_err(failed)?;
    let sql = format!(
        "WITH gone AS (DELETE FROM {} AS t WHERE ({fixed}) AND ({condition}) RETURNING {source} AS source)
         SELECT count(*), coalesce(array_agg(DISTINCT source) FILTER (WHERE source IS NOT NULL), '{{}}') FROM gone",
        resolved.qualified(),
        fixed = resolved.fixed(),
    );
    let rows = transaction.query_typed(&sql, &param::typed(&params.0)).await.map_err(failed)?;
    let (count, mut sources): (i64, Vec<String>) =
        rows.first().map_or((0, Vec::new()), |row| (row.get(0), row.get(1)));
    let documents = sources.len() as u64;
    let mut forgotten = 0;
    if own.get(0) {
        // A document may be remembered although none of its rows was left.
        sources.extend(request.source.clone());
        forgotten = transaction
            .execute(
                "DELETE FROM howdah.sources WHERE collection = $1 AND source = ANY ($2)",
                &[&resolved.name, &sources],
            )
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    if count == 0 && forgotten == 0 {
        there(request, resolved)?;
    }
    Ok(Deleted { rows: whole(count), documents, dry_run: false })
}

fn writable(resolved: &Resolved, facts: &TableFacts, instead: &str) -> Result<(), Problem> {
    let Some(relation) = &facts.read_only else { return Ok(()) };
    Err(Problem::new(Kind::Usage, format!("collection `{}` is {relation}, and is only read", resolved.name))
        .detail(format!("`{}.{}` in database `{}`", resolved.schema, resolved.table, resolved.database))
        .hint(instead))
}

/// Whether ingest remembers the document that is to go, although none of its rows is there.
async fn is_remembered(
    client: &Lease,
    resolved: &Resolved,
    request: &DeleteRequest,
) -> Result<bool, tokio_postgres::Error> {
    let Some(source) = &request.source else { return Ok(false) };
    let own = client.query_one("SELECT to_regclass('howdah.sources') IS NOT NULL", &[]).await?;
    if !own.get::<_, bool>(0) {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT FROM howdah.sources WHERE collection = $1 AND source = $2)";
    Ok(client.query_one(sql, &[&resolved.name, source]).await?.get(0))
}

/// Rows that were named and are not there. A filter that fits none has been answered.
fn there(request: &DeleteRequest, resolved: &Resolved) -> Result<(), Problem> {
    let name = &resolved.name;
    match (&request.source, &request.ids) {
        (Some(source), _) => {
            Err(Problem::new(Kind::NotFound, format!("no document `{source}` in collection `{name}`")).hint(
                format!("See which there are: `howdah search` shows the `source` of each row of `{name}`."),
            ))
        }
        (None, Some(ids)) if !ids.is_empty() => {
            let shown: Vec<String> = ids.iter().take(5).map(|id| format!("`{id}`")).collect();
            let more = if ids.len() > shown.len() {
                format!(" and {} more", ids.len() - shown.len())
            } else {
                String::new()
            };
            Err(Problem::new(
                Kind::NotFound,
                format!("no row of these ids in collection `{name}`: {}{more}", shown.join(", ")),
            ))
        }
        _ => Ok(()),
    }
}

fn which(
    request: &DeleteRequest,
    resolved: &Resolved,
    id_type: &str,
    params: &mut Params,
) -> Result<String, Problem> {
    let usage = |message: &str| Problem::new(Kind::Usage, message);
    match (&request.ids, &request.source, &request.filter) {
        (Some(ids), None, None) => {
            if ids.len() > MAX_IDS {
                return Err(usage(&format!("{} ids are given", ids.len()))
                    .detail(format!("at most {MAX_IDS} at a time")));
            }
            resolved.named_rows()?;
            let ids: Result<Vec<RowId>, Problem> = ids.iter().map(|id| check_id(id, id_type)).collect();
            Ok(id_condition(&ids?, resolved, id_type, params))
        }
        (None, Some(source), None) => {
            let Some(column) = &resolved.columns.source else {
                return Err(usage("this collection does not know which document a row came from").hint(
                    "Name the column under `adopt.source` in howdah.toml, or delete by `ids` or `filter`.",
                ));
            };
            if source.contains('\0') {
                return Err(usage("the source holds a NUL character"));
            }
            Ok(format!("t.{} = {}", quote_ident(column), params.bind(Param::Text(source.clone()))))
        }
        (None, None, Some(filter)) => {
            let expr = filter::parse(filter, &Scope::new(resolved, id_type))?;
            narrows(&expr)?;
            Ok(filter::condition(&expr, "t", params))
        }
        _ => Err(usage("which rows?").hint("Give exactly one of `ids`, `source` and `filter`.")),
    }
}

/// Refuses a filter that chooses no rows: one that holds for all of them, and one that tests nothing.
fn narrows(expr: &filter::Expr) -> Result<(), Problem> {
    let message = match expr.constant() {
        Some(true) => "this filter holds for every row, and would delete them all",
        Some(false) if !expr.has_tests() => "this filter tests nothing",
        _ => return Ok(()),
    };
    Err(Problem::new(Kind::Usage, message)
        .hint("Say which rows; for all of them, `{\"id\": {\"exists\": true}}`."))
}

fn id_condition(ids: &[RowId], resolved: &Resolved, id_type: &str, params: &mut Params) -> String {
    let texts = || ids.iter().map(RowId::to_string).collect();
    let numbers = ids.iter().map(|id| match id {
        RowId::Integer(number) => Some(*number),
        RowId::Text(_) => None,
    });
    let bound = match (numbers.collect::<Option<Vec<i64>>>(), filter::Kind::of(id_type)) {
        (Some(numbers), filter::Kind::Integer(_)) => params.bind(Param::Integers(numbers)),
        (_, filter::Kind::Uuid) => format!("{}::uuid[]", params.bind(Param::Texts(texts()))),
        _ => params.bind(Param::Texts(texts())),
    };
    format!("{} = ANY ({bound})", resolved.key("t"))
}

fn stored_columns(resolved: &Resolved, embedding: bool) -> String {
    let columns = &resolved.columns;
    let column = |name: &Option<String>, sql_type: &str| match name {
        Some(name) => format!("t.{}::{sql_type}", quote_ident(name)),
        None => format!("NULL::{sql_type}"),
    };
    let time = |name: &str| {
        if resolved.adopted {
            "NULL::text".to_owned()
        } else {
            format!("to_char(t.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
    };
    let fields = resolved
        .fields
        .iter()
        .map(|(name, _)| format!("jsonb_build_object({}, t.{})", quote_literal(name), quote_ident(name)))
        .collect::<Vec<_>>()
        .join(" || ");
    let vector = quote_ident(&columns.embedding);
    [
        format!("to_jsonb({})", resolved.key("t")),
        column(&columns.source, "text"),
        column(&columns.chunk, "bigint"),
        column(&columns.title, "text"),
        column(&columns.content, "text"),
        column(&columns.metadata, "jsonb"),
        if fields.is_empty() { "'{}'::jsonb".into() } else { fields },
        format!("t.{vector} IS NOT NULL"),
        // Both types print as a JSON list.
        if embedding { format!("t.{vector}::text") } else { "NULL::text".into() },
        time("created_at"),
        time("updated_at"),
    ]
    .join(", ")
}

fn stored(row: &Row) -> Result<StoredRow, tokio_postgres::Error> {
    let embedding: Option<String> = row.try_get(8)?;
    Ok(StoredRow {
        id: row.try_get(0)?,
        source: row.try_get(1)?,
        chunk: row.try_get(2)?,
        title: row.try_get(3)?,
        content: row.try_get(4)?,
        metadata: row.try_get(5)?,
        fields: match row.try_get(6)? {
            Value::Object(fields) => fields.into_iter().collect(),
            _ => IndexMap::new(),
        },
        has_embedding: row.try_get(7)?,
        embedding: embedding.and_then(|text| serde_json::from_str(&text).ok()),
        created_at: row.try_get(9)?,
        updated_at: row.try_get(10)?,
    })
}

fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
