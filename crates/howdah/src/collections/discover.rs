//! Which tables with vectors are there?
//!
//! Facts for [`howdah_plan::adoption`], read from the catalogues of one database, and for columns without dimensions from a
//! sample of their rows. Nothing is changed.

use std::collections::BTreeMap;

use howdah_plan::adoption::{Part, Relation};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::quote_ident;
use serde_json::Value;

use howdah_postgres::Pools;
use howdah_postgres::pool::Transaction;
use howdah_postgres::problem::from_pg;

const DOING: &str = "look for tables with vectors";
/// Rows that are looked at for their dimensions.
const SAMPLE: u32 = 1_000;
/// Longest time for one sample, in milliseconds: a view may be slow.
const SAMPLE_TIME: u32 = 10_000;

/// Relations with a column of pgvector's, in schemas of people, that Howdah did not make. A partition is a part of its table.
const RELATIONS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object(
    'schema', n.nspname,
    'name', c.relname,
    'relation', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'view'
                               WHEN 'm' THEN 'materialized_view' ELSE 'foreign' END,
    'rows', CASE WHEN c.relkind = 'p'
                 THEN (SELECT coalesce(sum(greatest(leaf.reltuples, 0)), 0)::bigint FROM pg_partition_tree(c.oid) part
                       JOIN pg_class leaf ON leaf.oid = part.relid WHERE part.isleaf)
                 ELSE greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)::bigint END,
    'row_security', c.relrowsecurity,
    'columns', (SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'sql_type', format_type(a.atttypid, a.atttypmod))
                                 ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'keys', (SELECT coalesce(jsonb_agg(k.columns ORDER BY k.first DESC, k.name), '[]') FROM (
                SELECT i.indisprimary AS first, ic.relname AS name,
                       (SELECT jsonb_agg(a.attname ORDER BY u.n)
                        FROM unnest(i.indkey[0:i.indnkeyatts - 1]::int2[]) WITH ORDINALITY AS u (attnum, n)
                        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum) AS columns
                FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
                WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                  AND i.indexprs IS NULL) k),
    'opclasses', (SELECT coalesce(jsonb_agg(jsonb_build_array(a.attname, oc.opcname) ORDER BY i.indexrelid), '[]')
                  FROM pg_index i
                  JOIN pg_opclass oc ON oc.oid = i.indclass[0] JOIN pg_am am ON am.oid = oc.opcmethod
                  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
                   AND (a.attnum = i.indkey[0] OR i.indkey[0] = 0 AND EXISTS (
                        SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))
                  JOIN pg_type at ON at.oid = a.atttypid AND at.typname IN ('vector', 'halfvec')
                  WHERE i.indrelid = c.oid AND am.amname IN ('hnsw', 'ivfflat', 'howdah')))
  ORDER BY n.nspname, c.relname), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'howdah')
  AND EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
              JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
              JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'vector'
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND t.typname IN ('vector', 'halfvec', 'sparsevec'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')";

/// The relations of a database that could be adopted.
///
/// # Errors
/// What keeps the database from answering.
pub async fn relations(pools: &Pools, database: &str) -> Result<Vec<Relation>, Problem> {
    let failed = |error: tokio_postgres::Error| from_pg(&error, DOING);
    let mut client = pools.get(database).await?;
    let transaction = client.transaction().await.map_err(failed)?;
    let set = format!(
        "SET TRANSACTION READ ONLY; SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = {SAMPLE_TIME}"
    );
    transaction.batch_execute(&set).await.map_err(failed)?;
    let found: Value = transaction.query_one(RELATIONS, &[]).await.map_err(failed)?.get(0);
    let mut relations: Vec<Relation> = serde_json::from_value(found)
        .map_err(|error| Problem::new(Kind::Internal, format!("cannot {DOING}")).detail(error.to_string()))?;
    let made = made(&transaction).await?;
    relations.retain(|relation| !made.contains(&quoted(relation)));
    for relation in &mut relations {
        for column in &mut relation.columns {
            column.sql_type = without_schema(&column.sql_type);
        }
        relation.parts = parts(&transaction, relation).await?;
        if relation.parts.is_empty() {
            sample(&transaction, relation).await?;
        }
    }
    transaction.commit().await.map_err(failed)?;
    Ok(relations)
}

/// Types of extensions are rendered with their schema where it is not searched.
fn without_schema(sql_type: &str) -> String {
    let bare = sql_type.rsplit('.').next().unwrap_or(sql_type);
    let of_vector = ["vector", "halfvec", "sparsevec"].iter().any(|name| bare.starts_with(name));
    if of_vector { bare.to_owned() } else { sql_type.to_owned() }
}

fn quoted(relation: &Relation) -> String {
    format!("{}.{}", quote_ident(&relation.schema), quote_ident(&relation.name))
}

/// Tables that Howdah made, where it can be asked.
async fn made(transaction: &Transaction<'_>) -> Result<Vec<String>, Problem> {
    let failed = |error: tokio_postgres::Error| from_pg(&error, DOING);
    let asked = "SELECT coalesce((SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'howdah' AND c.relname = 'managed'), false)";
    if !transaction.query_one(asked, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = transaction
        .query("SELECT name FROM howdah.managed WHERE kind = 'table'", &[])
        .await
        .map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// How many rows have how many dimensions, of the first that are there. A column that cannot be looked at tells nothing.
async fn dimensions(
    transaction: &Transaction<'_>,
    relation: &Relation,
    column: &str,
    part: Option<(&str, &str)>,
) -> BTreeMap<u32, u64> {
    let column = quote_ident(column);
    let (condition, value) = match part {
        Some((by, value)) => (format!(" AND {}::text = $1::text", quote_ident(by)), value),
        None => (" AND $1::text IS NOT NULL".to_owned(), ""),
    };
    // The text of a vector has one comma less than dimensions, whatever schema its functions are in.
    let sql = format!(
        "SELECT dims, count(*) FROM (SELECT 1 + length(v) - length(replace(v, ',', '')) AS dims FROM (
           SELECT {column}::text AS v FROM {} WHERE {column} IS NOT NULL{condition} LIMIT {SAMPLE}) AS s) AS d GROUP BY 1",
        quoted(relation)
    );
    if transaction.batch_execute("SAVEPOINT sample").await.is_err() {
        return BTreeMap::new();
    }
    match transaction.query(sql.as_str(), &[&value]).await {
        Ok(rows) => {
            let number = |row: &tokio_postgres::Row| {
                (
                    u32::try_from(row.get::<_, i32>(0)).unwrap_or(0),
                    u64::try_from(row.get::<_, i64>(1)).unwrap_or(0),
                )
            };
            rows.iter().map(number).collect()
        }
        Err(_) => {
            let _ = transaction.batch_execute("ROLLBACK TO SAVEPOINT sample").await;
            BTreeMap::new()
        }
    }
}

async fn sample(transaction: &Transaction<'_>, relation: &mut Relation) -> Result<(), Problem> {
    let open: Vec<String> = relation
        .columns
        .iter()
        .filter(|column| matches!(column.sql_type.as_str(), "vector" | "halfvec"))
        .map(|column| column.name.clone())
        .collect();
    for column in open {
        let found = dimensions(transaction, relation, &column, None).await;
        relation.sampled.insert(column, found);
    }
    Ok(())
}

/// The collections that LangChain's `PGVector` keeps in its one table.
async fn parts(transaction: &Transaction<'_>, relation: &Relation) -> Result<Vec<Part>, Problem> {
    let has = |name: &str| relation.columns.iter().any(|column| column.name == name);
    if !["collection_id", "embedding", "document", "cmetadata"].into_iter().all(has) {
        return Ok(Vec::new());
    }
    let failed = |error: tokio_postgres::Error| from_pg(&error, DOING);
    let names = relation.name.replace("_embedding", "_collection");
    let there = transaction
        .query_one(
            "SELECT coalesce((SELECT has_table_privilege(c.oid, 'SELECT') FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2), false)",
            &[&relation.schema, &names],
        )
        .await
        .map_err(failed)?;
    if names == relation.name || !there.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let list = format!(
        "SELECT uuid::text, coalesce(name::text, uuid::text) FROM {}.{} ORDER BY 2",
        quote_ident(&relation.schema),
        quote_ident(&names)
    );
    let mut parts = Vec::new();
    for row in transaction.query(list.as_str(), &[]).await.map_err(failed)? {
        let (value, name): (String, String) = (row.get(0), row.get(1));
        let dimensions =
            dimensions(transaction, relation, "embedding", Some(("collection_id", &value))).await;
        parts.push(Part { column: "collection_id".into(), value, name, dimensions });
    }
    Ok(parts)
}
