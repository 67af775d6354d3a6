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
];
