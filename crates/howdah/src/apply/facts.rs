//! What does the server look like now?
//!
//! Reads [`Live`] from the catalogues: each query returns one JSON document in the shape of the type it fills. All run
//! under `search_path = pg_catalog`, so that types and expressions are rendered the same whoever asks. Only databases
//! that are declared are entered.

use std::collections::BTreeMap;

use howdah_plan::internal_schema::COUNT_KEY;
use howdah_plan::migrate::live::{Inside, Live, Server, Setting};
use howdah_plan::migrate::{declared_tables, home, is_mark};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::settings::LOAD_HOWDAH;
use howdah_plan::spec::Spec;
use howdah_plan::spec::resolve::{quote_ident, quote_literal};
use serde::de::DeserializeOwned;
use serde_json::Value;

use howdah_postgres::pool::Transaction;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Pools, Target};

/// Reads the facts that a plan for `spec` needs.
///
/// # Errors
/// What the server says; `forbidden` where the role may not look.
pub async fn read(pools: &Pools, spec: &Spec) -> Result<Live, Problem> {
    let maintenance = maintenance(pools).await?;
    let mut live = whole_server(pools, &maintenance).await?;
    live.server.maintenance = maintenance.clone();
    for (name, database) in &mut live.databases {
        if spec.databases.contains_key(name) {
            database.inside = inside(pools, spec, name).await?;
        } else if is_mark(database.comment.as_deref()) {
            database.inside = records(pools, name).await;
        }
    }
    let home = home(spec).filter(|home| live.databases.contains_key(home)).unwrap_or(maintenance);
    let vector = live.databases.get(&home).and_then(|home| home.inside.extensions.get("vector"));
    let vector = vector.map(|vector| vector.schema.clone());
    let own = live.databases.get(&home).is_some_and(|home| home.inside.extensions.contains_key("howdah"));
    live.settings = settings(pools, &home, vector, own).await?;
    Ok(live)
}

/// The target's own database, or another one where that does not exist yet.
async fn maintenance(pools: &Pools) -> Result<String, Problem> {
    let Target { database, .. } = pools.target();
    let mut first = None;
    for name in [database.as_str(), "postgres", "template1"] {
        match pools.get(name).await {
            Ok(_) => return Ok(name.to_owned()),
            Err(problem) if problem.kind == Kind::NotFound => first = first.or(Some(problem)),
            Err(problem) => return Err(first.unwrap_or(problem)),
        }
    }
    Err(first.unwrap_or_else(|| Problem::new(Kind::NotFound, "there is no database to connect to")))
}

const DOING: &str = "read the server's catalogues";

/// Runs a query that returns one JSON document; NULL is the empty one.
async fn document<T: DeserializeOwned + Default>(
    transaction: &Transaction<'_>,
    sql: &str,
) -> Result<T, Problem> {
    let row = transaction.query_opt(sql, &[]).await.map_err(|e| from_pg(&e, DOING))?;
    let Some(value) = row.and_then(|row| row.get::<_, Option<Value>>(0)) else { return Ok(T::default()) };
    serde_json::from_value(value)
        .map_err(|e| Problem::new(Kind::Internal, format!("cannot {DOING}")).detail(e.to_string()))
}

const BEGIN: &str = "SET LOCAL search_path = pg_catalog";

/// Rights as JSON: grantee to privileges, `""` for PUBLIC.
fn acl(column: &str, object: &str, owner: &str) -> String {
    format!(
        "(SELECT coalesce(jsonb_object_agg(grantee, rights), '{{}}') FROM (
            SELECT CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END AS grantee,
                   jsonb_agg(DISTINCT privilege_type) AS rights
            FROM aclexplode(coalesce({column}, acldefault('{object}', {owner}))) GROUP BY 1) AS x)"
    )
}

/// `setconfig` as JSON: name to value.
const CONFIG: &str =
    "(SELECT coalesce(jsonb_object_agg(split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)), '{}')
    FROM unnest(s.setconfig) AS c)";

/// A quoted, qualified name.
fn qualified(schema: &str, name: &str) -> String {
    format!("'\"' || replace({schema}, '\"', '\"\"') || '\".\"' || replace({name}, '\"', '\"\"') || '\"'")
}

