//! How are vectors indexed, and does the index serve the searches?

use super::super::answer::{Found, Row};
use super::super::contract::{Area, Check, CheckFacts, FixKind, FixTemplate, Need, Scope, Severity};
use super::advised;
use super::figure::size;
use crate::spec::resolve::resolve;

const VECTOR: &[Need] = &[Need::Extension("vector")];
const STATEMENTS: &[Need] =
    &[Need::Extension("vector"), Need::Extension("pg_stat_statements"), Need::Monitor];

/// One row an index: what every verdict here needs.
const INDEXES: &str = concat!(
    "SELECT format('%I.%I', n.nspname, c.relname) AS object, format('%I.%I', n.nspname, t.relname) AS table, \
     n.nspname AS schema_name, t.relname AS table_name, am.amname AS method, o.opcname AS opclass, \
     pg_get_indexdef(i.indexrelid, 1, true) AS expression, i.indisvalid AS valid, \
     pg_relation_size(i.indexrelid) AS bytes, greatest(t.reltuples, 0)::bigint AS rows, \
     (SELECT atttypmod FROM pg_attribute WHERE attrelid = i.indexrelid AND attnum = 1) AS dimensions, \
     (SELECT ty.typname FROM pg_attribute a JOIN pg_type ty ON ty.oid = a.atttypid WHERE a.attrelid = i.indexrelid \
     AND a.attnum = 1) AS type, coalesce((SELECT split_part(x, '=', 2)::int FROM unnest(c.reloptions) x \
     WHERE x LIKE 'm=%'), 16) AS m, coalesce((SELECT split_part(x, '=', 2)::int FROM unnest(c.reloptions) x \
     WHERE x LIKE 'lists=%'), 100) AS lists, coalesce(s.idx_scan, 0) AS scans, \
     extract(epoch FROM now() - coalesce(d.stats_reset, pg_postmaster_start_time()))::bigint AS counted_seconds, \
     (SELECT setting::bigint * 1024 FROM pg_settings WHERE name = 'maintenance_work_mem') AS maintenance_bytes, \
     (SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers') AS buffers_bytes, \
     coalesce(current_setting('ivfflat.probes', true), '1')::int AS probes, \
     coalesce(current_setting('ivfflat.iterative_scan', true), 'off') AS ivfflat_iterative, \
     coalesce(current_setting('hnsw.ef_search', true), '40')::int AS ef_search, \
     coalesce(current_setting('hnsw.iterative_scan', true), 'off') AS hnsw_iterative, \
     current_database() AS database, quote_ident(current_database()) AS database_name FROM ",
    vector_indexes!(),
    " JOIN pg_opclass o ON o.oid = i.indclass[0] LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.indexrelid \
     LEFT JOIN pg_stat_database d ON d.datname = current_database() \
     WHERE am.amname IN ('hnsw', 'ivfflat', 'howdah') AND c.relkind = 'i' ORDER BY 1"
);

