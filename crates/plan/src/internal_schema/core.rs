//! What the other domains need: the schema, the memory of what Howdah made, the record of migrations.

use super::migration::{Domain, Migration};

pub(super) const DOMAIN: Domain = Domain {
    name: "core",
    migrations: MIGRATIONS,
    tables: &["meta", "managed", "migrations", "deployments"],
};

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
    // Several deployments may work in one database. Each has an identity that outlives its name; `place` tells people where
    // its declaration stood.
    Migration {
        domain: "core",
        number: 7,
        name: "deployments",
        sql: "CREATE TABLE IF NOT EXISTS howdah.deployments (
        id text PRIMARY KEY,
        name text NOT NULL,
        place text NOT NULL DEFAULT '',
        first_seen timestamptz NOT NULL DEFAULT now())",
    },
    // Whose each thing is. '' is what was made before deployments had an identity. An extension or a schema may be used by
    // several: a row for each.
    Migration {
        domain: "core",
        number: 8,
        name: "managed_by",
        sql: "ALTER TABLE howdah.managed ADD COLUMN IF NOT EXISTS deployment text NOT NULL DEFAULT '';
    ALTER TABLE howdah.managed DROP CONSTRAINT managed_pkey, ADD PRIMARY KEY (kind, name, deployment)",
    },
    Migration {
        domain: "core",
        number: 9,
        name: "remember_by",
        sql: "DROP FUNCTION IF EXISTS howdah.remember(text, text, text);
    CREATE OR REPLACE FUNCTION howdah.remember(what text, which text, said text DEFAULT '', who text DEFAULT '')
        RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $howdah$
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
                INSERT INTO howdah.managed (kind, name, deployment)
                SELECT 'column', which || '.\"' || replace(a.attname, '\"', '\"\"') || '\"', who
                FROM pg_attribute a
                WHERE a.attrelid = which::regclass AND a.attnum > 0 AND NOT a.attisdropped
                ON CONFLICT DO NOTHING;
            END IF;
            INSERT INTO howdah.managed (kind, name, deployment, declared, rendered)
            VALUES (what, which, who, said, coalesce(seen, ''))
            ON CONFLICT (kind, name, deployment)
            DO UPDATE SET declared = excluded.declared, rendered = excluded.rendered;
        END $howdah$",
    },
    Migration {
        domain: "core",
        number: 10,
        name: "forget_by",
        sql: "DROP FUNCTION IF EXISTS howdah.forget(text, text);
    CREATE OR REPLACE FUNCTION howdah.forget(what text, which text, who text DEFAULT '') RETURNS void
        LANGUAGE sql SET search_path = pg_catalog AS $howdah$
            DELETE FROM howdah.managed
            WHERE deployment = who
              AND ((kind = what AND name = which)
                   OR (what = 'table' AND kind IN ('column', 'default') AND starts_with(name, which || '.')))
        $howdah$",
    },
    // Makes one thing, with what belongs to it, a deployment's own; whose it was before, '' for nobody's, has to be right.
    Migration {
        domain: "core",
        number: 11,
        name: "claim",
        sql: "CREATE OR REPLACE FUNCTION howdah.claim(what text, which text, who text, before text DEFAULT '') RETURNS void
        LANGUAGE sql SET search_path = pg_catalog AS $howdah$
            WITH taken AS (
                DELETE FROM howdah.managed
                WHERE deployment = before
                  AND ((kind = what AND name = which)
                       OR (what = 'table' AND kind IN ('column', 'default') AND starts_with(name, which || '.')))
                RETURNING kind, name, declared, rendered, made_at)
            INSERT INTO howdah.managed (kind, name, deployment, declared, rendered, made_at)
            SELECT kind, name, who, declared, rendered, made_at FROM taken
            ON CONFLICT (kind, name, deployment) DO NOTHING
        $howdah$",
    },
];