async fn whole_server(pools: &Pools, maintenance: &str) -> Result<Live, Problem> {
    let mut client = pools.get(maintenance).await?;
    let transaction = client.transaction().await.map_err(|e| from_pg(&e, DOING))?;
    transaction.batch_execute(BEGIN).await.map_err(|e| from_pg(&e, DOING))?;
    // Of the role that would carry the plan out, which is not always the one that asks.
    let user = quote_literal(&pools.target().user);
    let server: Server = document(
        &transaction,
        &format!(
            "SELECT jsonb_build_object(
            'version', current_setting('server_version_num')::int,
            'user', rolname,
            'superuser', rolsuper,
            'alter_system', rolsuper AND coalesce(current_setting('allow_alter_system', true), 'on') = 'on',
            'template_encoding', coalesce((SELECT pg_encoding_to_char(encoding) FROM pg_database
                                           WHERE datname = 'template1'), ''))
         FROM pg_roles WHERE rolname = {user}"
        ),
    )
    .await?;
    // Who may become a role is a right of its own since 16.
    let set = if server.version >= 160_000 { "SET" } else { "MEMBER" };
    let roles = document(
        &transaction,
        &format!(
            "SELECT jsonb_object_agg(r.rolname, jsonb_build_object(
                'login', r.rolcanlogin,
                'connection_limit', r.rolconnlimit,
                'comment', shobj_description(r.oid, 'pg_authid'),
                'settable', pg_has_role({user}, r.oid, '{set}'),
                'attributes', array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
                                             CASE WHEN r.rolinherit THEN 'INHERIT' END,
                                             CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                                             CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
                                             CASE WHEN r.rolreplication THEN 'REPLICATION' END,
                                             CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL),
                'databases', (SELECT coalesce(jsonb_agg(DISTINCT d.datname), '[]')
                              FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
                              WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid),
                'member_of', (SELECT coalesce(jsonb_agg(DISTINCT g.rolname), '[]')
                              FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid),
                'settings', coalesce((SELECT {CONFIG} FROM pg_db_role_setting s
                                      WHERE s.setrole = r.oid AND s.setdatabase = 0), '{{}}')))
             FROM pg_roles r"
        ),
    )
    .await?;
    let databases = document(
        &transaction,
        &format!(
            "SELECT jsonb_object_agg(d.datname, jsonb_build_object(
                'owner', pg_get_userbyid(d.datdba),
                'comment', shobj_description(d.oid, 'pg_database'),
                'acl', {},
                'settings', coalesce((SELECT {CONFIG} FROM pg_db_role_setting s
                                      WHERE s.setdatabase = d.oid AND s.setrole = 0), '{{}}')))
             FROM pg_database d WHERE NOT d.datistemplate AND d.datallowconn",
            acl("d.datacl", "d", "d.datdba")
        ),
    )
    .await?;
    let available = document(
        &transaction,
        "SELECT jsonb_object_agg(e.name, jsonb_build_object(
            'default_version', e.default_version,
            'versions', (SELECT coalesce(jsonb_agg(v.version), '[]') FROM pg_available_extension_versions v
                         WHERE v.name = e.name)))
         FROM pg_available_extensions e",
    )
    .await?;
    transaction.commit().await.map_err(|e| from_pg(&e, DOING))?;
    Ok(Live { server, roles, databases, available, ..Live::default() })
}

/// Which schemas are looked into.
const SCHEMAS: &str = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'howdah')";

/// Whether an object belongs to no extension.
fn own_object(class: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = '{class}'::regclass AND d.objid = {oid}
                     AND d.deptype = 'e')"
    )
}