pub static CHECKS: &[Check] = &[
    Check::new(
        "pgv.index.invalid",
        Area::VectorIndex,
        Severity::Critical,
        "an index that is not valid",
        "A build with CONCURRENTLY that died leaves an index that every write pays for and no search uses.",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object, format('%I.%I', n.nspname, t.relname) AS table, \
         i.indisvalid AS valid, i.indisready AS ready, c.relname ~ '_ccnew[0-9]*$|_ccold[0-9]*$' AS leftover \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'i' AND (NOT i.indisvalid OR NOT i.indisready) \
         AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)",
    )
    .each(|_, row| {
        let found = Found::new(format!("on {}: valid {}, ready {}", row.text("table"), row.is("valid"), row.is("ready")));
        Some(if row.is("leftover") { found.value("mend", format!("DROP INDEX CONCURRENTLY {}", row.text("object"))) } else {
            found.value("mend", format!("REINDEX INDEX CONCURRENTLY {}", row.text("object")))
        })
    })
    .safe_fix("{mend}"),
    Check::new(
        "pgv.index.duplicate",
        Area::VectorIndex,
        Severity::High,
        "two indexes that do the same",
        "Every write pays for both, the memory holds both, and the planner uses one.",
        concat!(
            "SELECT format('%I.%I', n.nspname, min(t.relname)) AS object, \
             json_agg(format('%I.%I', n.nspname, c.relname) ORDER BY i.indisprimary DESC, i.indisunique DESC, c.oid) \
             AS indexes FROM ",
            vector_indexes!(),
            " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND i.indisvalid \
             AND c.relkind = 'i' GROUP BY n.nspname, i.indrelid, am.amname, i.indkey::text, i.indclass::text, \
             i.indcollation::text, i.indoption::text, coalesce(pg_get_expr(i.indexprs, i.indrelid), ''), \
             coalesce(pg_get_expr(i.indpred, i.indrelid), ''), \
             CASE WHEN i.indisunique AND am.amname = 'btree' THEN i.indexrelid ELSE 0 END HAVING count(*) > 1"
        ),
    )
    .each(|_, row| {
        let indexes = row.list("indexes");
        let (first, others) = indexes.split_first()?;
        let drops: Vec<String> = others.iter().map(|index| format!("DROP INDEX CONCURRENTLY {index};")).collect();
        Some(Found::new(format!("{} and {}", others.join(", "), first)).value("drops", drops.join("\n")))
    })
    .sql_fix("{drops}"),
    Check::new(
        "pgv.index.opclass_vs_query",
        Area::VectorIndex,
        Severity::Critical,
        "statements use an operator that no index serves",
        "An index of `vector_cosine_ops` serves `<=>` and nothing else; `<->`, `<#>` and `<+>` read the whole table.",
        concat!(
            "SELECT left(s.query, 200) AS query, s.calls, s.op AS operator, (SELECT coalesce(json_agg(DISTINCT o.opcname), \
             '[]') FROM ",
            vector_indexes!(),
            " JOIN pg_opclass o ON o.oid = i.indclass[0] WHERE i.indisvalid AND am.amname NOT IN ('btree', 'gin', 'gist', \
             'hash', 'brin', 'spgist')) AS opclasses FROM (SELECT query, calls, \
             substring(query FROM '(<->|<=>|<#>|<[+]>)') AS op FROM pg_stat_statements WHERE dbid = \
             (SELECT oid FROM pg_database WHERE datname = current_database()) AND query ~* 'order\\s+by' \
             AND query !~* 'pg_stat_statements') s WHERE s.op IS NOT NULL ORDER BY s.calls DESC LIMIT 50"
        ),
    )
    .needs(STATEMENTS)
    .all(operators)
    .sql_fix("CREATE INDEX CONCURRENTLY ON <table> USING hnsw (<column> {opclass}) -- or search with the indexed operator"),
    Check::new(
        "pgv.index.opclass_vs_declared",
        Area::VectorIndex,
        Severity::Critical,
        "an index for another distance than the declared one",
        "The collection is searched by its declared metric; an index with another operator class is never used for it.",
        INDEXES,
    )
    .needs(&[Need::Extension("vector"), Need::Declaration])
    .all(declared)
    .advice("`howdah plan` shows the index that the declaration asks for; `howdah apply` makes it."),
    Check::new(
        "pgv.index.answers",
        Area::Integrity,
        Severity::Critical,
        "a vector index cannot be read",
        "One stored vector is searched for through the index. Page checksums and amcheck do not look into HNSW and \
         IVFFlat: a damaged one passes both and fails here.",
        "SELECT count(*) AS rows FROM (SELECT 1 FROM {table} WHERE {filter} ORDER BY {expression} {operator} \
         (SELECT {expression} FROM {table} WHERE {expression} IS NOT NULL AND {filter} LIMIT 1) LIMIT 1) AS answer",
    )
    .scope(Scope::VectorIndex)
    .needs(VECTOR)
    .error_counts()
    .all(|_, _| vec![])
    .safe_fix("REINDEX INDEX CONCURRENTLY {object}"),
    Check::new(
        "pgv.index.building",
        Area::VectorIndex,
        Severity::Info,
        "an index is being built",
        "Searches do not use it before it is ready.",
        "SELECT relid::regclass::text AS object, phase, round(100.0 * greatest(blocks_done::numeric / \
         nullif(blocks_total, 0), tuples_done::numeric / nullif(tuples_total, 0)), 1) AS percent \
         FROM pg_stat_progress_create_index WHERE datname = current_database()",
    )
    .each(|_, row| {
        let percent = row.float("percent").map(|percent| format!(", {percent} %")).unwrap_or_default();
        Some(Found::new(format!("`{}`{percent}", row.text("phase"))))
    })
    .advice("Wait for it, or look at `pg_stat_progress_create_index`."),
    Check::new(
        "pgv.ivfflat.built_empty",
        Area::VectorIndex,
        Severity::High,
        "IVFFlat lists that do not fit the rows",
        "The lists' centres are computed from the rows that are there when the index is made. Made on an empty table they \
         mean nothing; with far too few or too many lists, a search reads too much or finds too little.",
        INDEXES,
    )
    .needs(VECTOR)
    .each(lists)
    .sql_fix("ALTER INDEX {object} SET (lists = {better});\nREINDEX INDEX CONCURRENTLY {object}"),
    Check::new(
        "pgv.ivfflat.probes",
        Area::VectorIndex,
        Severity::Medium,
        "IVFFlat reads one list a search",
        "With the default of one probe a search sees one list of many and finds what happens to be in it.",
        INDEXES,
    )
    .needs(VECTOR)
    .each(|_, row| {
        let (lists, probes) = (row.int("lists")?, row.int("probes")?);
        let better = (lists as f64).sqrt().ceil() as i64;
        (row.text("method") == "ivfflat" && probes * 4 < better && row.text("ivfflat_iterative") == "off").then(|| {
            Found::new(format!("`ivfflat.probes` is {probes} of {lists} lists")).value("better", better.to_string())
        })
    })
    .safe_fix("ALTER DATABASE {database_name} SET ivfflat.probes = {better}"),
    Check::new(
        "pgv.hnsw.ef_search_lt_limit",
        Area::VectorIndex,
        Severity::Medium,
        "an HNSW search returns at most `hnsw.ef_search` rows",
        "With iterative scans off, a search through an HNSW index stops after `hnsw.ef_search` candidates: LIMIT 100 \
         returns 40 rows, and a filter leaves fewer still. There is no error. Howdah's own searches set what they need; \
         other clients do not.",
        INDEXES,
    )
    .needs(VECTOR)
    .all(|_, rows| {
        let short = |row: &&Row| row.text("method") == "hnsw" && row.text("hnsw_iterative") == "off";
        let Some(row) = rows.iter().find(short) else { return vec![] };
        let ef = row.int("ef_search").unwrap_or(40);
        let count = rows.iter().filter(short).count();
        vec![
            Found::new(format!("`hnsw.iterative_scan` is off and `hnsw.ef_search` is {ef}, for {count} index(es)"))
                .about(row.text("database")),
        ]
    })
    .safe_fix("ALTER DATABASE {database_name} SET hnsw.iterative_scan = 'strict_order'"),
    Check::new(
        "pgv.hnsw.filtered_no_iterative",
        Area::VectorIndex,
        Severity::High,
        "filtered vector searches come back nearly empty",
        "An index of pgvector returns its nearest candidates and the filter is applied to those. Without iterative scans \
         what is left may be far less than the limit.",
        concat!(
            "SELECT left(query, 200) AS query, calls, rows::float / nullif(calls, 0) AS rows_per_call, \
             coalesce(current_setting('hnsw.iterative_scan', true), 'off') AS iterative, \
             quote_ident(current_database()) AS database_name FROM pg_stat_statements WHERE dbid = \
             (SELECT oid FROM pg_database WHERE datname = current_database()) AND query ~ '<->|<=>|<#>|<[+]>' \
             AND query ~* 'where' AND query ~* 'limit' AND query !~* 'pg_stat_statements' AND calls >= 10 \
             AND EXISTS (SELECT 1 FROM ",
            vector_indexes!(),
            " WHERE am.amname IN ('hnsw', 'ivfflat')) ORDER BY calls DESC LIMIT 20"
        ),
    )
    .needs(STATEMENTS)
    .each(|_, row| {
        let per_call = row.float("rows_per_call")?;
        (row.text("iterative") == "off" && per_call < 5.0).then(|| {
            Found::new(format!("{per_call:.1} rows a call over {} calls", row.int("calls").unwrap_or(0)))
                .about(row.text("query"))
        })
    })
    .safe_fix("ALTER DATABASE {database_name} SET hnsw.iterative_scan = 'strict_order'"),
    Check::new(
        "pgv.guc.scope",
        Area::Config,
        Severity::Info,
        "search settings hold for single sessions only",
        "No role and no database sets `hnsw.*` or `ivfflat.*`: what one session sets is gone in the next, and behind a \
         transaction pool it turns up in somebody else's.",
        concat!(
            "SELECT (SELECT count(*) FROM pg_db_role_setting s WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database \
             WHERE datname = current_database())) AND s.setconfig::text ~ 'hnsw[.]|ivfflat[.]') AS scoped, \
             (SELECT count(*) FROM ",
            vector_indexes!(),
            " WHERE am.amname IN ('hnsw', 'ivfflat')) AS indexes, quote_ident(current_database()) AS database_name"
        ),
    )
    .needs(VECTOR)
    .each(|_, row| {
        (row.int("scoped")? == 0 && row.int("indexes")? > 0)
            .then(|| Found::new("no `ALTER ROLE … SET` or `ALTER DATABASE … SET` for them"))
    })
    .sql_fix("ALTER DATABASE {database_name} SET hnsw.ef_search = 100"),
    Check::new(
        "pgv.index.unused",
        Area::VectorIndex,
        Severity::Medium,
        "a vector index that nobody uses",
        "It takes memory and slows every write. Often the searches use another operator or another expression; look for \
         that before dropping it. Replicas count their own scans.",
        INDEXES,
    )
    .needs(VECTOR)
    .each(|_, row| {
        (row.int("scans")? == 0
            && row.is("valid")
            && row.int("counted_seconds")? > 86_400
            && row.int("bytes")? > 1 << 20)
            .then(|| {
                Found::new(format!(
                    "no scan in {} days, {}",
                    row.int("counted_seconds").unwrap_or(0) / 86_400,
                    size(row.int("bytes").unwrap_or(0))
                ))
            })
    })
    .sql_fix("DROP INDEX CONCURRENTLY {object}; -- after a look at every replica"),
    Check::new(
        "pgv.index.size_vs_buffers",
        Area::Capacity,
        Severity::Medium,
        "vector indexes of pgvector do not fit into shared_buffers",
        "Each step of a graph search reads another page at random. From memory that takes nanoseconds, from the kernel \
         microseconds, from a disk far more.",
        INDEXES,
    )
    .needs(VECTOR)
    .all(|_, rows| {
        // Howdah's own is read list after list, not at random.
        let rows: Vec<&Row> = rows.iter().filter(|row| row.text("method") != "howdah").collect();
        let bytes: i64 = rows.iter().filter_map(|row| row.int("bytes")).sum();
        let buffers = rows.first().and_then(|row| row.int("buffers_bytes")).unwrap_or(i64::MAX);
        if bytes <= buffers {
            return vec![];
        }
        vec![Found::new(format!("{} of indexes, `shared_buffers` is {}", size(bytes), size(buffers)))]
    })
    .advice(
        "Index `halfvec` (half the size, nearly the same answers), give the machine more memory, or partition. `howdah \
         plan` shows what `shared_buffers` this machine bears.",
    ),
    Check::new(
        "pgv.index.mwm_fit",
        Area::Capacity,
        Severity::Medium,
        "the next build of an HNSW index does not fit into maintenance_work_mem",
        "A graph that outgrows `maintenance_work_mem` goes on being built on disk, three times slower in a measured case \
         and worse on slow disks. A restore builds every index again, with the setting as it is then.",
        INDEXES,
    )
    .needs(VECTOR)
    .each(build_memory)
    .sql_fix("SET maintenance_work_mem = '{wanted}'; -- in the session that builds, if the machine has it"),
    Check::new(
        "pgv.index.bloat",
        Area::VectorIndex,
        Severity::Medium,
        "an HNSW index much larger than its rows",
        "Deleted and updated rows leave places in the graph that are not given back; memory holds them all the same.",
        INDEXES,
    )
    .needs(VECTOR)
    .each(bloat)
    .safe_fix("REINDEX INDEX CONCURRENTLY {object}"),
    Check::new(
        "pgv.index.cached_pct",
        Area::Capacity,
        Severity::Medium,
        "a vector index is read from outside shared_buffers",
        "After a restart or a failover the index is cold; if it stays so, it does not fit.",
        "SELECT format('%I.%I', s.schemaname, s.indexrelname) AS object, s.idx_blks_hit AS hit, s.idx_blks_read AS read, \
         quote_literal(format('%I.%I', s.schemaname, s.indexrelname)) AS literal \
         FROM pg_statio_all_indexes s JOIN pg_class c ON c.oid = s.indexrelid JOIN pg_am am ON am.oid = c.relam \
         WHERE am.amname IN ('hnsw', 'ivfflat', 'howdah')",
    )
    .needs(VECTOR)
    .each(|_, row| {
        let (hit, read) = (row.float("hit")?, row.float("read")?);
        let percent = 100.0 * hit / (hit + read).max(1.0);
        (hit + read > 100_000.0 && percent < 99.0)
            .then(|| Found::new(format!("{percent:.1} % of {:.0} page reads were in memory", hit + read)))
    })
    .sql_fix("CREATE EXTENSION IF NOT EXISTS pg_prewarm; SELECT pg_prewarm({literal})"),
    Check::new(
        "pgv.build.shm",
        Area::Capacity,
        Severity::High,
        "a parallel HNSW build does not fit into /dev/shm",
        "A parallel build keeps its graph in shared memory of the size of `maintenance_work_mem`. Containers have 64 MB \
         of it unless told otherwise: `could not resize shared memory segment`.",
        "SELECT current_setting('dynamic_shared_memory_type') AS kind, \
         (SELECT setting::bigint * 1024 FROM pg_settings WHERE name = 'maintenance_work_mem') AS maintenance, \
         current_setting('max_parallel_maintenance_workers')::int AS workers",
    )
    .server()
    .needs(&[Need::Machine])
    .each(|facts, row| {
        let shm = i64::try_from(facts.machine?.shm_bytes?).ok()?;
        let maintenance = row.int("maintenance")?;
        (row.text("kind") == "posix" && row.int("workers")? > 0 && shm < maintenance).then(|| {
            Found::new(format!("/dev/shm has {}, `maintenance_work_mem` is {}", size(shm), size(maintenance)))
        })
    })
    .advice(
        "Give the container more (`docker run --shm-size=1g`, in Kubernetes an emptyDir with `medium: Memory` on \
         /dev/shm), or `ALTER SYSTEM SET max_parallel_maintenance_workers = 0`.",
    ),
];

