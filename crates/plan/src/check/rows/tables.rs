//! Tables and keys.

use super::super::answer::Found;
use super::super::contract::{Area, Check, Need, Severity};

pub static CHECKS: &[Check] = &[
    Check::new(
        "seq.exhaustion",
        Area::Schema,
        Severity::High,
        "a sequence is running out",
        "Then every insert fails.",
        "SELECT format('%I.%I', schemaname, sequencename) AS object, last_value AS last, max_value AS most, data_type::text \
         AS type FROM pg_sequences WHERE last_value IS NOT NULL AND last_value > 0.7 * max_value",
    )
    .each(|_, row| {
        Some(Found::new(format!("at {} of {} (`{}`)", row.int("last")?, row.int("most")?, row.text("type"))))
    })
    .sql_fix("ALTER SEQUENCE {object} AS bigint; -- and its column: ALTER TABLE … ALTER COLUMN … TYPE bigint"),
    Check::new(
        "seq.int4_pk",
        Area::Schema,
        Severity::Info,
        "a key of 32 bits",
        "It ends at 2,147,483,647; rows that are replaced count as well.",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object, quote_ident(a.attname) AS column FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] WHERE i.indisprimary AND i.indnkeyatts = 1 \
         AND a.atttypid = 'int4'::regtype AND c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' \
         AND n.nspname <> 'information_schema'",
    )
    .each(|_, row| Some(Found::new(format!("`{}` is integer", row.text("column")))))
    .sql_fix("ALTER TABLE {object} ALTER COLUMN {column} TYPE bigint; -- rewrites the table under a lock"),
    Check::new(
        "schema.no_pk",
        Area::Schema,
        Severity::Medium,
        "a table without a primary key",
        "Its rows cannot be named: logical replication cannot update them, and a search cannot say which it found.",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object FROM pg_class c JOIN pg_namespace n \
         ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition \
         AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
         AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) \
         AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')",
    )
    .each(|_, _| Some(Found::new("no primary key")))
    .sql_fix("ALTER TABLE {object} ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY; -- rewrites the table"),
    Check::new(
        "schema.fk_unindexed",
        Area::Schema,
        Severity::Medium,
        "a foreign key without an index",
        "Each delete of a parent row reads the whole child table.",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object, quote_ident(k.conname) AS name, \
         (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY x.n) FROM unnest(k.conkey) WITH ORDINALITY x(num, n) \
         JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.num) AS columns FROM pg_constraint k \
         JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f' \
         AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indisvalid \
         AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)",
    )
    .each(|_, row| Some(Found::new(format!("`{}` on ({})", row.text("name"), row.text("columns")))))
    .sql_fix("CREATE INDEX CONCURRENTLY ON {object} ({columns})"),
    Check::new(
        "schema.timestamp_notz",
        Area::Schema,
        Severity::Info,
        "times without a time zone",
        "They mean another moment to each client with another setting.",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) \
         AS columns FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n \
         ON n.oid = c.relnamespace WHERE a.atttypid = 'timestamp'::regtype AND c.relkind IN ('r', 'p') \
         AND NOT a.attisdropped AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' GROUP BY 1",
    )
    .each(|_, row| Some(Found::new(row.text("columns"))))
    .sql_fix("ALTER TABLE {object} ALTER COLUMN <column> TYPE timestamptz USING <column> AT TIME ZONE 'UTC'"),
    Check::new(
        "schema.collation_mismatch",
        Area::Integrity,
        Severity::Critical,
        "the system sorts text differently than when the indexes were made",
        "After a change of the system's C library or ICU, indexes over text are in an order that is no longer true: rows \
         are not found, unique keys are not unique.",
        "SELECT quote_ident(datname) AS object, datcollversion AS made, pg_database_collation_actual_version(oid) AS now \
         FROM pg_database WHERE datcollversion IS NOT NULL \
         AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) AND datallowconn",
    )
    .server()
    .majors(15, 99)
    .each(|_, row| Some(Found::new(format!("made with `{}`, now `{}`", row.text("made"), row.text("now")))))
    .sql_fix("REINDEX DATABASE {object};\nALTER DATABASE {object} REFRESH COLLATION VERSION"),
    Check::new(
        "integrity.amcheck_btree",
        Area::Integrity,
        Severity::High,
        "a btree index is damaged",
        "Keys are in the wrong order: rows are not found, unique keys are not unique. The largest two hundred btree \
         indexes are looked at. amcheck knows nothing of HNSW and IVFFlat: see pgv.index.answers.",
        "SELECT count(bt_index_check(x.oid::regclass)::text) AS checked FROM (SELECT c.oid FROM pg_index i JOIN pg_class c \
         ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam WHERE am.amname = 'btree' AND c.relkind = 'i' \
         AND c.relpersistence <> 't' AND i.indisready AND i.indisvalid ORDER BY c.relpages DESC LIMIT 200) x",
    )
    .needs(&[Need::Extension("amcheck")])
    .error_counts()
    .all(|_, _| vec![])
    .command("pg_amcheck --heapallindexed <database>  # names them; then REINDEX INDEX CONCURRENTLY each"),
    Check::new(
        "obj.db_size",
        Area::Capacity,
        Severity::High,
        "the disk is nearly full",
        "Without room for the log the server stops; an index build needs as much again as the index.",
        "SELECT sum(pg_database_size(oid))::bigint AS bytes FROM pg_database WHERE datallowconn",
    )
    .server()
    .needs(&[Need::Machine])
    .each(|facts, row| {
        let free = i64::try_from(facts.machine?.disk_free_bytes?).ok()?;
        let bytes = row.int("bytes")?;
        let tight = free < 1 << 30 || free < bytes / 5;
        (tight && free < 20 << 30).then(|| {
            Found::new(format!("{} free beside {} of databases", super::figure::size(free), super::figure::size(bytes)))
        })
    })
    .advice("Give the disk more room, or drop what `pgv.index.unused` and `pgv.index.bloat` name."),
];
