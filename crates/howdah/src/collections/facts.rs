//! What is known about a collection's table.
//!
//! Read from the catalogue in one round trip and kept for a few seconds, so that a search costs none. What was kept may be
//! a little old; that can make a search slower, never wrong, since every answer is judged by what came back.

use std::sync::Arc;
use std::time::Duration;

use howdah_plan::migrate::live::{Relation, Table};
use howdah_plan::migrate::{cast_of, fits, same_condition};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::scan::{Access, IndexFacts, TableFacts};
use howdah_plan::spec::Storage;
use howdah_plan::spec::resolve::Resolved;
use tokio_postgres::Row;

use super::cache::Cache;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Lease, Pools};

/// How long facts are kept.
const FRESH: Duration = Duration::from_secs(5);

const TABLE: &str = "
SELECT c.oid, own_size.tuples, own_size.pages, own_size.bytes, own_size.live, own_size.dead,
       current_setting('server_version_num')::int, pg_size_bytes(current_setting('work_mem')),
       format_type(key.atttypid, key.atttypmod), type.typname::text, emb.atttypmod, emb.attnum,
       ext.extversion, CASE WHEN NOT pg_type_is_visible(type.oid) THEN ns.nspname::text END,
       c.relkind::text, CASE WHEN row_security_active(c.oid) THEN current_user::text END
FROM pg_class c
JOIN pg_namespace own ON own.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT coalesce(CASE WHEN bool_and(leaf.reltuples >= 0) THEN sum(leaf.reltuples) ELSE -1 END, 0)::float8 AS tuples,
         coalesce(sum(leaf.relpages), 0)::float8 AS pages, coalesce(sum(pg_relation_size(leaf.oid)), 0)::float8 AS bytes,
         coalesce(sum(pg_stat_get_live_tuples(leaf.oid)), 0)::float8 AS live,
         coalesce(sum(pg_stat_get_dead_tuples(leaf.oid)), 0)::float8 AS dead
  FROM pg_class leaf
  WHERE CASE WHEN c.relkind = 'p' THEN leaf.oid IN (SELECT part.relid FROM pg_partition_tree(c.oid) part WHERE part.isleaf)
             ELSE leaf.oid = c.oid END) own_size
LEFT JOIN pg_attribute key ON key.attrelid = c.oid AND key.attname = $3 AND NOT key.attisdropped
LEFT JOIN pg_attribute emb ON emb.attrelid = c.oid AND emb.attname = $4 AND NOT emb.attisdropped
LEFT JOIN pg_type type ON type.oid = emb.atttypid
LEFT JOIN pg_namespace ns ON ns.oid = type.typnamespace
LEFT JOIN pg_extension ext ON ext.extname = 'vector'
WHERE own.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'm', 'v', 'f')";

/// Vector indexes on the embedding column or an expression of it, by the operators they order by, which holds for any
/// access method.
const INDEXES: &str = "
SELECT ic.relname::text, am.amname::text, i.indisvalid AND i.indisready, i.indpred IS NOT NULL,
       coalesce(ic.reloptions, '{}'),
       (SELECT o.oprname::text FROM pg_opclass oc JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily
        JOIN pg_operator o ON o.oid = ao.amopopr
        WHERE oc.oid = i.indclass[0] AND ao.amoppurpose = 'o' LIMIT 1),
       CASE WHEN i.indkey[0] = 0 THEN pg_get_indexdef(ic.oid, 1, false) END,
       pg_get_expr(i.indpred, i.indrelid), ic.reltuples::float8
FROM pg_index i
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace own ON own.oid = t.relnamespace
JOIN pg_class ic ON ic.oid = i.indexrelid
JOIN pg_am am ON am.oid = ic.relam
JOIN pg_attribute emb ON emb.attrelid = t.oid AND emb.attname = $3
     AND (emb.attnum = i.indkey[0] OR i.indkey[0] = 0 AND EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = ic.oid
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.refobjsubid = emb.attnum))
WHERE own.nspname = $1 AND t.relname = $2 AND am.amname = ANY ('{hnsw,ivfflat,howdah}')
ORDER BY am.amname = 'howdah' DESC, am.amname = 'hnsw' DESC, ic.oid";

/// Kind and columns of an adopted table: nobody answers from one that does not fit what is declared of it.
const SHAPE: &str = "
SELECT jsonb_build_object('schema', own.nspname, 'name', c.relname,
       'relation', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'view'
                   WHEN 'm' THEN 'materialized_view' ELSE 'foreign' END,
       'columns', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.attname,
                                                                'sql_type', format_type(a.atttypid, a.atttypmod))), '[]')
                   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