const OPERATORS: [(&str, &str, &str); 4] = [
    ("<->", "_l2_ops", "vector_l2_ops"),
    ("<=>", "_cosine_ops", "vector_cosine_ops"),
    ("<#>", "_ip_ops", "vector_ip_ops"),
    ("<+>", "_l1_ops", "vector_l1_ops"),
];

fn operators(_: &CheckFacts<'_>, rows: &[Row]) -> Vec<Found> {
    let mut found = Vec::new();
    for (operator, suffix, opclass) in OPERATORS {
        let users: Vec<&Row> = rows.iter().filter(|row| row.text("operator") == operator).collect();
        let Some(first) = users.first() else { continue };
        if first.list("opclasses").iter().any(|name| name.ends_with(suffix)) {
            continue;
        }
        let calls: i64 = users.iter().filter_map(|row| row.int("calls")).sum();
        let message = format!("`{operator}` in {calls} calls, no index has `{opclass}`");
        found.push(Found::new(message).about(first.text("query")).value("opclass", opclass));
    }
    found
}

fn declared(facts: &CheckFacts<'_>, rows: &[Row]) -> Vec<Found> {
    let Some(spec) = facts.spec else { return vec![] };
    let judged = spec.collections.keys().filter_map(|name| {
        let wanted = resolve(spec, name).ok().filter(|it| facts.database == Some(it.database.as_str()))?;
        let opclass = wanted.metric.opclass(wanted.storage);
        let suffix = opclass.split_once('_').map(|(_, suffix)| suffix.to_owned())?;
        let own: Vec<&Row> = rows
            .iter()
            .filter(|row| row.text("schema_name") == wanted.schema && row.text("table_name") == wanted.table)
            .filter(|row| row.text("expression").contains(&wanted.columns.embedding))
            .collect();
        let first = own.first()?;
        let serves = own.iter().any(|row| row.text("opclass").ends_with(&suffix));
        let message = format!(
            "collection `{name}` is searched by `{opclass}`, the index has `{}`",
            first.text("opclass")
        );
        (!serves).then(|| Found::new(message).about(first.text("object")))
    });
    judged.collect()
}

