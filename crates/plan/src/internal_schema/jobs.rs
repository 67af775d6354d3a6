//! Work that outlives the request that asked for it.

use super::migration::{Domain, Migration};

pub(super) const DOMAIN: Domain = Domain { name: "jobs", migrations: MIGRATIONS, tables: &["jobs"] };

const MIGRATIONS: &[Migration] = &[
    // `server` is the process that runs it, `heartbeat_at` when that was last heard of: a job whose process died is found
    // by it. A caller that repeats a request with the same idempotency key gets the same job.
    Migration {
        domain: "jobs",
        number: 1,
        name: "jobs",
        sql: "CREATE TABLE IF NOT EXISTS howdah.jobs (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        skill text NOT NULL,
        input jsonb NOT NULL,
        caller text NOT NULL,
        key uuid,
        idempotency_key text,
        state text NOT NULL DEFAULT 'queued'
            CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
        attempt integer NOT NULL DEFAULT 0,
        cancel_requested boolean NOT NULL DEFAULT false,
        progress jsonb,
        result jsonb,
        problem jsonb,
        server text,
        created_at timestamptz NOT NULL DEFAULT now(),
        started_at timestamptz,
        heartbeat_at timestamptz,
        finished_at timestamptz);
    CREATE UNIQUE INDEX IF NOT EXISTS jobs_idempotency_key ON howdah.jobs (skill, caller, idempotency_key)
        WHERE idempotency_key IS NOT NULL;
    CREATE INDEX IF NOT EXISTS jobs_state ON howdah.jobs (state, created_at)",
    },
    // What tells the same call from another one, when the input itself is not kept any more.
    Migration {
        domain: "jobs",
        number: 2,
        name: "input_hash",
        sql: "ALTER TABLE howdah.jobs ADD COLUMN IF NOT EXISTS input_hash bytea",
    },
    // Several deployments may keep their jobs in one database: each runs and shows its own, and '' is what was put down
    // before they had an identity.
    Migration {
        domain: "jobs",
        number: 3,
        name: "jobs_by",
        sql: "ALTER TABLE howdah.jobs ADD COLUMN IF NOT EXISTS deployment text NOT NULL DEFAULT '';
    DROP INDEX IF EXISTS howdah.jobs_idempotency_key;
    CREATE UNIQUE INDEX jobs_idempotency_key ON howdah.jobs (skill, caller, deployment, idempotency_key)
        WHERE idempotency_key IS NOT NULL",
    },
];
