//! The keys that requests are made with, as hashes.

use super::migration::{Domain, Migration};

pub(super) const DOMAIN: Domain = Domain { name: "keys", migrations: MIGRATIONS, tables: &["api_keys"] };

const MIGRATIONS: &[Migration] = &[
    Migration {
        domain: "keys",
        number: 1,
        name: "api_keys",
        sql: "CREATE TABLE IF NOT EXISTS howdah.api_keys (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name text NOT NULL,
        prefix text NOT NULL UNIQUE,
        hash bytea NOT NULL,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz)",
    },
    // A key opens the deployment that made it; '' is one that is older than identities.
    Migration {
        domain: "keys",
        number: 2,
        name: "keys_by",
        sql: "ALTER TABLE howdah.api_keys ADD COLUMN IF NOT EXISTS deployment text NOT NULL DEFAULT ''",
    },
];
