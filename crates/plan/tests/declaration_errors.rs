//! What a person reads when a declaration is wrong, letter by letter.

use howdah_plan::spec::read;

/// Compares with the snapshot named like the test.
macro_rules! reads {
    ($text:expr) => {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(said($text));
        })
    };
}

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
    reads!("name = \"a\"\n[server\nport = 1\n");
}

#[test]
fn text_without_quotes_and_a_key_twice() {
    reads!("name = howdah\n[server]\nport = 5433\nport = 5434\n");
}

#[test]
fn misspelt_keys_at_every_depth() {
    reads!(
        "name = \"a\"\n\n[databases.app]\nextension = { vector = \"*\" }\n\n[collection.manual]\n\n\
         [collections.notes]\ndatabase = \"app\"\nembeder = \"local\"\nmetrik = \"l2\"\n\
         [collections.notes.index]\nef_constuction = 64\nbanana = 1\n"
    );
}

#[test]
fn wrong_types_and_numbers_out_of_range() {
    reads!(
        "name = 7\n[server]\nport = 70000\ntune = \"yes\"\nversion = 18.0\ncores = -1\n\
         [api]\nlisten = 7878\n[roles]\napp = \"login\"\n[[databases]]\nowner = \"x\"\n\
         [settings]\nwork_mem = [1]\n"
    );
}

#[test]
fn words_an_enumeration_does_not_know() {
    reads!(
        "name = \"a\"\n[server]\nsource = \"systm\"\n[collections.c]\nmetric = \"Cosine\"\nstorage = 2\n\
         index.kind = \"diskann\"\n[collections.d]\nindex = \"howda\"\n[collections.e]\nindex = 5\n"
    );
}

#[test]
fn keys_that_are_missing() {
    reads!(
        "[embedders.local]\nmodel = \"m\"\n[collections.c.adopt]\ncontent = \"body\"\n\
         [tables.t]\ncolumns = []\n[roles.r]\ngrants = [{ privileges = [\"select\"] }]\n"
    );
}

#[test]
fn a_declaration_of_a_later_howdah() {
    reads!("version = 2\nname = \"a\"\n[anything]\nelse = 1\n");
}

#[test]
fn sections_of_a_later_howdah() {
    reads!(
        "version = 1\nname = \"a\"\n[backup]\nkeep = 7\n[cluster]\nreplicas = 2\n[pooler]\n[packs.memory]\n\
         [targets.production]\n[[servers]]\nname = \"b\"\n[server]\nbackup = 1\n"
    );
}

#[test]
fn a_version_that_is_none() {
    reads!("version = 0\nname = \"a\"\n");
    for (text, said) in
        [("\"1\"", "must be a whole number"), ("-1", "out of range"), ("1.0", "must be a whole number")]
    {
        let read = said_of_version(text);
        assert!(read.contains(said), "{read}");
    }
    assert!(said_of_version("99999999999999999999999999").contains("reads version 1"));
    assert_eq!(read::from_str("version = 1\nname = \"a\"\n", "howdah.toml").unwrap().version, 1);
    assert_eq!(read::from_str("name = \"a\"\n", "howdah.toml").unwrap().version, 1);
}

fn said_of_version(text: &str) -> String {
    said(&format!("version = {text}\nname = \"a\"\n"))
}

#[test]
fn an_empty_file() {
    reads!("");
}

#[test]
fn references_to_what_is_not_declared() {
    reads!(
        r#"
name = "a"
[api]
database = "ap"
[databases.app]
owner = "app_ownr"
[roles.app_owner]
[roles.reader]
member_of = ["readers", "pg_read_all_data"]
grants = [
    { database = "apq", privileges = ["select"] },
    { database = "app", schema = "archiv", privileges = ["SELECT", "read", "all"] },
    { database = "app", privileges = ["select"], tables = ["note", "archive.old"] },
]
[databases.other]
schemas = ["archive", "howdah", "pg_mine"]
[collections.notes]
embedder = "local"
dimensions = 3
[collections.pictures]
database = "othr"
table = "archve.pictures"
dimensions = 3
"#
    );
}

#[test]
fn secrets_where_they_do_not_belong_are_refused_and_never_repeated() {
    let text = r#"
name = "a"
[server]
url = "postgres://app:hunter2@db.example.com/app?sslmode=verify&password=hunter2"
password_env = "hunter-2"
port = 5433
[databases.app]
[roles.app]
password_env = "hunter 2"
[embedders.far]
kind = "openai"
model = "text-embedding-3-small"
url = "https://hunter2@api.example.com/v1"
api_key_env = "sk-hunter2"
"#;
    assert!(!said(text).contains("hunter"), "a secret is in the text");
    reads!(text);
}

