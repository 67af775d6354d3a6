//! As whom does a program of one's own connect to the database?
//!
//! Not as the superuser, unless it says so. A declared role that may log in comes first, because somebody chose its rights;
//! then the role with which Howdah itself reads and writes collections; then the declared connection, where there is nothing
//! less. A role is named only after it could be logged in as.

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::service::{self, Purpose};
use howdah_plan::spec::Spec;
use howdah_plan::spec::resolve::nearest;

use super::declaration::Declaration;
use super::directory::InstanceDirectory;
use super::local;
use howdah_postgres::instance::Layout;
use howdah_postgres::{Home, Secret, Target, connect, find};

/// The word for the declared connection: of a server that Howdah runs, its superuser.
pub const DECLARED: &str = "superuser";

/// Where the database is as the role that `wanted` means, and in words which role that is and why.
///
/// # Errors
/// `not_found` when there is no such role, `usage` when its password is not known, what logging in says.
pub async fn target(
    declaration: &Declaration,
    home: &Home,
    wanted: Option<&str>,
) -> Result<(Target, String), Problem> {
    let spec = &declaration.spec;
    let (base, seed) = base(declaration, home)?;
    let service = |purpose: Purpose| {
        let name = service::role_name(spec, purpose);
        let password = seed.password_of(purpose, &name);
        base.as_role(&name, Some(password))
    };
    if let Some(name) = wanted {
        let target = match Purpose::ALL.into_iter().find(|purpose| purpose.name() == name) {
            _ if spec.roles.contains_key(name) => base.as_role(name, Some(password_of(spec, name)?)),
            Some(purpose) => service(purpose),
            None if name == DECLARED || name == base.user => return Ok((base, "as asked for".to_owned())),
            None => return Err(no_such(spec, name)),
        };
        tried(&target, name).await?;
        return Ok((target, "as asked for".to_owned()));
    }
    for name in spec.roles.iter().filter(|(_, role)| role.login).map(|(name, _)| name) {
        let Ok(password) = password_of(spec, name) else { continue };
        let target = base.as_role(name, Some(password));
        if works_with_rows(spec, name) && works(&target).await? {
            return Ok((target, "the first declared role that may log in".to_owned()));
        }
    }
    let target = service(Purpose::Write);
    if works(&target).await? {
        let why = "the role with which howdah reads and writes collections, since no declared role can be logged in as";
        return Ok((target, why.to_owned()));
    }
    let own = find::declared(&spec.server)?.is_none();
    let why = if own {
        "the superuser, since there is no role with fewer rights"
    } else {
        "the declared connection"
    };
    Ok((base, why.to_owned()))
}

/// What programs need to connect, as environment variables: the database as the role that `wanted` means, the password
/// included, and REST. Also says which role it is and why, in words.
///
/// # Errors
/// As [`target`].
pub async fn environment(
    declaration: &Declaration,
    wanted: Option<&str>,
) -> Result<(Vec<(&'static str, String)>, String), Problem> {
    let home = local::home()?;
    let (target, whose) = target(declaration, &home, wanted).await?;
    let url = target.url_with_password();
    let mut variables = vec![(find::URL_VARIABLE, url.clone())];
    if find::declared(&declaration.spec.server)?.is_none() {
        variables.push((find::OWN_URL_VARIABLE, url));
    }
    let directory = InstanceDirectory::existing(declaration, &home.instances());
    if let Some(running) = directory.and_then(|directory| directory.record()) {
        variables.push(("HOWDAH_URL", running.rest.clone()));
        variables.push((local::OWN_REST_VARIABLE, running.rest));
    }
    Ok((variables, whose))
}

/// The declared connection to the database that is meant where none is named, over TCP for a server of Howdah's own, and what
/// the passwords of the service's roles follow from.
fn base(declaration: &Declaration, home: &Home) -> Result<(Target, crate::runtime::service::Seed), Problem> {
    let spec = &declaration.spec;
    let mut target = local::target(declaration, home)?;
    let own = find::declared(&spec.server)?.is_none();
    let instance = match InstanceDirectory::existing(declaration, &home.instances()) {
        Some(directory) => directory,
        None => InstanceDirectory::of(declaration, &home.instances())?,
    };
    let seed = local::seed(&instance, &target)?;
    if own {
        target = Layout::new(home, &instance.id, &spec.server).tcp_target()?;
    }
    Ok((target.with_database(local::database(spec)), seed))
}

/// The password of a declared role, from the variable that the declaration names.
fn password_of(spec: &Spec, name: &str) -> Result<Secret, Problem> {
    let role = &spec.roles[name];
    let unknown = |what: String, hint: String| Problem::new(Kind::Usage, what).hint(hint);
    if !role.login {
        return Err(unknown(
            format!("role `{name}` may not log in"),
            format!("Declare `login = true` below `[roles.{name}]`, or choose another role."),
        ));
    }
    let Some(variable) = &role.password_env else {
        return Err(unknown(
            format!("the password of role `{name}` is not known"),
            format!(
                "Name its variable: `password_env = \"…\"` below `[roles.{name}]`, and run `howdah apply`."
            ),
        ));
    };
    match std::env::var(variable) {
        Ok(password) if !password.is_empty() => Ok(Secret::new(password)),
        _ => Err(unknown(
            format!("the variable `{variable}` is not set"),
            format!("It holds the password of role `{name}`: `export {variable}=…`."),
        )),
    }
}

/// Whether the declaration gives a role something to do in the database that is meant.
fn works_with_rows(spec: &Spec, name: &str) -> bool {
    let database = local::database(spec);
    let owns = spec.databases.get(database).is_some_and(|one| one.owner.as_deref() == Some(name));
    owns || spec.roles[name].grants.iter().any(|grant| grant.database == database)
}

/// Whether a role can be logged in as. Of a server that does not answer nobody knows, and nobody is handed more rights for it.
async fn works(target: &Target) -> Result<bool, Problem> {
    match connect::connect(target).await {
        Ok(_) => Ok(true),
        Err(problem) if matches!(problem.kind, Kind::Unreachable | Kind::Timeout | Kind::Busy) => {
            Err(problem)
        }
        Err(_) => Ok(false),
    }
}

/// Logs in once.
async fn tried(target: &Target, name: &str) -> Result<(), Problem> {
    match connect::connect(target).await {
        Ok(_) => Ok(()),
        Err(problem) if problem.kind == Kind::Unauthenticated => {
            Err(problem.hint(format!("`howdah apply` makes role `{name}` and sets its password.")))
        }
        Err(problem) => Err(problem),
    }
}

fn no_such(spec: &Spec, name: &str) -> Problem {
    let words = Purpose::ALL.map(Purpose::name).into_iter().chain([DECLARED]);
    let all: Vec<&str> = spec.roles.keys().map(String::as_str).chain(words).collect();
    let problem = Problem::new(Kind::NotFound, format!("there is no role `{name}` to connect as"))
        .detail(format!("there are {}", all.join(", ")));
    match nearest(name, all) {
        Some(near) => problem.hint(format!("Did you mean `--role {near}`?")),
        None => problem
            .hint("`read`, `write` and `control` are howdah's own; others are declared below `[roles]`."),
    }
}
