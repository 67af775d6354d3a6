//! What collections were filled with, and from which documents.

use super::migration::{Domain, Migration};

pub(super) const DOMAIN: Domain =
    Domain { name: "knowledge", migrations: MIGRATIONS, tables: &["collections", "sources", "embedded"] };

const MIGRATIONS: &[Migration] = &[
    // Which model filled a collection: a mismatch is refused before anything is written.
    Migration {
        domain: "knowledge",
        number: 1,
        name: "collections",
        sql: "CREATE TABLE IF NOT EXISTS howdah.collections (
        name text PRIMARY KEY,
        model text,
        dimensions integer NOT NULL,
        normalised boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now())",
    },
    // One row a document: what makes a second ingest write nothing.
    Migration {
        domain: "knowledge",
        number: 2,
        name: "sources",
        sql: "CREATE TABLE IF NOT EXISTS howdah.sources (
        collection text NOT NULL,
        source text NOT NULL,
        content_hash bytea NOT NULL,
        chunks integer NOT NULL,
        ingested_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (collection, source))",
    },
    // Which file a document came from: what is gone is found by it, and documents named by an older rule are those without
    // one. It is empty for documents that came from no file.
    Migration {
        domain: "knowledge",
        number: 3,
        name: "origins",
        sql: "ALTER TABLE howdah.sources ADD COLUMN IF NOT EXISTS origin text",
    },
    // Vectors of a document that is not written yet: embedding goes on with the rest after an interruption.
    Migration {
        domain: "knowledge",
        number: 4,
        name: "embedded",
        sql: "CREATE TABLE IF NOT EXISTS howdah.embedded (
        collection text NOT NULL,
        row_hash bytea NOT NULL,
        embedding real[] NOT NULL,
        embedded_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (collection, row_hash))",
    },
    // ANALYZE wants the owner of a table. Whoever may fill one may have it analysed, and nothing else of the owner's.
    Migration {
        domain: "knowledge",
        number: 5,
        name: "analyze",
        sql: "CREATE OR REPLACE FUNCTION howdah.analyze(filled regclass) RETURNS boolean
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        BEGIN
            IF NOT has_table_privilege(session_user, filled, 'INSERT') THEN
                RAISE insufficient_privilege USING MESSAGE = format('permission denied for table %s', filled);
            END IF;
            IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = filled), 'USAGE') THEN
                RETURN false;
            END IF;
            EXECUTE format('ANALYZE (SKIP_LOCKED) %s', filled);
            RETURN true;
        END $body$",
    },
];
