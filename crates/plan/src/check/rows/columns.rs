//! How are vectors declared?

use super::super::answer::{Found, Row};
use super::super::contract::{Area, Check, CheckFacts, FixKind, FixTemplate, Need, Scope, Severity};
use crate::spec::resolve::{MAX_INDEXED_HALFVEC, MAX_INDEXED_VECTOR, resolve};

const VECTOR: &[Need] = &[Need::Extension("vector")];

const COLUMNS: &str = concat!(
    "SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS object, n.nspname AS schema_name, \
     c.relname AS table_name, a.attname AS column_name, format('%I.%I', n.nspname, c.relname) AS table, \
     quote_ident(a.attname) AS column, t.typname AS type, a.atttypmod AS dimensions, \
     greatest(c.reltuples, 0)::bigint AS rows, a.attstorage::text AS storage, c.relkind::text AS kind, \
     EXISTS (SELECT 1 FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam \
     WHERE i.indrelid = c.oid AND i.indisvalid AND am.amname IN ('hnsw', 'ivfflat', 'diskann', 'vchordrq', 'vchordg', \
     'howdah')) AS indexed FROM ",
    vector_columns!()
);

pub static CHECKS: &[Check] = &[
    Check::new(
        "pgv.col.no_dims",
        Area::VectorSchema,
        Severity::High,
        "a vector column without dimensions",
        "Such a column takes vectors of any length: it cannot be indexed, and a search over two models' vectors ends in \
         an error.",
        COLUMNS,
    )
    .needs(VECTOR)
    .each(|_, row| {
        (row.int("dimensions")? < 0)
            .then(|| Found::new(format!("type `{}` without a number", row.text("type"))))
    })
    .sql_fix(
        "SELECT vector_dims({column}::vector), count(*) FROM {table} GROUP BY 1; -- then, with the one number found:\n\
         ALTER TABLE {table} ALTER COLUMN {column} TYPE {type}(<dimensions>)",
    ),
    Check::new(
        "pgv.dim.over_limit",
        Area::VectorSchema,
        Severity::High,
        "more dimensions than an index takes",
        "HNSW and IVFFlat take 2,000 dimensions of `vector` and 4,000 of `halfvec`. Beyond, every search reads the whole \
         table.",
        COLUMNS,
    )
    .needs(VECTOR)
    .each(over_limit)
    .advice(
        "Store {table}.{column} as `halfvec` (up to 4,000 dimensions), or search `binary_quantize` in an index and rank \
         the best again.",
    ),
    Check::new(
        "pgv.dim.mismatch_model",
        Area::VectorSchema,
        Severity::Critical,
        "a column's dimensions are not the model's",
        "Vectors of the declared model do not fit this column; every insert and every search ends in an error.",
        COLUMNS,
    )
    .needs(&[Need::Extension("vector"), Need::Declaration])
    .each(mismatch)
    .advice(
        "Add a second column with the model's dimensions, fill it, index it, then swap the names; or declare the model \
         that filled {table}.",
    ),
    Check::new(
        "pgv.col.no_index",
        Area::VectorIndex,
        Severity::Medium,
        "a large vector column without an index",
        "Every search reads every row. Up to some ten thousand rows that is exact and quick; beyond it is neither.",
        COLUMNS,
    )
    .needs(VECTOR)
    .each(|_, row| {
        let rows = row.int("rows")?;
        let within = match row.text("type") {
            "vector" => row.int("dimensions")? <= i64::from(MAX_INDEXED_VECTOR),
            "halfvec" => row.int("dimensions")? <= i64::from(MAX_INDEXED_HALFVEC),
            _ => false,
        };
        (rows > 50_000 && !row.is("indexed") && row.int("dimensions")? > 0 && within)
            .then(|| Found::new(format!("about {rows} rows and no vector index")))
    })
    .sql_fix("CREATE INDEX CONCURRENTLY ON {table} USING hnsw ({column} {type}_cosine_ops)"),
    Check::new(
        "pgv.storage_external",
        Area::VectorSchema,
        Severity::Info,
        "vectors are stored beside their rows",
        "A vector of more than about 2 kB is kept in the TOAST table; each exact comparison fetches it from there. For a \
         hot table whose vectors fit into a page (2,000 dimensions), plain storage saves that.",
        COLUMNS,
    )
    .needs(VECTOR)
    .each(|_, row| {
        let dimensions = row.int("dimensions")?;
        let bytes = dimensions * if row.text("type") == "halfvec" { 2 } else { 4 };
        (matches!(row.text("type"), "vector" | "halfvec")
            && row.text("kind") == "r"
            && row.text("storage") != "p"
            && bytes > 2_000
            && bytes < 8_000
            && row.int("rows")? > 10_000)
            .then(|| Found::new(format!("{dimensions} dimensions are {bytes} bytes a row, outside the row")))
    })
    .advice(
        "`ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE PLAIN` counts for rows written from then on; measure \
         before rewriting the table.",
    ),
    Check::new(
        "pgv.zero_norm",
        Area::Quality,
        Severity::High,
        "vectors of length zero",
        "A zero vector has no cosine distance; pgvector leaves it out of a cosine index, so its row is never found. It is \
         what a failed embedding leaves behind.",
        "SELECT count(*) AS sampled, \
         count(*) FILTER (WHERE vector_norm({column}::vector) = 0) AS zero FROM \
         (SELECT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT 20000) AS sample",
    )
    .scope(Scope::VectorColumn)
    .needs(VECTOR)
    .each(|_, row| {
        let zero = row.int("zero")?;
        (zero > 0).then(|| Found::new(format!("{zero} of {} rows looked at", row.int("sampled").unwrap_or(0))))
    })
    .sql_fix("SELECT * FROM {table} WHERE vector_norm({column}::vector) = 0; -- embed these again"),
    Check::new(
        "pgv.null_vectors",
        Area::Quality,
        Severity::Info,
        "rows without a vector",
        "A row whose vector is NULL is in no vector index; no vector search finds it.",
        concat!(
            "SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS object, \
             format('%I.%I', n.nspname, c.relname) AS table, quote_ident(a.attname) AS column, s.null_frac AS part \
             FROM pg_stats s JOIN pg_namespace sn ON sn.nspname = s.schemaname \
             JOIN pg_class sc ON sc.relnamespace = sn.oid AND sc.relname = s.tablename \
             JOIN pg_attribute sa ON sa.attrelid = sc.oid AND sa.attname = s.attname, ",
            vector_columns!(),
            " AND c.oid = sc.oid AND a.attnum = sa.attnum AND s.null_frac > 0.01"
        ),
    )
    .needs(VECTOR)
    .each(|_, row| Some(Found::new(format!("{:.1} % of the rows", row.float("part")? * 100.0))))
    .sql_fix("SELECT * FROM {table} WHERE {column} IS NULL; -- embed these"),
];