async fn inside(pools: &Pools, spec: &Spec, database: &str) -> Result<Inside, Problem> {
    let mut client = pools.get(database).await?;
    let transaction = client.transaction().await.map_err(|e| from_pg(&e, DOING))?;
    transaction.batch_execute(BEGIN).await.map_err(|e| from_pg(&e, DOING))?;
    let mut inside = Inside {
        extensions: document(
            &transaction,
            "SELECT jsonb_object_agg(e.extname, jsonb_build_object('version', e.extversion, 'schema', n.nspname))
             FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace",
        )
        .await?,
        schemas: document(&transaction, &schemas()).await?,
        tables: document(&transaction, &tables()).await?,
        sequences: document(&transaction, &sequences()).await?,
        default_acl: document(&transaction, &default_acl()).await?,
        sees_files: document(&transaction, SEES_FILES).await?,
        ..Inside::default()
    };
    memory(&transaction, &mut inside).await?;
    internal(&transaction, &mut inside).await?;
    for name in declared_tables(spec, database) {
        let Some(table) = inside.tables.get_mut(&name) else { continue };
        // Only what can have an index is looked into: a view may take long, and one that is not filled cannot be read.
        if !table.relation.indexable() || table.unpopulated {
            continue;
        }
        let row = transaction
            .query_one(&format!("SELECT EXISTS (SELECT 1 FROM {name})"), &[])
            .await
            .map_err(|e| from_pg(&e, &format!("see whether {name} has rows")))?;
        table.has_rows = row.get(0);
    }
    transaction.commit().await.map_err(|e| from_pg(&e, DOING))?;
    Ok(inside)
}

/// What Howdah remembers in a database of its making that is not declared: who works in it, and which settings of the server
/// are theirs. Nothing where it cannot be read: then nobody here may drop it either.
async fn records(pools: &Pools, database: &str) -> Inside {
    let mut inside = Inside::default();
    let read = async {
        let mut client = pools.get(database).await?;
        let transaction = client.transaction().await.map_err(|e| from_pg(&e, DOING))?;
        transaction.batch_execute(BEGIN).await.map_err(|e| from_pg(&e, DOING))?;
        memory(&transaction, &mut inside).await
    };
    if let Err(problem) = read.await {
        tracing::debug!(database, "howdah's records are not read: {problem}");
    }
    inside
}

/// Rights on Howdah's own tables.
async fn internal(transaction: &Transaction<'_>, inside: &mut Inside) -> Result<(), Problem> {
    let schema = format!(
        "SELECT jsonb_build_object('owner', pg_get_userbyid(n.nspowner), 'acl', {})
         FROM pg_namespace n WHERE n.nspname = 'howdah'",
        acl("n.nspacl", "n", "n.nspowner")
    );
    inside.internal.schema = document(transaction, &schema).await?;
    let tables = format!(
        "SELECT jsonb_object_agg({}, jsonb_build_object(
            'schema', n.nspname, 'name', c.relname, 'owner', pg_get_userbyid(c.relowner), 'acl', {}))
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'howdah' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {}",
        qualified("n.nspname", "c.relname"),
        acl("c.relacl", "r", "c.relowner"),
        own_object("pg_class", "c.oid")
    );
    inside.internal.tables = document(transaction, &tables).await?;
    Ok(())
}

async fn memory(transaction: &Transaction<'_>, inside: &mut Inside) -> Result<(), Problem> {
    let there = "SELECT to_jsonb(ARRAY[to_regclass('howdah.meta') IS NOT NULL, \
                                       to_regclass('howdah.migrations') IS NOT NULL, \
                                       to_regclass('howdah.managed') IS NOT NULL, \
                                       to_regclass('howdah.deployments') IS NOT NULL])";
    let there: Vec<bool> = document(transaction, there).await?;
    if there.first() == Some(&true) {
        let sql =
            format!("SELECT to_jsonb(value::int) FROM howdah.meta WHERE key = {}", quote_literal(COUNT_KEY));
        inside.internal.counted = document(transaction, &sql).await?;
    }
    if there.get(1) == Some(&true) {
        inside.internal.migrations = document(
            transaction,
            "SELECT jsonb_agg(jsonb_build_object('domain', domain, 'number', number, 'name', name,
                                                 'checksum', checksum) ORDER BY domain, number)
             FROM howdah.migrations",
        )
        .await?;
    }
    if there.get(2) == Some(&true) {
        inside.memory = document(
            transaction,
            // The column came later than the table.
            "SELECT jsonb_agg(jsonb_build_object('kind', kind, 'name', name, 'declared', declared, 'rendered', rendered,
                                                 'deployment', coalesce(to_jsonb(m) ->> 'deployment', ''))
                              ORDER BY kind, name)
             FROM howdah.managed m",
        )
        .await?;
    }
    if there.get(3) == Some(&true) {
        inside.deployments = document(
            transaction,
            "SELECT jsonb_agg(jsonb_build_object('id', id, 'name', name, 'place', place,
                                                 'first_seen', to_char(first_seen, 'YYYY-MM-DD HH24:MI TZ')) ORDER BY id)
             FROM howdah.deployments",
        )
        .await?;
    }
    Ok(())
}

