//! Which keys are there?
//!
//! Rows of `howdah.api_keys`, in the database that the declaration names for it.

use howdah_plan::problem::{Kind, Problem};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use uuid::Uuid;

use super::caller::Caller;
use super::gate::{Verdict, wrong_key};
use super::key::Key;
use super::scope::Scope;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Lease, Pools};

/// A key, without the key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyInfo {
    /// Its id.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// How it begins.
    pub prefix: String,
    /// The widest thing it allows.
    pub scope: Scope,
    /// `active`, `expired` or `revoked`.
    pub state: State,
    /// When it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_at: Timestamp,
    /// When it stops working.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// When it was last shown to a server, to the minute.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub revoked_at: Option<Timestamp>,
}

/// Whether a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It works.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
}

const COLUMNS: &str = "id, name, prefix, scopes, created_at, expires_at, last_used_at, revoked_at";

/// The keys of one database.
#[derive(Debug, Clone)]
pub struct Store<'a> {
    /// How to get there.
    pub pools: Pools,
    /// The database that keeps them.
    pub database: &'a str,
    /// Whose they are: those of this deployment, and those that are older than identities.
    pub deployment: &'a str,
}

impl Store<'_> {
    /// Makes a key. It is in the answer and nowhere else.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn create(
        &self,
        name: &str,
        scope: Scope,
        expires_at: Option<Timestamp>,
    ) -> Result<(Key, KeyInfo), Problem> {
        let key = Key::random();
        let client = self.pools.get(self.database).await?;
        let sql = format!(
            "INSERT INTO howdah.api_keys (name, prefix, hash, scopes, expires_at, deployment) VALUES ($1, $2, $3, $4, $5, $6) \
             RETURNING {COLUMNS}"
        );
        let row = client
            .query_one(
                &sql,
                &[&name, &key.prefix(), &&key.hash()[..], &vec![scope.name()], &expires_at, &self.deployment],
            )
            .await
            .map_err(|error| from_pg(&error, "make a key"))?;
        Ok((key, info(&row)?))
    }

    /// All keys, newest first.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn list(&self) -> Result<Vec<KeyInfo>, Problem> {
        let client = self.pools.get(self.database).await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM howdah.api_keys WHERE deployment IN ('', $1) ORDER BY created_at DESC, id"
        );
        let rows = client
            .query(&sql, &[&self.deployment])
            .await
            .map_err(|error| from_pg(&error, "list the keys"))?;
        rows.iter().map(info).collect()
    }

    /// Takes a key back, by its id, by how it begins, or by a name that only one working key has. A second time changes
    /// nothing.
    ///
    /// # Errors
    /// `not_found` when there is no such key, `conflict` when several working keys have the name.
    pub async fn revoke(&self, which: &str) -> Result<KeyInfo, Problem> {
        let client = self.pools.get(self.database).await?;
        let id = self.meant(&client, which).await?;
        let sql = format!(
            "UPDATE howdah.api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING {COLUMNS}"
        );
        let row = client.query_opt(&sql, &[&id]).await.map_err(|error| from_pg(&error, "revoke the key"))?;
        row.as_ref().map(info).transpose()?.ok_or_else(|| no_such(which))
    }

    /// The key that is meant by an id, a beginning or a name.
    async fn meant(&self, client: &Lease, which: &str) -> Result<Uuid, Problem> {
        let sql = format!(
            "SELECT {COLUMNS} FROM howdah.api_keys WHERE (id::text = $1 OR prefix = $1 OR name = $2) AND deployment IN ('', $3) \
             ORDER BY created_at DESC, id"
        );
        let rows = client
            .query(&sql, &[&normal(which), &which, &self.deployment])
            .await
            .map_err(|error| from_pg(&error, "look for the key"))?;
        let keys = rows.iter().map(info).collect::<Result<Vec<_>, _>>()?;
        let itself = |key: &&KeyInfo| key.id.to_string() == normal(which) || key.prefix == which;
        if let Some(key) = keys.iter().find(itself) {
            return Ok(key.id);
        }
        let working: Vec<&KeyInfo> = keys.iter().filter(|key| key.state == State::Active).collect();
        match working.as_slice() {
            [only] => Ok(only.id),
            // Of those that no longer work the newest: revoking it again changes nothing.
            [] => keys.first().map(|key| key.id).ok_or_else(|| no_such(which)),
            several => {
                let begins: Vec<&str> = several.iter().map(|key| key.prefix.as_str()).collect();
                Err(Problem::new(Kind::Conflict, format!("`{}` keys are called `{which}`", several.len()))
                    .detail(format!("they begin with {}", begins.join(", ")))
                    .hint(format!("Name one by how it begins: `howdah keys revoke {}`.", begins[0])))
            }
        }
    }

    /// What there is to say of a key that somebody shows.
    ///
    /// # Errors
    /// What PostgreSQL says: not knowing is no verdict.
    pub async fn look_up(&self, key: &Key) -> Result<Verdict, Problem> {
        let client = self.pools.get(self.database).await?;
        let sql = format!("SELECT {COLUMNS} FROM howdah.api_keys WHERE hash = $1 AND deployment IN ('', $2)");
        let row = client
            .query_opt(&sql, &[&&key.hash()[..], &self.deployment])
            .await
            .map_err(|error| from_pg(&error, "look up the key"))?;
        let Some(row) = row else { return Ok(Verdict::Bad(wrong_key())) };
        let known = info(&row)?;
        match known.state {
            State::Active => {}
            State::Expired => return Ok(Verdict::Bad(ended(&known, "has expired", known.expires_at))),
            State::Revoked => return Ok(Verdict::Bad(ended(&known, "was revoked", known.revoked_at))),
        }
        let stamp = "UPDATE howdah.api_keys SET last_used_at = now() WHERE id = $1 \
                     AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')";
        if let Err(error) = client.execute(stamp, &[&known.id]).await {
            // A read-only server still answers searches.
            tracing::debug!(%error, "the use of a key was not noted");
        }
        let caller = Caller { key: Some(known.id), name: known.name, tenant: None, scope: known.scope };
        Ok(Verdict::Good(caller, known.expires_at))
    }
}

