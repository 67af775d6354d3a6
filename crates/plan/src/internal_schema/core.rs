//! What the other domains need: the schema, the memory of what Howdah made, the record of migrations.

use super::migration::{Domain, Migration};

pub(super) const DOMAIN: Domain =
    Domain { name: "core", migrations: MIGRATIONS, tables: &["meta", "managed", "migrations"] };

const MIGRATIONS: &[Migration] = &[
    Migration {
        domain: "core",
        number: 1,
        name: "schema",
        sql: "CREATE SCHEMA IF NOT EXISTS howdah",
    },
    Migration {
        domain: "core",
        number: 2,
        name: "meta",
        sql: "CREATE TABLE IF NOT EXISTS howdah.meta (key text PRIMARY KEY, value text NOT NULL)",
    },
    // What Howdah made and how the server renders it: without this memory nothing could be taken away again, and an
    // expression could not be told from the same expression as PostgreSQL writes it.
    Migration {
        domain: "core",
        number: 3,
        name: "managed",
        sql: "CREATE TABLE IF NOT EXISTS howdah.managed (
        kind text NOT NULL,
        name text NOT NULL,
        declared text NOT NULL DEFAULT '',
        rendered text NOT NULL DEFAULT '',
        made_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (kind, name))",
    },
    Migration {
        domain: "core",
        number: 4,
        name: "remember",
        sql: "CREATE OR REPLACE FUNCTION howdah.remember(what text, which text, said text DEFAULT '') RETURNS void
        LANGUAGE plpgsql SET search_path = pg_catalog AS $howdah$
        DECLARE
            part text[];
            seen text := '';
        BEGIN
            IF what = 'index' THEN
                seen := pg_get_indexdef(which::regclass);
            ELSIF what = 'default' THEN
                part := parse_ident(which);
                SELECT pg_get_expr(d.adbin, d.adrelid) INTO seen
                FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                WHERE d.adrelid = format('%I.%I', part[1], part[2])::regclass AND a.attname = part[3];
            ELSIF what = 'table' THEN
                INSERT INTO howdah.managed (kind, name)
                SELECT 'column', which || '.\"' || replace(a.attname, '\"', '\"\"') || '\"'
                FROM pg_attribute a
                WHERE a.attrelid = which::regclass AND a.attnum > 0 AND NOT a.attisdropped
                ON CONFLICT DO NOTHING;
            END IF;
            INSERT INTO howdah.managed (kind, name, declared, rendered)
            VALUES (what, which, said, coalesce(seen, ''))
            ON CONFLICT (kind, name) DO UPDATE SET declared = excluded.declared, rendered = excluded.rendered;
        END $howdah$",
    },
    Migration {
        domain: "core",
        number: 5,
        name: "forget",
        sql: "CREATE OR REPLACE FUNCTION howdah.forget(what text, which text) RETURNS void
        LANGUAGE sql SET search_path = pg_catalog AS $howdah$
            DELETE FROM howdah.managed
            WHERE (kind = what AND name = which)
               OR (what = 'table' AND kind IN ('column', 'default') AND starts_with(name, which || '.'))
        $howdah$",
    },
    Migration {
        domain: "core",
        number: 6,
        name: "migrations",
        sql: "CREATE TABLE IF NOT EXISTS howdah.migrations (
        domain text NOT NULL,
        number integer NOT NULL,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (domain, number))",
    },
];