FROM pg_class c JOIN pg_namespace own ON own.oid = c.relnamespace
WHERE own.nspname = $1 AND c.relname = $2";

/// The facts that are remembered.
#[derive(Default)]
struct Remembered(Cache<Arc<TableFacts>>);

/// What tells one collection's table from all others of the server.
pub fn key(resolved: &Resolved) -> String {
    format!(
        "{}\0{}\0{}\0{:?}\0{:?}\0{}\0",
        resolved.database,
        resolved.schema,
        resolved.table,
        resolved.metric,
        resolved.columns.key,
        resolved.columns.embedding
    ) + resolved.columns.fixed.as_deref().unwrap_or_default()
}

/// The facts of a collection's table, read when the ones kept are older than a few seconds.
///
/// # Errors
/// `not_found` when the table, its key or its embedding column is not there; `conflict` when an adopted table does not fit
/// what is declared of it; whatever keeps a connection from being made.
pub async fn of(pools: &Pools, resolved: &Resolved) -> Result<Arc<TableFacts>, Problem> {
    let key = key(resolved);
    let remembered = pools.remembered::<Remembered>();
    if let Some(facts) = remembered.0.get(&key, FRESH) {
        return Ok(facts);
    }
    let client = pools.get(&resolved.database).await?;
    let facts = Arc::new(read(&client, resolved).await?);
    remembered.0.put(key, Arc::clone(&facts), FRESH);
    Ok(facts)
}

/// Forgets what is kept about a collection, for those who have just changed its table or indexes.
pub fn forget(pools: &Pools, resolved: &Resolved) {
    pools.remembered::<Remembered>().0.forget(&key(resolved));
}

/// Reads the facts of a collection's table from the catalogue.
///
/// # Errors
/// As [`of`].
pub async fn read(client: &Lease, resolved: &Resolved) -> Result<TableFacts, Problem> {
    let columns = &resolved.columns;
    let (table, indexes) = futures_util::future::join(
        client.query_opt(TABLE, &[&resolved.schema, &resolved.table, &columns.id, &columns.embedding]),
        client.query(INDEXES, &[&resolved.schema, &resolved.table, &columns.embedding]),
    )
    .await;
    let failed = |e: tokio_postgres::Error| from_pg(&e, "read the facts of a table");
    let Some(table) = table.map_err(failed)? else { return Err(no_table(resolved)) };
    let indexes = indexes.map_err(failed)?;
    if resolved.adopted {
        let row = client.query_one(SHAPE, &[&resolved.schema, &resolved.table]).await.map_err(failed)?;
        let shape: Table = serde_json::from_value(row.get(0)).map_err(|error| {
            Problem::new(Kind::Internal, "cannot read the columns of a table").detail(error.to_string())
        })?;
        fits(resolved, &shape)?;
    }
    facts(&table, &indexes, resolved)
}

fn no_table(resolved: &Resolved) -> Problem {
    let name = format!("{}.{}", resolved.schema, resolved.table);
    let problem = Problem::new(Kind::NotFound, format!("collection `{}` has no table yet", resolved.name))
        .detail(format!("`{name}` is not in database `{}`", resolved.database));
    if resolved.adopted {
        problem.hint("Correct `table` in howdah.toml: an adopted table has to be there.")
    } else {
        problem.hint("Run `howdah apply`.")
    }
}

