//! What is released stays as it is.

use super::{DOMAINS, all, counted, find};

/// Every statement with its checksum, letter by letter. A line that changes here is a database that no longer opens: add
/// a migration instead.
#[test]
fn a_migration_is_never_edited() {
    let text: String = all()
        .map(|one| {
            format!("-- {} {} {}: {}\n{};\n\n", one.domain, one.number, one.name, one.checksum(), one.sql)
        })
        .collect();
    insta::assert_snapshot!(text);
}

#[test]
fn numbers_have_no_gaps_and_belong_to_their_domain() {
    for domain in DOMAINS {
        for (at, migration) in domain.migrations.iter().enumerate() {
            assert_eq!((migration.domain, migration.number as usize), (domain.name, at + 1));
        }
    }
    assert_eq!(DOMAINS[0].name, "core", "it makes the schema");
}

#[test]
fn every_counted_statement_is_a_migration() {
    let counts: Vec<usize> = (0..20).filter(|count| counted(*count).is_some()).collect();
    assert_eq!(counts, (0..=8).collect::<Vec<_>>());
    assert!(counted(8).unwrap().iter().all(|(domain, number)| find(domain, *number).is_some()));
}
