//! What a person reads when a declaration is wrong, letter by letter.

use howdah_plan::spec::read;

/// All problems of a bad file as the command line would print them.
fn said(text: &str) -> String {
    let problems = read::from_str(text, "howdah.toml").expect_err("the file is wrong");
    let lines = problems.iter().map(|problem| {
        let detail = problem.detail.iter().map(|detail| format!("\n  detail: {detail}"));
        let hint = problem.hint.iter().map(|hint| format!("\n  hint: {hint}"));
        std::iter::once(problem.message.clone()).chain(detail).chain(hint).collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn malformed_toml() {
    insta::assert_snapshot!(said("name = \"a\"\n[server\nport = 1\n"));
}

#[test]
fn text_without_quotes_and_a_key_twice() {
    insta::assert_snapshot!(said("name = howdah\n[server]\nport = 5433\nport = 5434\n"));
}

#[test]
fn misspelt_keys_at_every_depth() {
    insta::assert_snapshot!(said(
        "name = \"a\"\n\n[databases.app]\nextension = { vector = \"*\" }\n\n[collection.manual]\n\n\
         [collections.notes]\ndatabase = \"app\"\nembeder = \"local\"\nmetrik = \"l2\"\n\
         [collections.notes.index]\nef_constuction = 64\nbanana = 1\n"
    ));
}

#[test]
fn wrong_types_and_numbers_out_of_range() {
    insta::assert_snapshot!(said(
        "name = 7\n[server]\nport = 70000\ntune = \"yes\"\nversion = 18.0\ncores = -1\n\
         [api]\nlisten = 7878\n[roles]\napp = \"login\"\n[[databases]]\nowner = \"x\"\n\
         [settings]\nwork_mem = [1]\n"
    ));
}

#[test]
fn words_an_enumeration_does_not_know() {
    insta::assert_snapshot!(said(
        "name = \"a\"\n[server]\nsource = \"systm\"\n[collections.c]\nmetric = \"Cosine\"\nstorage = 2\n\
         index.kind = \"diskann\"\n"
    ));
}

#[test]
fn keys_that_are_missing() {
    insta::assert_snapshot!(said(
        "[embedders.local]\nmodel = \"m\"\n[collections.c.adopt]\ncontent = \"body\"\n\
         [tables.t]\ncolumns = []\n[roles.r]\ngrants = [{ privileges = [\"select\"] }]\n"
    ));
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(said(""));
}