fn schemas() -> String {
    format!(
        "SELECT jsonb_object_agg(n.nspname, jsonb_build_object(
            'owner', pg_get_userbyid(n.nspowner),
            'acl', {},
            'others', (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = n.oid AND {})
                    + (SELECT count(*) FROM pg_type t WHERE t.typnamespace = n.oid AND t.typrelid = 0
                       AND t.typelem = 0 AND {})))
         FROM pg_namespace n WHERE {SCHEMAS}",
        acl("n.nspacl", "n", "n.nspowner"),
        own_object("pg_proc", "p.oid"),
        own_object("pg_type", "t.oid")
    )
}

const COLUMNS: &str = "(SELECT coalesce(jsonb_agg(jsonb_build_object(
        'name', a.attname,
        'sql_type', format_type(a.atttypid, a.atttypmod),
        'not_null', a.attnotnull,
        'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(x.adbin, x.adrelid) END,
        'generated', CASE WHEN a.attgenerated <> '' THEN pg_get_expr(x.adbin, x.adrelid) END,
        'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by_default' ELSE 'no' END)
      ORDER BY a.attnum), '[]')
    FROM pg_attribute a LEFT JOIN pg_attrdef x ON x.adrelid = a.attrelid AND x.adnum = a.attnum
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)";

const CONSTRAINTS: &str = "(SELECT coalesce(jsonb_agg(jsonb_build_object(
        'name', k.conname,
        'primary', k.contype = 'p',
        'columns', (SELECT jsonb_agg(a.attname ORDER BY u.n)
                    FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, n)
                    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum))
      ORDER BY k.conname), '[]')
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u'))";

const INDEXES: &str = "(SELECT coalesce(jsonb_agg(jsonb_build_object(
        'name', ic.relname,
        'method', am.amname,
        'unique', i.indisunique,
        'columns', (SELECT jsonb_agg(pg_get_indexdef(i.indexrelid, g, false) ORDER BY g)
                    FROM generate_series(1, i.indnkeyatts::int) AS g),
        'opclasses', (SELECT jsonb_agg(o.opcname ORDER BY u.n)
                      FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS u (oid, n) JOIN pg_opclass o ON o.oid = u.oid),
        'default_opclasses', (SELECT bool_and(o.opcdefault)
                              FROM unnest(i.indclass::oid[]) AS u (oid) JOIN pg_opclass o ON o.oid = u.oid),
        'options', (SELECT coalesce(jsonb_object_agg(split_part(r, '=', 1), substr(r, strpos(r, '=') + 1)), '{}')
                    FROM unnest(ic.reloptions) AS r),
        'predicate', pg_get_expr(i.indpred, i.indrelid),
        'valid', i.indisvalid AND i.indisready,
        'constraint', EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid
                              AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')),
        'definition', pg_get_indexdef(i.indexrelid))
      ORDER BY ic.relname), '[]')
    FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
    WHERE i.indrelid = c.oid)";

fn tables() -> String {
    format!(
        "SELECT jsonb_object_agg({}, jsonb_build_object(
            'schema', n.nspname,
            'name', c.relname,
            'relation', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'view'
                                       WHEN 'm' THEN 'materialized_view' ELSE 'foreign' END,
            'row_security', c.relrowsecurity,
            'unpopulated', NOT c.relispopulated,
            'owner', pg_get_userbyid(c.relowner),
            'acl', {},
            'columns', {COLUMNS},
            'constraints', {CONSTRAINTS},
            'indexes', {INDEXES},
            'estimated_rows', greatest(c.reltuples, 0)::bigint,
            'bytes', coalesce(pg_total_relation_size(c.oid), 0)))
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {SCHEMAS} AND {}",
        qualified("n.nspname", "c.relname"),
        acl("c.relacl", "r", "c.relowner"),
        own_object("pg_class", "c.oid")
    )
}

