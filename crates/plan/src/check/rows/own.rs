//! Howdah's own index: does its library work, is what it holds what the table holds, does it find what it is asked for?

use super::super::answer::{Found, Row};
use super::super::contract::{Area, Check, CheckFacts, Need, Severity};

const EXTENSION: Need = Need::Extension("howdah");

pub static CHECKS: &[Check] = &[
    Check::new(
        "howdah.so_loads",
        Area::Extension,
        Severity::Critical,
        "the library of extension `howdah` does not work",
        "Its access method is asked for a property, which loads the library. Where that fails, each search through its \
         indexes and each write to their tables fails.",
        "SELECT amname AS object, pg_indexam_has_property(oid, 'can_order') AS answered FROM pg_am \
         WHERE amname = 'howdah'",
    )
    .needs(&[EXTENSION])
    .error_counts()
    .advice(
        "Install the extension's files of this major again; in Howdah's own server `howdah down` and `howdah up` do. If \
         they are lost: `DROP INDEX` the indexes of method `howdah`, and `index = \"hnsw\"` in the declaration.",
    ),
    Check::new(
        "howdah.index.damaged",
        Area::Integrity,
        Severity::Critical,
        "an index of method `howdah` is not what its table is",
        "The whole index is read and compared with the table: each live row has to be reachable exactly once, each page to \
         be owned, each code to decode within its bound. Writers wait meanwhile, so it is done on request only.",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object, count(problem) AS problems, min(problem) AS first \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_am am ON am.oid = c.relam CROSS JOIN LATERAL howdah_index_check(CASE WHEN am.amname = 'howdah' AND \
         i.indisvalid AND c.relkind = 'i' THEN c.oid::regclass END) AS problem GROUP BY 1 ORDER BY 1",
    )
    .needs(&[EXTENSION, Need::Primary, Need::Request])
    .error_counts()
    .each(|_, row| {
        let problems = row.int("problems")?;
        (problems > 0).then(|| Found::new(format!("{problems} problem(s), such as: {}", row.text("first"))))
    })
    .safe_fix("REINDEX INDEX CONCURRENTLY {object}"),
    Check::new(
        "howdah.index.calibration",
        Area::Quality,
        Severity::Medium,
        "an index of method `howdah` does not know its recall",
        "It turns the recall that is asked for into lists to read by a curve that it measured on its own rows. A curve that \
         ends below the target cannot promise it; one measured on far fewer rows promises what was true then.",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object, format('%I.%I', n.nspname, t.relname) AS table_name, \
         (info ->> 'rows')::bigint AS rows, (info ->> 'calibrated_at_rows')::bigint AS calibrated, \
         (SELECT max((point ->> 'recall')::float8) FROM jsonb_array_elements(info -> 'calibration') AS point \
         WHERE (point ->> 'rank')::int = 10) AS reaches, \
         coalesce(current_setting('howdah.target_recall', true), '0.97')::float8 AS target \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am am ON am.oid = c.relam CROSS JOIN LATERAL \
         howdah_index_info(CASE WHEN am.amname = 'howdah' AND i.indisvalid AND c.relkind = 'i' AND \
         has_table_privilege(i.indrelid, 'SELECT') THEN c.oid::regclass END) AS info WHERE info IS NOT NULL ORDER BY 1",
    )
    .needs(&[EXTENSION, Need::Request])
    .each(calibration)
    .safe_fix("VACUUM {table_name}; -- if that is not enough:\nREINDEX INDEX CONCURRENTLY {object}"),
];

/// Rows below which an index reads everything and needs no curve.
const TOO_FEW: i64 = 10_000;
/// The curve holds until the index has grown this many times over; it measures itself anew much earlier.
const GROWN: i64 = 4;
/// Where a whole curve ends.
const WHOLE: f64 = 0.999;

fn calibration(_: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let (rows, calibrated) = (row.int("rows")?, row.int("calibrated")?);
    if rows < TOO_FEW {
        return None;
    }
    if rows > calibrated.saturating_mul(GROWN) {
        return Some(Found::new(format!("measured at {calibrated} rows, there are {rows}")));
    }
    let (reaches, target) = (row.float("reaches").unwrap_or(0.0), row.float("target")?);
    // What is asked beyond the end of a whole curve reads as far as the curve does.
    (reaches < target.min(WHOLE)).then(|| {
        Found::new(format!("the curve ends at a recall of {reaches:.4}, `howdah.target_recall` is {target}"))
    })
}