fn no_such(which: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no key `{which}`"))
        .hint("Look at the ids and names with `howdah keys list`.")
}

fn ended(key: &KeyInfo, how: &str, when: Option<Timestamp>) -> Problem {
    let problem = Problem::new(Kind::Unauthenticated, format!("the key `{}…` {how}", key.prefix))
        .hint("Make another with `howdah keys create NAME`.");
    match when {
        Some(when) => problem.detail(format!("at {when:.0}")),
        None => problem,
    }
}

fn info(row: &Row) -> Result<KeyInfo, Problem> {
    let broken = |error: tokio_postgres::Error| from_pg(&error, "read a key");
    let scopes: Vec<String> = row.try_get("scopes").map_err(broken)?;
    let has = |scope: Scope| scopes.iter().any(|name| name == scope.name());
    let scope = [Scope::Admin, Scope::Write].into_iter().find(|scope| has(*scope)).unwrap_or(Scope::Read);
    let expires_at: Option<Timestamp> = row.try_get("expires_at").map_err(broken)?;
    let revoked_at: Option<Timestamp> = row.try_get("revoked_at").map_err(broken)?;
    let state = if revoked_at.is_some() {
        State::Revoked
    } else if expires_at.is_some_and(|end| end <= Timestamp::now()) {
        State::Expired
    } else {
        State::Active
    };
    Ok(KeyInfo {
        id: row.try_get("id").map_err(broken)?,
        name: row.try_get("name").map_err(broken)?,
        prefix: row.try_get("prefix").map_err(broken)?,
        scope,
        state,
        created_at: row.try_get("created_at").map_err(broken)?,
        expires_at,
        last_used_at: row.try_get("last_used_at").map_err(broken)?,
        revoked_at,
    })
}

