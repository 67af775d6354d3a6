//! Howdah's own tables: the schema `howdah`, in every declared database.
//!
//! Steps are only ever appended. `howdah.meta` remembers how many have run, so an old database is brought up by the rest.

/// The steps, in order. Each is idempotent by itself.
pub const STEPS: &[&str] = &[
    "CREATE SCHEMA IF NOT EXISTS howdah",
    "CREATE TABLE IF NOT EXISTS howdah.meta (key text PRIMARY KEY, value text NOT NULL)",
    // Which model filled a collection: a mismatch is refused before anything is written.
    "CREATE TABLE IF NOT EXISTS howdah.collections (
        name text PRIMARY KEY,
        model text,
        dimensions integer NOT NULL,
        normalised boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now())",
    // One row a document: what makes a second ingest write nothing.
    "CREATE TABLE IF NOT EXISTS howdah.sources (
        collection text NOT NULL,
        source text NOT NULL,
        content_hash bytea NOT NULL,
        chunks integer NOT NULL,
        ingested_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (collection, source))",
    "CREATE TABLE IF NOT EXISTS howdah.api_keys (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name text NOT NULL,
        prefix text NOT NULL UNIQUE,
        hash bytea NOT NULL,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz)",
    // What Howdah made and how the server renders it: without this memory nothing could be taken away again, and an
    // expression could not be told from the same expression as PostgreSQL writes it.
    "CREATE TABLE IF NOT EXISTS howdah.managed (
        kind text NOT NULL,
        name text NOT NULL,
        declared text NOT NULL DEFAULT '',
        rendered text NOT NULL DEFAULT '',
        made_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (kind, name))",
    "CREATE OR REPLACE FUNCTION howdah.remember(what text, which text, said text DEFAULT '') RETURNS void
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
    "CREATE OR REPLACE FUNCTION howdah.forget(what text, which text) RETURNS void
        LANGUAGE sql SET search_path = pg_catalog AS $howdah$
            DELETE FROM howdah.managed
            WHERE (kind = what AND name = which)
               OR (what = 'table' AND kind IN ('column', 'default') AND starts_with(name, which || '.'))
        $howdah$",
];

/// Key in `howdah.meta` under which the number of steps that have run is kept.
pub const STEPS_KEY: &str = "steps";