#[test]
fn vectors_that_pgvector_cannot_index() {
    reads!(
        r#"
name = "a"
[databases.app]
extensions = { pgvector = "*", vector = ">=0.8" }
[embedders.large]
kind = "openai"
model = "text-embedding-3-large"
[collections.a]
embedder = "large"
storage = "vector"
[collections.b]
dimensions = 5000
[collections.c]
dimensions = 3
metric = "l1"
index = { kind = "ivfflat", m = 16, lists = 10 }
[collections.d]
dimensions = 3
index = { m = 48, lists = 10 }
[collections.e]
dimensions = 3
index = { m = 16, ef_construction = 31 }
[collections.h]
dimensions = 3
metric = "l1"
index = { kind = "howdah", m = 16, bits = 5 }
[collections.i]
dimensions = 5000
index = "howdah"
[collections.j]
dimensions = 3
index = { kind = "ivfflat", lists = 40000, bits = 4 }
[collections.f]
embedder = "large"
dimensions = 1536
[collections.g]
"#
    );
}

#[test]
fn collections_that_cannot_hold_what_is_asked() {
    reads!(
        r#"
name = "a"
[databases.app]
[embedders.local]
kind = "local"
model = "all-MiniLM-L6-v2"
dimensions = 768
[embedders.other]
kind = "local"
model = "bge-base-en-v1.5"
url = "http://127.0.0.1"
[embedders.tei]
kind = "tei"
model = "x"
dimensions = 8
[collections."my/docs"]
dimensions = 3
[collections.notes]
embedder = "local"
dimensions = 768
language = "englsh"
fields = { source = "text", year = "intger", tags = "text[]", "a.b" = "text" }
chunking = { max_tokens = 300, overlap = 200 }
[collections.plain]
dimensions = 3
documents = ["docs", ""]
[collections.adopted]
dimensions = 3
embedder = "tei"
table = "legacy.app.docs"
documents = ["docs"]
adopt = { id = "id", content = "body", embedding = "body" }
[collections.a_table_with_a_name_that_is_much_too_long_for_its_indexes]
dimensions = 3
"#
    );
}

#[test]
fn tables_and_indexes() {
    reads!(
        r#"
name = "a"
[databases.app]
[collections.notes]
dimensions = 3
[tables.copy]
table = "public.notes"
columns = [{ name = "id", type = "bigint" }]
[tables.events]
columns = [
    { name = "id", type = "serial", identity = true, default = "1" },
    { name = "kind", type = "vachar(50)" },
    { name = "kind", type = "mood" },
    { name = "xmin", type = "text; drop table x" },
]
primary_key = ["idd", "id", "id"]
indexes = [
    { columns = ["kindd"], method = "b-tree" },
    { columns = ["kind"], method = "gin", unique = true, where = " " },
    { columns = ["kind"], method = "hnsw" },
]
"#
    );
}

#[test]
fn server_and_settings() {
    reads!(
        r#"
name = "my deployment"
[server]
source = "bundle"
version = 17
port = 543
data_directory = "data"
user = "root"
memory = "2 gigs"
max_connections = 10
[api]
listen = "0.0.0.0:543"
require_key = false
[roles.postgres]
[roles.pg_app]
[roles.a]
member_of = ["b"]
[roles.b]
member_of = ["a"]
[settings]
max_connections = 100
port = 5433
"Work Mem" = "4MB"
archive_command = """cp %p
x"""
seq_page_cost = nan
"#
    );
}

#[test]
fn a_place_outside_of_the_machine_needs_no_key_on_loopback_only() {
    let open = |listen: &str| format!("name = \"a\"\n[api]\nlisten = \"{listen}\"\nrequire_key = false\n");
    for loopback in ["127.0.0.1:7878", "[::1]:0", "localhost:7878"] {
        assert!(read::from_str(&open(loopback), "howdah.toml").is_ok(), "{loopback}");
    }
    for (text, line) in [("10.0.0.1:7878", 4), ("7878", 3), ("example.com:80", 3)] {
        assert!(said(&open(text)).starts_with(&format!("howdah.toml:{line}:1: ")), "{text}");
    }
}

#[test]
fn an_origin_that_no_browser_says() {
    let origins = [
        "https://app.example.com/",
        "app.example.com",
        "https://App.example.com",
        "https://a:443",
        "https://*.b.c",
    ];
    for origin in origins {
        let problem = said(&format!("name = \"a\"\n[api]\ncors = [\"{origin}\"]\n"));
        assert!(
            problem.contains("api.cors") && problem.contains("is not an origin as a browser says it"),
            "{problem}"
        );
    }
    let good = "name = \"a\"\n[api]\ncors = [\"*\", \"https://a.example\", \"http://localhost:5173\", \"http://[::1]:80\"]\n";
    assert!(said(good).contains("http://[::1]:80"), "a scheme's own port is left out by browsers");
    read::from_str(&good.replace("[::1]:80", "[::1]:81"), "howdah.toml").unwrap();
}
