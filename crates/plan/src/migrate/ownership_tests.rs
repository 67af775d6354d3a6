//! Whose is what, on facts written by hand. The stories on real servers are `apply`'s.

use super::live::{Deployment, Live, Memory, Table};
use super::tests::{fresh, spec, sql, with_app};
use super::{Options, Plan, diff};
use crate::problem::{DoNow, Kind};
use crate::spec::Spec;

const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";

const ONE: &str = r#"
name = "team-a"
[databases.app]
[tables.orders]
columns = [{ name = "id", type = "bigint" }]
"#;

fn plan(spec: &Spec, live: &Live, id: &str, take_over: bool) -> Plan {
    let options = Options { deployment: id.into(), take_over, ..Options::default() };
    diff(spec, live, &options)
}

/// A database in which `owner` made the table `orders`, or nobody that is known where that is empty.
fn orders(owner: &str, known: &[(&str, &str)]) -> Live {
    let mut live = with_app();
    let inside = &mut live.databases.get_mut("app").unwrap().inside;
    let table = Table {
        schema: "public".into(),
        name: "orders".into(),
        owner: "postgres".into(),
        columns: vec![super::live::Column {
            name: "id".into(),
            sql_type: "bigint".into(),
            ..Default::default()
        }],
        has_rows: true,
        ..Table::default()
    };
    inside.tables.insert("\"public\".\"orders\"".into(), table);
    for (kind, name) in [("table", "\"public\".\"orders\""), ("column", "\"public\".\"orders\".\"id\"")] {
        let (kind, name, deployment) = (kind.into(), name.into(), owner.into());
        inside.memory.push(Memory { kind, name, deployment, ..Memory::default() });
    }
    inside.deployments = known
        .iter()
        .map(|(id, name)| Deployment { id: (*id).into(), name: (*name).into(), ..Deployment::default() })
        .collect();
    live
}

#[test]
fn what_another_made_is_neither_dropped_nor_a_difference() {
    let other = spec("name = \"team-b\"\n[databases.app]\n");
    let plan = plan(&other, &orders(A, &[(A, "team-a"), (B, "team-b")]), B, false);
    assert!(plan.is_empty() && plan.notes.is_empty(), "{plan}");
}

#[test]
fn what_another_made_is_not_declared_here_too_unless_it_is_taken_over() {
    let mine = spec(&ONE.replace("team-a", "team-b"));
    let live = orders(A, &[(A, "team-a"), (B, "team-b")]);
    let refused = plan(&mine, &live, B, false);
    assert!(refused.steps.is_empty() && refused.blocked.is_empty(), "{refused}");
    assert_eq!(refused.problems[0].kind, Kind::Conflict);
    assert_eq!(refused.problems[0].do_now, DoNow::FixInput, "time does not heal it");
    let said = format!("table `public.orders` belongs to deployment `team-a` ({A})");
    assert_eq!(refused.problems[0].message, said);
    let taken = plan(&mine, &live, B, true);
    assert!(taken.problems.is_empty(), "{taken}");
    let claim = format!("SELECT howdah.claim('table', '\"public\".\"orders\"', '{B}', '{A}')");
    assert_eq!(sql(&taken), [claim]);
}

#[test]
fn what_nobody_owns_is_claimed_by_who_declares_it_and_left_alone_by_others() {
    let live = orders("", &[]);
    let claimed = plan(&spec(ONE), &live, A, false);
    let ids: Vec<&str> = claimed.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["deployment:app"], "{claimed}");
    assert!(claimed.to_string().contains("howdah.claim('table'"), "{claimed}");

    let elsewhere = spec("name = \"team-b\"\n[databases.app]\n");
    let left = plan(&elsewhere, &live, B, false);
    assert!(left.blocked.is_empty(), "{left}");
    assert!(left.notes[0].text.contains("--take-over"), "{left}");
    let taken = plan(&elsewhere, &live, B, true);
    assert_eq!(taken.blocked.len(), 1, "taken over and not declared, it would be dropped: {taken}");
}

#[test]
fn a_name_is_one_deployments() {
    let live = orders(A, &[(A, "team-a")]);
    let refused = plan(&spec(ONE), &live, B, false);
    assert!(refused.steps.is_empty(), "{refused}");
    assert_eq!(refused.problems.len(), 1);
    let problem = &refused.problems[0];
    assert_eq!(problem.message, "database `app` knows a deployment `team-a` with another identity");
    assert!(problem.hint.as_ref().unwrap().contains(&format!("deployment = \"{A}\"")), "{problem:?}");
    let taken = plan(&spec(ONE), &live, B, true);
    assert!(taken.problems.is_empty(), "{taken}");
    let text = taken.to_string();
    assert!(text.contains(&format!("DELETE FROM howdah.deployments WHERE id = '{A}'")), "{text}");
    assert!(text.contains(&format!("'{B}', '{A}')")), "{text}");

    let renamed = spec(&ONE.replace("team-a", "team-z"));
    let refused = plan(&renamed, &live, A, false);
    assert_eq!(refused.problems[0].message, "database `app` knows this deployment as `team-a`, not `team-z`");
    let renaming = plan(&renamed, &live, A, true);
    assert!(
        renaming.problems.is_empty() && renaming.to_string().contains("DO UPDATE SET name"),
        "{renaming}"
    );
}

#[test]
fn a_fresh_server_is_told_who_works_there() {
    let plan = plan(&spec(ONE), &fresh(), A, false);
    assert!(plan.problems.is_empty(), "{plan}");
    let text = plan.to_string();
    assert!(text.contains(&format!("VALUES ('{A}', 'team-a', '')")), "{text}");
    assert!(text.contains(&format!("IS 'made by howdah for team-a, deployment {A}'")), "{text}");
    assert!(
        text.contains(&format!("howdah.remember('table', '\"public\".\"orders\"', '', '{A}')")),
        "{text}"
    );
}