fn lists(_: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let (rows, lists, bytes) = (row.int("rows")?, row.int("lists")?, row.int("bytes")?);
    if row.text("method") != "ivfflat" || rows < 1_000 {
        return None;
    }
    let ideal = if rows <= 1_000_000 { rows / 1_000 } else { (rows as f64).sqrt() as i64 }.max(10);
    let wrong = lists > ideal * 5 || lists * 5 < ideal;
    wrong.then(|| {
        Found::new(format!("{lists} lists for {rows} rows, about {ideal} fit ({})", size(bytes)))
            .value("better", ideal.to_string())
    })
}

/// Bytes a tuple takes while an HNSW graph is built in memory: the vector, and pointers for `m` edges on each level.
/// 768 dimensions with m = 16 took 3,855 bytes when measured; this gives 3,852.
fn build_bytes(kind: &str, dimensions: i64, m: i64) -> i64 {
    let vector = match kind {
        "halfvec" => 2 * dimensions,
        "bit" => dimensions / 8,
        _ => 4 * dimensions,
    };
    vector + 40 * m + 140
}

/// More than half of the machine: what else runs there would be driven out.
const TOO_LARGE: FixTemplate = FixTemplate {
    kind: FixKind::Advice,
    text: "This machine has {memory}: the graph does not fit beside what else runs there. A build that goes on from disk takes \
           longer and is as right; `halfvec` halves it, and a larger machine can build it and give the data back.",
    safe: false,
};