/// UUIDs are written in small letters; prefixes of keys are case-sensitive.
fn normal(which: &str) -> String {
    Uuid::parse_str(which).map_or_else(|_| which.to_owned(), |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use howdah_plan::internal_schema;

    use super::*;
    use howdah_postgres::testing;

    async fn prepared() -> testing::TestDatabase {
        let database = testing::database().await;
        let client = database.client().await;
        for migration in internal_schema::all() {
            client.batch_execute(migration.sql).await.unwrap();
        }
        database
    }

    #[tokio::test]
    async fn a_key_works_until_it_is_revoked_and_only_its_hash_is_kept() {
        let database = prepared().await;
        let store = Store { pools: database.pools.clone(), database: &database.name, deployment: "" };
        let (key, made) = store.create("app", Scope::Write, None).await.unwrap();
        let Verdict::Good(caller, None) = store.look_up(&key).await.unwrap() else { panic!("a good key") };
        assert_eq!((caller.key, caller.scope), (Some(made.id), Scope::Write));
        assert!(matches!(store.look_up(&Key::random()).await.unwrap(), Verdict::Bad(_)));

        let client = database.client().await;
        let kept: String = client
            .query_one("SELECT string_agg(k::text, '') FROM howdah.api_keys k", &[])
            .await
            .unwrap()
            .get(0);
        assert!(!kept.contains(&key.reveal()[12..]), "the key is in the table");

        store.revoke(&made.prefix).await.unwrap();
        let again = store.revoke(&made.id.to_string().to_uppercase()).await.unwrap();
        assert_eq!(again.state, State::Revoked);
        let Verdict::Bad(problem) = store.look_up(&key).await.unwrap() else { panic!("a revoked key") };
        assert_eq!(problem.message, format!("the key `{}…` was revoked", made.prefix));
        assert_eq!(store.revoke("hdk_nothere").await.unwrap_err().kind, Kind::NotFound);
    }

    #[tokio::test]
    async fn a_key_is_revoked_by_its_name_where_the_name_says_which() {
        let database = prepared().await;
        let store = Store { pools: database.pools.clone(), database: &database.name, deployment: "" };
        let (_, first) = store.create("web site", Scope::Read, None).await.unwrap();
        let (_, second) = store.create("web site", Scope::Read, None).await.unwrap();
        let problem = store.revoke("web site").await.unwrap_err();
        assert_eq!(problem.kind, Kind::Conflict);
        let said = format!("{problem:?}");
        assert!(said.contains(&first.prefix) && said.contains(&second.prefix), "{said}");
        assert!(store.list().await.unwrap().iter().all(|key| key.state == State::Active));
        store.revoke(&first.prefix).await.unwrap();
        assert_eq!(store.revoke("web site").await.unwrap().id, second.id, "the one that still works");
        assert_eq!(
            store.revoke("web site").await.unwrap().state,
            State::Revoked,
            "a second time changes nothing"
        );
        // A key that is called like another begins does not stand for it.
        let (_, third) = store.create(&first.prefix, Scope::Read, None).await.unwrap();
        assert_eq!(store.revoke(&first.prefix).await.unwrap().id, first.id);
        store.revoke(&third.prefix).await.unwrap();
    }

    #[tokio::test]
    async fn an_expired_key_is_refused_and_listed_as_such() {
        let database = prepared().await;
        let store = Store { pools: database.pools.clone(), database: &database.name, deployment: "" };
        let past = Timestamp::now() - jiff::SignedDuration::from_secs(1);
        let (key, _) = store.create("old", Scope::Read, Some(past)).await.unwrap();
        let Verdict::Bad(problem) = store.look_up(&key).await.unwrap() else { panic!("an expired key") };
        assert_eq!(problem.kind, Kind::Unauthenticated);
        assert!(problem.message.ends_with("has expired"), "{}", problem.message);
        assert_eq!(store.list().await.unwrap()[0].state, State::Expired);
    }

    #[tokio::test]
    async fn a_key_of_another_deployment_opens_nothing_and_is_not_listed() {
        let database = prepared().await;
        let of = |deployment| Store { pools: database.pools.clone(), database: &database.name, deployment };
        let (key, made) = of("a").create("app", Scope::Admin, None).await.unwrap();
        let (old, _) = of("").create("older than identities", Scope::Read, None).await.unwrap();
        assert!(matches!(of("a").look_up(&key).await.unwrap(), Verdict::Good(..)));
        assert!(matches!(of("b").look_up(&key).await.unwrap(), Verdict::Bad(_)));
        assert!(matches!(of("b").look_up(&old).await.unwrap(), Verdict::Good(..)));
        assert_eq!((of("a").list().await.unwrap().len(), of("b").list().await.unwrap().len()), (2, 1));
        assert_eq!(of("b").revoke(&made.prefix).await.unwrap_err().kind, Kind::NotFound);
    }
}