fn over_limit(_: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let dimensions = row.int("dimensions")?;
    let most = match row.text("type") {
        "vector" => i64::from(MAX_INDEXED_VECTOR),
        "halfvec" => i64::from(MAX_INDEXED_HALFVEC),
        _ => return None,
    };
    let found =
        Found::new(format!("{dimensions} dimensions of `{}`, indexed up to {most}", row.text("type")));
    let halfvec = FixTemplate {
        kind: FixKind::Sql,
        text: "CREATE INDEX CONCURRENTLY ON {table} USING hnsw (({column}::halfvec({dimensions})) halfvec_cosine_ops); \
               -- and search with ORDER BY {column}::halfvec({dimensions}) <=> …",
        safe: false,
    };
    let fits = row.text("type") == "vector" && dimensions <= i64::from(MAX_INDEXED_HALFVEC);
    // An index over the cast to halfvec or over the bits is an index: the column is served.
    (dimensions > most && !row.is("indexed")).then(|| if fits { found.fix(halfvec) } else { found })
}

fn mismatch(facts: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let spec = facts.spec?;
    let dimensions = row.int("dimensions")?;
    spec.collections.keys().find_map(|name| {
        let wanted = resolve(spec, name).ok()?;
        let declared = i64::from(wanted.dimensions?);
        (facts.database == Some(wanted.database.as_str())
            && wanted.schema == row.text("schema_name")
            && wanted.table == row.text("table_name")
            && wanted.columns.embedding == row.text("column_name")
            && dimensions > 0
            && declared != dimensions)
            .then(|| {
                Found::new(format!(
                    "the column has {dimensions} dimensions, collection `{name}` declares {declared}"
                ))
            })
    })
}