fn build_memory(facts: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let (rows, dimensions) = (row.int("rows")?, row.int("dimensions").filter(|dimensions| *dimensions > 0)?);
    let wanted = rows * build_bytes(row.text("type"), dimensions, row.int("m")?);
    let have = row.int("maintenance_bytes")?;
    if row.text("method") != "hnsw" || wanted <= have {
        return None;
    }
    let found = Found::new(format!(
        "{rows} rows need about {}, `maintenance_work_mem` is {}",
        size(wanted),
        size(have)
    ));
    let found = match advised::memory(facts) {
        Some(memory) if wanted > memory / 2 => found.fix(TOO_LARGE).value("memory", size(memory)),
        _ => found,
    };
    Some(found.value("wanted", format!("{}MB", wanted / (1 << 20) + 1)))
}

/// Bytes a row takes in an HNSW index just built. An element with its neighbours stands on one page; what does not fit
/// beside it is lost. 768 dimensions with m = 16 take 4,096 bytes a row.
fn index_bytes(kind: &str, dimensions: i64, m: i64) -> i64 {
    let vector = match kind {
        "halfvec" => 2 * dimensions,
        "bit" => dimensions / 8,
        _ => 4 * dimensions,
    };
    let element = vector + 80 + 12 * m + 24;
    if element > 8_160 { 2 * 8_192 } else { 8_192 / (8_160 / element) }
}

fn bloat(_: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let (rows, bytes) = (row.int("rows")?, row.int("bytes")?);
    let dimensions = row.int("dimensions").filter(|dimensions| *dimensions > 0)?;
    let ideal = index_bytes(row.text("type"), dimensions, row.int("m")?) * rows.max(1);
    (row.text("method") == "hnsw" && rows > 0 && bytes > 1 << 20 && bytes > ideal * 3 / 2)
        .then(|| Found::new(format!("{} for {rows} rows, about {} when new", size(bytes), size(ideal))))
}
