//! As whom does the service work?
//!
//! Where the declared connection is a superuser, `apply` makes four login roles (`howdah_plan::service`), and the service
//! connects as those: a search as one that can read the declared collections and nothing else. Nobody types their
//! passwords. They follow from a seed that only whoever may be the superuser has: the superuser's own password where it has
//! one, so that every server of the deployment finds the same, else a file beside the instance's data.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use howdah_plan::problem::{DoNow, Kind, Problem};
use howdah_plan::service::{self, Purpose as Role};
use howdah_plan::spec::ServiceRoles;
use sha2::Sha256;

use super::Context;
use howdah_postgres::pool::Login;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Purpose, Secret};

/// What the passwords of the service's roles follow from.
#[derive(Debug, Clone)]
pub struct Seed(Secret);

impl Seed {
    /// A seed that is a secret itself.
    pub fn new(secret: Secret) -> Self {
        Seed(secret)
    }

    /// The password of a role of the service: what the environment gives, else what follows from the seed.
    pub fn password_of(&self, role: Role, name: &str) -> Secret {
        let given = std::env::var(role.password_variable()).ok().filter(|value| !value.is_empty());
        given.map_or_else(|| self.password(name), Secret::new)
    }

    /// What follows from the seed for a role.
    fn password(&self, role: &str) -> Secret {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose().as_bytes())
            .expect("HMAC takes keys of every length");
        // To be counted up when passwords are to follow in another way.
        mac.update(b"howdah service role 1\0");
        mac.update(role.as_bytes());
        Secret::new(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

/// The purpose of connections that a role is for.
fn purpose(role: Role) -> Purpose {
    match role {
        Role::Read => Purpose::Read,
        Role::Write => Purpose::Write,
        Role::Control => Purpose::Control,
        Role::Inspect => Purpose::Inspect,
    }
}

/// Whether the roles could be logged in as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The service works as them, or needs none.
    Yes,
    /// They are there with other passwords, which `apply` has to set again.
    OtherPasswords,
}

impl Context {
    /// The passwords of the service's roles, by the variables that a plan names for them: those of the environment, so that
    /// servers which know no common secret can be given one, else what follows from the seed.
    pub fn service_passwords(&self) -> BTreeMap<String, Secret> {
        let variable = |(role, name): (Role, String)| {
            (role.password_variable().to_owned(), self.runtime.seed.password_of(role, &name))
        };
        service::role_names(self.spec()).into_iter().map(variable).collect()
    }

    /// Works as the service's own roles from now on, where there are any.
    ///
    /// # Errors
    /// What keeps a connection from being made.
    pub async fn take_roles(&self) -> Result<Taken, Problem> {
        let pools = &self.runtime.pools;
        let names = service::role_names(self.spec());
        let wanted: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
        let client = pools.purpose(Purpose::Operate).get_default().await?;
        let sql = "SELECT rolname::text, rolsuper, (SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1))
                   FROM pg_roles WHERE rolname = current_user";
        let row = client
            .query_one(sql, &[&wanted])
            .await
            .map_err(|error| from_pg(&error, "look for the roles of the service"))?;
        let (user, superuser, there): (String, bool, i64) = (row.get(0), row.get(1), row.get(2));
        drop(client);
        if !superuser || self.spec().api.roles == ServiceRoles::Off {
            if superuser {
                tracing::warn!(user, "the service works as a superuser, since `api.roles` is off");
            }
            pools.log_in_as(HashMap::new());
            return Ok(Taken::Yes);
        }
        if there < names.len() as i64 {
            return Err(Problem::new(Kind::NotFound, "the roles of the service are not there")
                .detail(format!("wanted are {}", wanted.join(", ")))
                .hint("Run `howdah apply`."));
        }
        let passwords = self.service_passwords();
        let logins: HashMap<Purpose, Login> = names
            .iter()
            .map(|(role, name)| {
                let password = passwords[role.password_variable()].clone();
                (purpose(*role), Login { user: name.clone(), password })
            })
            .collect();
        // All of them are tried before any is used: whatever goes wrong, the service goes on as it is.
        let database = self.declared.database()?;
        for login in logins.values() {
            match pools.try_login(login, database).await {
                Ok(()) => {}
                Err(problem) if problem.kind == Kind::Unauthenticated => return Ok(Taken::OtherPasswords),
                Err(problem) => return Err(problem),
            }
        }
        pools.log_in_as(logins);
        tracing::info!(user, "the service works as roles of its own: {}", wanted.join(", "));
        Ok(Taken::Yes)
    }
}

impl Context {
    /// Refuses to set passwords that another server is logged in with.
    async fn refuse_roles_in_use(&self) -> Result<(), Problem> {
        let names: Vec<String> = service::role_names(self.spec()).into_iter().map(|(_, name)| name).collect();
        let client = self.runtime.pools.purpose(Purpose::Operate).get_default().await?;
        let sql = "SELECT count(*), min(coalesce(host(client_addr), 'this machine'))
                   FROM pg_stat_activity WHERE usename = ANY ($1)";
        let row = client
            .query_one(sql, &[&names])
            .await
            .map_err(|error| from_pg(&error, "look who works as the roles of the service"))?;
        if row.get::<_, i64>(0) == 0 {
            return Ok(());
        }
        let from: Option<String> = row.get(1);
        Err(other_passwords().detail(format!(
            "somebody is logged in as one of {}, from {}",
            names.join(", "),
            from.unwrap_or_default()
        )))
    }
}

/// What is said where the roles are there with other passwords than this server knows.
pub fn other_passwords() -> Problem {
    Problem::new(Kind::Conflict, "another server works as the roles of this deployment, with other passwords")
        .hint(
            "Give all of them the same HOWDAH_SERVICE_PASSWORD_READ, _WRITE, _CONTROL and _INSPECT, or the declared role a password.",
        )
        .do_now(DoNow::FixMachine)
}

/// Brings the database to what is declared and takes the service's roles, setting their passwords again where they are
/// others.
///
/// # Errors
/// What applying and connecting say.
pub async fn ready<F>(context: &Arc<Context>, apply: impl Fn(bool) -> F) -> Result<(), Problem>
where
    F: Future<Output = Result<(), Problem>>,
{
    apply(false).await?;
    if context.take_roles().await? == Taken::Yes {
        return Ok(());
    }
    context.refuse_roles_in_use().await?;
    apply(true).await?;
    match context.take_roles().await? {
        Taken::Yes => Ok(()),
        Taken::OtherPasswords => {
            Err(Problem::new(Kind::Unauthenticated, "the service cannot log in as its own roles").hint(
                "Let `pg_hba.conf` allow them to log in with a password, or set `api.roles = \"off\"`.",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_the_same_for_one_seed_and_differ_by_role_and_seed() {
        let seed = |text: &str| Seed::new(Secret::new(text.to_owned()));
        let password = |text: &str, role: &str| seed(text).password(role).expose().to_owned();
        assert_eq!(password("a", "howdah_shop_read"), password("a", "howdah_shop_read"));
        assert_ne!(password("a", "howdah_shop_read"), password("a", "howdah_shop_write"));
        assert_ne!(password("a", "howdah_shop_read"), password("b", "howdah_shop_read"));
        assert!(!format!("{:?}", seed("sesame")).contains("sesame"));
    }
}
