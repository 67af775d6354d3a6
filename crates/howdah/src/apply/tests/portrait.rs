//! A server drawn from its catalogues alone, by queries that share nothing with the plan's: what the plan never looks at
//! shows here.

use std::collections::{BTreeMap, BTreeSet};

use super::Server;

/// What is said of each object, by kind and name of the object.
pub type Portrait = BTreeMap<String, BTreeSet<String>>;

/// Rows of (object, what is said of it). Rights are given one by one, defaults spelt out, so that NULL and the same
/// rights granted by hand look alike.
const CLUSTER: &str = "
SELECT 'role ' || rolname, format('super %s, createdb %s, createrole %s, login %s, replication %s, bypassrls %s, limit %s',
       rolsuper, rolcreatedb, rolcreaterole, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit)
  FROM pg_roles WHERE rolname !~ '^pg_'
UNION ALL SELECT 'role ' || m.rolname, 'member of ' || g.rolname
  FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
UNION ALL SELECT 'role ' || r.rolname, 'setting ' || coalesce(d.datname, '-') || ' ' || c
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,
       unnest(setconfig) c
UNION ALL SELECT 'database ' || d.datname, 'setting ' || c
  FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(setconfig) c WHERE s.setrole = 0
UNION ALL SELECT 'database ' || datname, 'owner ' || datdba::regrole FROM pg_database
UNION ALL SELECT 'database ' || datname, right_of(grantee, privilege_type, is_grantable)
  FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))";

const DATABASE: &str = "
SELECT 'extension ' || extname, extversion || ' in ' || extnamespace::regnamespace FROM pg_extension
UNION ALL SELECT 'schema ' || nspname, 'owner ' || nspowner::regrole FROM own_schemas
UNION ALL SELECT 'schema ' || nspname, right_of(grantee, privilege_type, is_grantable)
  FROM own_schemas, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
UNION ALL SELECT 'schema ' || nspname,
       format('for new objects %s of %s: %s', defaclobjtype, defaclrole::regrole,
              right_of(grantee, privilege_type, is_grantable))
  FROM pg_default_acl JOIN own_schemas n ON n.oid = defaclnamespace, aclexplode(defaclacl)
UNION ALL SELECT name, format('kind %s, persistence %s, options %s', relkind, relpersistence, reloptions) FROM own_relations
UNION ALL SELECT name, 'owner ' || relowner::regrole FROM own_relations
UNION ALL SELECT name, right_of(grantee, privilege_type, is_grantable)
  FROM own_relations, aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner)))
  WHERE relkind <> 'i'
UNION ALL SELECT name, format('column %s %s not null %s, default %s, identity %s, generated %s, storage %s', attname,
       format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), attidentity, attgenerated, attstorage)
  FROM own_relations r JOIN pg_attribute a ON a.attrelid = r.oid AND attnum > 0 AND NOT attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE relkind = 'r'
UNION ALL SELECT name, format('column %s: %s', attname, right_of(grantee, privilege_type, is_grantable))
  FROM own_relations r JOIN pg_attribute a ON a.attrelid = r.oid AND attacl IS NOT NULL, aclexplode(attacl)
UNION ALL SELECT name, format('constraint %s %s, valid %s', conname, pg_get_constraintdef(c.oid), convalidated)
  FROM own_relations r JOIN pg_constraint c ON c.conrelid = r.oid
UNION ALL SELECT name, format('index %s, valid %s', pg_get_indexdef(indexrelid), indisvalid)
  FROM own_relations r JOIN pg_index i ON i.indrelid = r.oid
UNION ALL SELECT name, format('trigger %s', pg_get_triggerdef(t.oid))
  FROM own_relations r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT tgisinternal";

/// Names for what the queries above have in common; gone with the session.
const WORDS: &str = "
CREATE FUNCTION pg_temp.right_of(grantee oid, privilege text, grantable boolean) RETURNS text LANGUAGE sql AS
$$SELECT 'right of ' || CASE grantee WHEN 0 THEN 'everybody' ELSE grantee::regrole::text END || ': ' || privilege
         || CASE WHEN grantable THEN ' with grant option' ELSE '' END$$;
CREATE TEMP VIEW own_schemas AS SELECT * FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema';
CREATE TEMP VIEW own_relations AS
SELECT c.oid, 'relation ' || n.nspname || '.' || c.relname AS name, relkind, relpersistence, reloptions, relowner, relacl
  FROM pg_class c JOIN own_schemas n ON n.oid = c.relnamespace WHERE relkind IN ('r', 'S', 'v', 'm', 'i')";

/// Draws `databases` of a server, and what belongs to all of it.
pub async fn of(server: &Server, databases: impl Iterator<Item = &String>) -> Portrait {
    let mut portrait = Portrait::new();
    draw(&mut portrait, server, "postgres", "", CLUSTER).await;
    for database in databases {
        draw(&mut portrait, server, database, &format!("in {database}: "), DATABASE).await;
    }
    portrait
}

async fn draw(portrait: &mut Portrait, server: &Server, database: &str, before: &str, sql: &str) {
    let client = server.pools.own(database).await.expect("a connection");
    client.batch_execute(WORDS).await.expect("words");
    let sql = sql.replace("right_of(", "pg_temp.right_of(");
    for row in client.query(&sql, &[]).await.expect("a portrait") {
        let object = format!("{before}{}", row.get::<_, &str>(0));
        portrait.entry(object).or_default().extend(row.get::<_, Option<String>>(1));
    }
}

/// What is not said of `there` that is said of `wanted`, and the other way round, of every object that `wanted` has.
/// Rights of roles that `wanted` does not have are nobody's business.
pub fn differences(wanted: &Portrait, there: &Portrait) -> Vec<String> {
    let known = |said: &&String| match said.split_once("right of ") {
        Some((_, rest)) => rest.rsplit_once(": ").is_some_and(|(role, _)| {
            role == "everybody" || wanted.contains_key(&format!("role {}", role.replace('"', "")))
        }),
        None => true,
    };
    let nothing = BTreeSet::new();
    let mut found = Vec::new();
    for (object, wanted) in wanted {
        let there = there.get(object).unwrap_or(&nothing);
        found.extend(wanted.difference(there).map(|said| format!("{object} lacks: {said}")));
        found.extend(
            there.difference(wanted).filter(known).map(|said| format!("{object} has too much: {said}")),
        );
    }
    found
}