fn facts(table: &Row, indexes: &[Row], resolved: &Resolved) -> Result<TableFacts, Problem> {
    let missing = |column: &str| {
        Problem::new(Kind::NotFound, format!("table `{}` has no column `{column}`", resolved.table))
            .hint("Run `howdah plan` to see what is declared and not there.")
    };
    let id_type = match resolved.columns.key.len() {
        1 => table.get::<_, Option<String>>(8),
        _ => Some("text".to_owned()),
    };
    let stored = match table.get::<_, Option<String>>(9).as_deref() {
        Some("vector") => Storage::Vector,
        Some("halfvec") => Storage::Halfvec,
        Some(other) => {
            return Err(Problem::new(
                Kind::Failed,
                format!("column `{}` is `{other}`, not a vector", resolved.columns.embedding),
            )
            .detail("searched are `vector` and `halfvec`"));
        }
        None => return Err(missing(&resolved.columns.embedding)),
    };
    let dimensions = u32::try_from(table.get::<_, i32>(10)).ok().filter(|dimensions| *dimensions > 0);
    let cast = resolved.cast(stored, dimensions);
    let storage = cast.map_or(stored, |(storage, _)| storage);
    let cast = cast.map(|(storage, dimensions)| format!("{}({dimensions})", storage.sql_name()));
    let Choice { index, no_index, partial } = choose(indexes, resolved, cast.as_deref());
    let (live, dead): (f64, f64) = (table.get(4), table.get(5));
    let rows = estimate(table.get(1), table.get(2), table.get(3), live);
    Ok(TableFacts {
        server_version: u32::try_from(table.get::<_, i32>(6)).unwrap_or_default(),
        pgvector: version(table.get::<_, Option<String>>(12).as_deref().unwrap_or_default()),
        vector_schema: table.get(13),
        id_type: id_type.ok_or_else(|| missing(&resolved.columns.id))?,
        storage,
        dimensions,
        cast,
        read_only: read_only(&table.get::<_, String>(14)),
        row_security: table.get(15),
        rows: partial.filter(|covered| *covered >= 0.0).unwrap_or(rows),
        partial: partial.is_some(),
        dead: if dead > 0.0 { dead / (live + dead) } else { 0.0 },
        work_mem: u64::try_from(table.get::<_, i64>(7)).unwrap_or_default(),
        index,
        no_index,
    })
}

/// Rows as the planner sees them: the density at the last analysis times the pages there are now.
fn estimate(tuples: f64, pages: f64, bytes: f64, live: f64) -> f64 {
    let now = bytes / 8192.0;
    if tuples >= 0.0 && pages > 0.0 {
        return tuples / pages * now;
    }
    // Never analysed: what the statistics counted, else about three rows a page.
    if live > 0.0 { live } else { now * 3.0 }
}

fn version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

fn read_only(kind: &str) -> Option<String> {
    let relation = match kind {
        "v" => Relation::View,
        "m" => Relation::MaterializedView,
        "f" => Relation::Foreign,
        _ => return None,
    };
    relation.read_only().map(str::to_owned)
}

/// The index that serves searches, or why there is none.
struct Choice {
    index: Option<IndexFacts>,
    no_index: Option<String>,
    /// Rows that the index covers, as last counted, where it covers those of the fixed filter alone.
    partial: Option<f64>,
}

/// The first valid index that orders what is compared by the metric's operator. One of the fixed filter's rows alone is
/// preferred: it leads to no others.
fn choose(indexes: &[Row], resolved: &Resolved, cast: Option<&str>) -> Choice {
    let metric = resolved.metric;
    let mut why = "there is no vector index".to_owned();
    let wanted = cast.map(|cast| (resolved.columns.embedding.clone(), cast.to_owned()));
    let fixed = resolved.columns.fixed.as_deref();
    let fits = |row: &Row| {
        let predicate: Option<String> = row.get(7);
        fixed.zip(predicate.as_deref()).is_some_and(|(fixed, there)| same_condition(fixed, there))
    };
    let (partial, whole): (Vec<&Row>, Vec<&Row>) = indexes.iter().partition(|row| fits(row));
    for row in partial.into_iter().chain(whole) {
        let expression: Option<String> = row.get(6);
        let of_cast = expression.as_deref().and_then(cast_of);
        let name: String = row.get(0);
        let operator: Option<String> = row.get(5);
        let Some(access) = Access::of(row.get(1)) else { continue };
        if !row.get::<_, bool>(2) {
            why = format!("index `{name}` is not valid (yet)");
        } else if row.get::<_, bool>(3) && !fits(row) {
            why = format!("index `{name}` covers only a part of the rows");
        } else if of_cast != wanted || expression.is_some() != wanted.is_some() {
            why = match (expression, cast) {
                (Some(expression), None) => {
                    format!("index `{name}` is on `{expression}`; searches order by the column itself")
                }
                (_, cast) => format!(
                    "index `{name}` is not on the column cast to `{}`, which searches order by",
                    cast.unwrap_or_default()
                ),
            };
        } else if operator.as_deref() != Some(metric.operator()) {
            why = format!(
                "index `{name}` is made for `{}`, the collection's metric is `{}`",
                operator.unwrap_or_default(),
                metric.operator()
            );
        } else {
            let options: Vec<String> = row.get(4);
            let lists = options.iter().find_map(|option| option.strip_prefix("lists=")?.parse().ok());
            let index = Some(IndexFacts { name, access, lists, metric });
            return Choice { index, no_index: None, partial: fits(row).then(|| row.get(8)) };
        }
    }
    Choice { index: None, no_index: Some(why), partial: None }
}
