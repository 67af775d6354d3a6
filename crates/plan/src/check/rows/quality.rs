//! Are the answers right and whole?

use super::super::answer::Found;
use super::super::contract::{Area, Check, FixKind, FixTemplate, Need, Scope, Severity};

/// What to do where Howdah's own index misses neighbours.
const ASK_FOR_MORE: FixTemplate = FixTemplate {
    kind: FixKind::Sql,
    text: "ALTER DATABASE {database_name} SET howdah.target_recall = 0.99; -- if that is not enough:\n\
           REINDEX INDEX CONCURRENTLY {index}",
    safe: true,
};

pub static CHECKS: &[Check] = &[
    // The exact leg adds 0 to the distance, which no index orders by. A stored vector's neighbours count as found when
    // they are as near as the exact ones: equals at the edge are no loss.
    Check::new(
        "pgv.recall.probe",
        Area::Quality,
        Severity::High,
        "the vector index misses nearest neighbours",
        "Stored vectors are searched for through the index and exactly, with the settings a new session has. The part of \
         the ten nearest that the index finds is its recall; what it misses is silently missing from every answer.",
        "SELECT count(*) AS samples, avg(least(1.0, found::float8 / nullif(wanted, 0))) AS recall, \
         min(found) AS worst, min(least(wanted, 10)) AS wanted, coalesce(current_setting('hnsw.ef_search', true), '40') \
         AS ef_search, coalesce(current_setting('howdah.target_recall', true), '0.97') AS target_recall FROM (SELECT (SELECT count(*) FROM (SELECT {expression} {operator} probe.vector AS d FROM {table} \
         WHERE {expression} IS NOT NULL AND {filter} ORDER BY {expression} {operator} probe.vector LIMIT 10) near \
         WHERE near.d <= exact.edge + 1e-6 * abs(exact.edge) + 1e-9) AS found, exact.wanted FROM (SELECT {expression} \
         AS vector FROM {table} TABLESAMPLE BERNOULLI ({percent}) WHERE {expression} IS NOT NULL AND {filter} \
         LIMIT {samples}) probe CROSS JOIN LATERAL (SELECT max(d) AS edge, count(*) AS wanted FROM \
         (SELECT ({expression} {operator} probe.vector) + 0::float8 AS d FROM {table} WHERE {expression} IS NOT NULL \
         AND {filter} ORDER BY 1 LIMIT 10) nearest WHERE d <> 'NaN') exact WHERE exact.wanted > 0 OFFSET 0) probes",
    )
    .scope(Scope::VectorIndex)
    .needs(&[Need::Extension("vector"), Need::Request])
    .each(|_, row| {
        let (samples, recall) = (row.int("samples")?, row.float("recall")?);
        let found = || {
            let own = row.text("method") == "howdah";
            let (setting, column) =
                if own { ("howdah.target_recall", "target_recall") } else { ("hnsw.ef_search", "ef_search") };
            let message = format!(
                "recall@10 is {recall:.3} over {samples} stored vectors, the worst {} of {}; `{setting}` is {}",
                row.int("worst").unwrap_or(0),
                row.int("wanted").unwrap_or(10),
                row.text(column)
            );
            let found = if own { Found::new(message).fix(ASK_FOR_MORE) } else { Found::new(message) };
            if recall < 0.8 { found.severity(Severity::Critical) } else { found }
        };
        (recall < 0.95).then(found)
    })
    .safe_fix(
        "ALTER DATABASE {database_name} SET hnsw.ef_search = 100; -- if that is not enough:\n\
         REINDEX INDEX CONCURRENTLY {index}",
    ),
    Check::new(
        "pgv.recall.after_dead_tuples",
        Area::Quality,
        Severity::High,
        "dead rows take the places of live ones in searches",
        "A deleted row stays in the HNSW graph until vacuum. It uses up a candidate of the search and is then dropped: \
         with nine of ten rows deleted, a search for ten returned five, without an error.",
        concat!(
            "SELECT format('%I.%I', s.schemaname, s.relname) AS object, s.n_dead_tup AS dead, s.n_live_tup AS live \
             FROM pg_stat_all_tables s WHERE EXISTS (SELECT 1 FROM ",
            vector_indexes!(),
            " WHERE i.indrelid = s.relid AND am.amname = 'hnsw')"
        ),
    )
    .needs(&[Need::Extension("vector")])
    .each(|_, row| {
        let (dead, live) = (row.float("dead")?, row.float("live")?);
        let percent = 100.0 * dead / (dead + live).max(1.0);
        (dead >= 100.0 && percent > 10.0).then(|| Found::new(format!("{percent:.0} % dead ({dead:.0} rows)")))
    })
    .safe_fix("VACUUM {object}"),
];