fn sequences() -> String {
    format!(
        "SELECT jsonb_object_agg({}, jsonb_build_object(
            'schema', n.nspname,
            'name', c.relname,
            'owner', pg_get_userbyid(c.relowner),
            'acl', {},
            'table', own.table,
            'identity', own.identity))
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN LATERAL (
            SELECT {} AS table, CASE d.deptype WHEN 'i' THEN ta.attname END AS identity
            FROM pg_depend d JOIN pg_class tc ON tc.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = tc.relnamespace
            JOIN pg_attribute ta ON ta.attrelid = d.refobjid AND ta.attnum = d.refobjsubid
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
              AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 LIMIT 1) own ON true
         WHERE c.relkind = 'S' AND {SCHEMAS} AND {}",
        qualified("n.nspname", "c.relname"),
        acl("c.relacl", "s", "c.relowner"),
        qualified("tn.nspname", "tc.relname"),
        own_object("pg_class", "c.oid")
    )
}

/// Roles with every right on what shows the lines of the configuration files.
const SEES_FILES: &str = "SELECT coalesce(jsonb_agg(role), '[]') FROM (
    SELECT pg_get_userbyid(acl.grantee) AS role FROM (
        SELECT proacl AS acl FROM pg_proc
        WHERE oid IN ('pg_show_all_file_settings()'::regprocedure, 'pg_hba_file_rules()'::regprocedure)
        UNION ALL SELECT relacl FROM pg_class
        WHERE oid IN ('pg_file_settings'::regclass, 'pg_hba_file_rules'::regclass)
    ) AS granted, LATERAL aclexplode(granted.acl) AS acl
    WHERE acl.grantee <> 0 AND acl.privilege_type IN ('EXECUTE', 'SELECT')
    GROUP BY 1 HAVING count(*) = 4) AS sees";

fn default_acl() -> String {
    format!(
        "SELECT jsonb_agg(jsonb_build_object(
            'maker', pg_get_userbyid(a.defaclrole),
            'schema', n.nspname,
            'object', a.defaclobjtype::text,
            'acl', {}))
         FROM pg_default_acl a JOIN pg_namespace n ON n.oid = a.defaclnamespace
         WHERE a.defaclobjtype IN ('r', 'S')",
        acl("a.defaclacl", "r", "a.defaclrole")
    )
}

/// Server settings. Where pgvector is installed, and Howdah's extension (`own`), their libraries are loaded first: only then
/// their settings exist.
async fn settings(
    pools: &Pools,
    database: &str,
    vector: Option<String>,
    own: bool,
) -> Result<BTreeMap<String, Setting>, Problem> {
    let mut client = pools.get(database).await?;
    let transaction = client.transaction().await.map_err(|e| from_pg(&e, DOING))?;
    transaction.batch_execute(BEGIN).await.map_err(|e| from_pg(&e, DOING))?;
    if let Some(schema) = vector {
        let load = format!("SELECT '[1]'::{}.vector", quote_ident(&schema));
        transaction.batch_execute(&load).await.map_err(|e| from_pg(&e, "load pgvector"))?;
    }
    if own {
        // A library that does not load is the doctor's to find; the plan may be what mends it.
        let load = format!("DO $$ BEGIN PERFORM {LOAD_HOWDAH}; EXCEPTION WHEN OTHERS THEN NULL; END $$");
        transaction.batch_execute(&load).await.map_err(|e| from_pg(&e, "load extension `howdah`"))?;
    }
    let readable: bool = document(
        &transaction,
        "SELECT to_jsonb(has_function_privilege('pg_show_all_file_settings()', 'EXECUTE')
                         AND has_table_privilege('pg_file_settings', 'SELECT'))",
    )
    .await?;
    let files = if readable {
        "(SELECT DISTINCT ON (lower(name)) lower(name) AS name, setting FROM pg_file_settings
          WHERE name IS NOT NULL ORDER BY lower(name), seqno DESC)"
    } else {
        "(SELECT NULL::text AS name, NULL::text AS setting WHERE false)"
    };
    let settings = document(
        &transaction,
        &format!(
            "SELECT jsonb_object_agg(s.name, jsonb_build_object(
                'value', s.setting,
                'unit', s.unit,
                'kind', s.vartype,
                'context', s.context,
                'source', s.source,
                'file_value', f.setting,
                'pending_restart', s.pending_restart))
             FROM pg_settings s LEFT JOIN {files} AS f ON f.name = lower(s.name)"
        ),
    )
    .await?;
    transaction.commit().await.map_err(|e| from_pg(&e, DOING))?;
    Ok(settings)
}
