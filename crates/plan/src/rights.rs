//! Which GRANTs does a role need that works with declared collections?
//!
//! The service's own roles get theirs from `apply` (`migrate::service`). A declared connection that may do little has to be
//! given them by whoever owns the tables; these are the statements.

use std::collections::BTreeSet;

use crate::internal_schema::SCHEMA;
use crate::problem::{Kind, Problem};
use crate::spec::Spec;
use crate::spec::resolve::{Resolved, quote_ident, resolve};

/// Tables of Howdah's own that reading and filling collections touches.
const OWN: [&str; 2] = ["collections", "sources"];
/// Those that keys and jobs are in.
const CONTROL: [&str; 2] = ["api_keys", "jobs"];

/// What PostgreSQL says first when a right is missing.
const DENIED: &str = "permission denied for ";

/// The statements for reading, and those for writing, which contain them.
fn statements(collections: &[Resolved], role: &str, denied: &str) -> [String; 2] {
    let role = quote_ident(role);
    let mut schemas: BTreeSet<String> = collections.iter().map(|one| quote_ident(&one.schema)).collect();
    schemas.insert(quote_ident(SCHEMA));
    let schemas: Vec<String> = schemas.into_iter().collect();
    let own = |name: &&str| format!("{}.{}", quote_ident(SCHEMA), quote_ident(name));
    let tables: BTreeSet<String> =
        collections.iter().map(Resolved::qualified).chain(OWN.iter().map(own)).collect();
    let tables = tables.into_iter().collect::<Vec<_>>().join(", ");
    let control: Vec<String> =
        CONTROL.iter().filter(|name| denied.ends_with(&format!(" {name}"))).map(own).collect();
    let usage = format!("GRANT USAGE ON SCHEMA {} TO {role};", schemas.join(", "));
    let control = match control.as_slice() {
        [] => String::new(),
        some => format!(" GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {role};", some.join(", ")),
    };
    [
        format!("{usage} GRANT SELECT ON {tables} TO {role};{control}"),
        format!("{usage} GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role};{control}"),
    ]
}

/// The same problem, with the GRANTs that end it where a right on a collection's table or on Howdah's own is missing.
/// `collection` is the one that was asked of, where one was; `role` whose right it is, none where the service works as roles
/// of its own.
#[must_use]
pub fn explain(problem: Problem, spec: &Spec, collection: Option<&str>, role: Option<&str>) -> Problem {
    let Some(at) = problem.message.find(DENIED).filter(|_| problem.kind == Kind::Forbidden) else {
        return problem;
    };
    let denied = problem.message[at + DENIED.len()..].to_owned();
    let kind = denied.split(' ').next().unwrap_or_default();
    if !matches!(kind, "schema" | "table" | "view" | "materialized" | "foreign" | "sequence") {
        return problem;
    }
    let Some(role) = role else {
        return problem
            .hint("Run `howdah apply`: it gives the roles that the service works as what they need.");
    };
    let names: Vec<&String> =
        spec.collections.keys().filter(|name| collection.is_none_or(|one| one == *name)).collect();
    let collections: Vec<Resolved> = names.into_iter().filter_map(|name| resolve(spec, name).ok()).collect();
    let [read, write] = statements(&collections, role, &denied);
    let databases: BTreeSet<&str> = collections.iter().map(|one| one.database.as_str()).collect();
    let place = match databases.len() {
        1 => format!(" in database `{}`", databases.first().copied().unwrap_or_default()),
        _ => String::new(),
    };
    problem.hint(format!("Let their owner run{place}, to read: `{read}` — to write as well: `{write}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::read;

    const SPEC: &str = "name = \"it\"\n[databases.app]\n[collections.docs]\ntable = 'sales.\"a.b\"'\n\
                        [collections.docs.adopt]\nid = \"id\"\nembedding = \"vec\"\n[collections.own]\ndimensions = 3\n";

    fn heard(message: &str, role: Option<&str>) -> String {
        let spec = read::from_str(SPEC, "howdah.toml").unwrap();
        let problem = Problem::new(Kind::Forbidden, format!("cannot search: {message}")).hint("other");
        explain(problem, &spec, Some("docs"), role).hint.unwrap()
    }

    #[test]
    fn a_missing_right_names_the_grants_that_give_it() {
        let hint = heard("permission denied for schema howdah", Some("the app"));
        for part in [
            "GRANT USAGE ON SCHEMA \"howdah\", \"sales\" TO \"the app\";",
            "GRANT SELECT ON \"howdah\".\"collections\", \"howdah\".\"sources\", \"sales\".\"a.b\" TO \"the app\";",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON \"howdah\".\"collections\"",
            "in database `app`",
        ] {
            assert!(hint.contains(part), "{part} in {hint}");
        }
        assert!(!hint.contains("\"own\""), "{hint}");
        let keys = heard("permission denied for table api_keys", Some("app"));
        assert!(keys.contains("ON \"howdah\".\"api_keys\" TO"), "{keys}");
        assert!(heard("permission denied for table docs", None).contains("`howdah apply`"));
        assert_eq!(heard("must be owner of table docs", Some("app")), "other");
        assert_eq!(heard("permission denied to create role", Some("app")), "other");
    }
}
