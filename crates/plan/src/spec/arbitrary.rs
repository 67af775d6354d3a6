//! Strategies that generate declarations which `check` accepts, for property tests.
//!
//! Names come from small pools, so that two declarations drawn independently share databases, roles and tables: a pair
//! is a before and an after, which is what plan → apply → plan needs. Everything generated can be carried out on a server
//! that has nothing but the extension `vector`.

use indexmap::IndexMap;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{
    Api, Chunking, Collection, Column, Database, Disk, Embedder, EmbedderKind, Grant, IdType, Index,
    IndexKind, Metric, Role, Server, ServerSource, ServiceRoles, SettingValue, Spec, Storage, Table,
    TableIndex, Workload, check,
};

const DATABASES: [&str; 3] = ["app", "reports", "with space"];
const SCHEMAS: [&str; 2] = ["archive", "staging"];
const ROLES: [&str; 4] = ["owner", "reader", "writer", "Quoted \"Role\""];
const COLLECTIONS: [&str; 4] = ["manual", "notes", "memory_entries", "images"];
const TABLES: [&str; 3] = ["events", "Logs", "results"];
const FIELDS: [&str; 4] = ["year", "lang", "price", "seen_at"];
const FIELD_TYPES: [&str; 8] =
    ["integer", "bigint", "text", "boolean", "double precision", "numeric", "timestamptz", "uuid"];
/// Columns: name, the type it has in one declaration and in another, a default that some declare.
const COLUMNS: [(&str, [&str; 2], Option<&str>); 6] = [
    ("kind", ["text", "varchar(30)"], Some("'new'")),
    ("payload", ["jsonb", "jsonb"], Some("'{}'")),
    ("count", ["integer", "bigint"], Some("-1")),
    ("at", ["timestamptz", "timestamptz"], Some("now()")),
    ("label", ["varchar(50)", "varchar(20)"], None),
    ("done", ["boolean", "boolean"], Some("false")),
];

/// Any declaration that `check` accepts.
pub fn spec() -> impl Strategy<Value = Spec> {
    databases()
        .prop_flat_map(|databases| {
            let names: Vec<String> = databases.keys().cloned().collect();
            let roles = roles(names.clone());
            let embedders = embedders();
            let lives = (collections(names.clone()), tables(names));
            (server(), api(), Just(databases), roles, embedders, lives, settings())
        })
        .prop_map(|(server, api, databases, roles, embedders, (collections, tables), settings)| {
            repaired(Spec {
                version: super::version::CURRENT,
                name: "generated".into(),
                deployment: None,
                server,
                api,
                databases,
                roles,
                embedders,
                collections,
                tables,
                settings,
            })
        })
        .prop_filter("check accepts it", |spec| check::check(spec).is_empty())
}

/// Two declarations of one deployment on one server: the second is what somebody made of the first. Server and REST
/// face are the same and embedders are none, so that only databases differ. `howdah` says whether the server has the
/// extension: without it no collection insists on Howdah's own index.
pub fn pair(howdah: bool) -> impl Strategy<Value = (Spec, Spec)> {
    (spec(), spec())
        .prop_map(move |(before, after)| (databases_only(before, howdah), databases_only(after, howdah)))
}

/// Takes away what an apply to a scratch server cannot or need not carry out.
fn databases_only(mut spec: Spec, howdah: bool) -> Spec {
    spec.server = Server::default();
    spec.api = Api { roles: spec.api.roles, ..Api::default() };
    spec.settings.clear();
    spec.embedders.clear();
    for collection in spec.collections.values_mut() {
        collection.embedder = None;
        collection.documents.clear();
        if collection.index.kind == IndexKind::Howdah && !howdah {
            collection.index.kind = IndexKind::Auto;
            // Beyond what pgvector indexes, and so only for Howdah's own.
            fit_index(collection);
        }
    }
    spec
}

/// Makes references fit: what was drawn independently may name what was not drawn.
fn repaired(mut spec: Spec) -> Spec {
    let roles: Vec<String> = spec.roles.keys().cloned().collect();
    for (index, role) in spec.roles.values_mut().enumerate() {
        // Only roles before it, so that no circle arises.
        role.member_of.retain(|group| roles[..index].contains(group));
    }
    for database in spec.databases.values_mut() {
        database.owner = database.owner.take().filter(|owner| roles.contains(owner));
    }
    let dimensions: IndexMap<String, Option<u32>> =
        spec.embedders.iter().map(|(name, e)| (name.clone(), e.dimensions)).collect();
    for collection in spec.collections.values_mut() {
        collection.embedder = collection.embedder.take().filter(|name| dimensions.contains_key(name));
        match &collection.embedder {
            Some(name) => collection.dimensions = dimensions[name],
            None => collection.documents.clear(),
        }
        fit_index(collection);
    }
    let allowed = spec.server.max_connections.unwrap_or(u32::MAX);
    spec.api.max_pool = spec.api.max_pool.min(allowed);
    spec
}

/// Makes the index possible for the dimensions, the storage and the metric.
fn fit_index(collection: &mut Collection) {
    let dimensions = collection.dimensions.unwrap_or(0);
    let narrow = collection.storage == Some(Storage::Vector) && collection.index.kind != IndexKind::Howdah;
    let limit = if narrow { 2_000 } else { 4_000 };
    let index = &mut collection.index;
    if dimensions > limit {
        index.kind = IndexKind::None;
    }
    if collection.metric == Metric::L1 && matches!(index.kind, IndexKind::Ivfflat | IndexKind::Howdah) {
        index.kind = IndexKind::Hnsw;
    }
    // Over 2,000 dimensions of `vector` a graph that took the place of Howdah's own is not possible.
    if index.kind == IndexKind::Hnsw && collection.storage == Some(Storage::Vector) && dimensions > 2_000 {
        index.kind = IndexKind::None;
    }
    let twice = 2 * index.m.unwrap_or(16);
    if index.ef_construction.unwrap_or(64) < twice {
        index.ef_construction = Some(twice);
    }
    if !matches!(index.kind, IndexKind::Auto | IndexKind::Hnsw) {
        (index.m, index.ef_construction) = (None, None);
    }
    if !matches!(index.kind, IndexKind::Ivfflat | IndexKind::Howdah) {
        index.lists = None;
    }
    if !matches!(index.kind, IndexKind::Auto | IndexKind::Howdah) {
        index.bits = None;
    }
}

fn named<T: std::fmt::Debug + Clone + 'static>(
    pool: &'static [&'static str],
    least: usize,
    value: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = IndexMap<String, T>> {
    subsequence(pool.to_vec(), least..=pool.len()).prop_shuffle().prop_flat_map(move |names| {
        let count = names.len();
        (Just(names), vec(value.clone(), count))
            .prop_map(|(names, values)| names.into_iter().map(str::to_owned).zip(values).collect())
    })
}

fn maybe(text: &'static str) -> impl Strategy<Value = Option<String>> + Clone {
    option::of(Just(text.to_owned()))
}

fn server() -> impl Strategy<Value = Server> {
    let place = (
        select(vec![ServerSource::Auto, ServerSource::System, ServerSource::Bundle]),
        option::of(select(vec![16u32, 18])),
        option::of(1024u16..9000),
        maybe("/srv/howdah data"),
        maybe("postgres"),
    );
    let tuning = (
        option::of(select(vec!["2GiB", "512MB", "16 GB"])),
        option::of(1u32..64),
        select(vec![Disk::Ssd, Disk::Hdd, Disk::SdCard]),
        select(vec![Workload::Mixed, Workload::Edge, Workload::Dedicated]),
        option::of(5u32..500),
        any::<bool>(),
    );
    (place, tuning, maybe("DATABASE_PASSWORD"), any::<bool>()).prop_map(
        |((source, version, port, data_directory, user), tuning, password_env, there)| {
            let (memory, cores, disk, workload, max_connections, tune) = tuning;
            let tuned = Server {
                memory: memory.map(str::to_owned),
                cores,
                disk,
                workload,
                max_connections,
                tune,
                password_env,
                ..Server::default()
            };
            if there {
                let url = Some("postgres://app@db.example.com:5432/app?sslmode=verify-full".to_owned());
                Server { url, ..tuned }
            } else {
                Server { source, version, port, data_directory, user, ..tuned }
            }
        },
    )
}

fn api() -> impl Strategy<Value = Api> {
    (
        select(vec!["127.0.0.1:0", "127.0.0.1:9777", "[::1]:9778", "localhost:9779"]),
        1024u64..1 << 30,
        1u64..3600,
        0u32..10_000,
        1u32..100,
        any::<bool>(),
        subsequence(vec!["*", "https://app.example.com", "http://localhost:5173"], 0..=2),
        select(vec![ServiceRoles::Auto, ServiceRoles::Off]),
    )
        .prop_map(
            |(
                listen,
                max_body_bytes,
                timeout_seconds,
                requests_per_second,
                max_pool,
                require_key,
                cors,
                roles,
            )| {
                Api {
                    listen: listen.to_owned(),
                    database: None,
                    max_body_bytes,
                    timeout_seconds,
                    requests_per_second,
                    max_pool,
                    require_key,
                    cors: cors.into_iter().map(str::to_owned).collect(),
                    roles,
                }
            },
        )
}

fn databases() -> impl Strategy<Value = IndexMap<String, Database>> {
    let owner = option::of(select(ROLES.to_vec()).prop_map(str::to_owned));
    let one = (owner, subsequence(SCHEMAS.to_vec(), 0..=2), database_settings()).prop_map(
        |(owner, schemas, settings)| Database {
            owner,
            extensions: IndexMap::from([("vector".to_owned(), "*".to_owned())]),
            schemas: schemas.into_iter().map(str::to_owned).collect(),
            settings,
        },
    );
    named(&DATABASES, 1, one)
}

/// Settings that a database or a role can carry, with values PostgreSQL accepts.
fn database_settings() -> impl Strategy<Value = IndexMap<String, SettingValue>> + Clone {
    let one = prop_oneof![
        Just(("work_mem", SettingValue::Text("16MB".into()))),
        Just(("statement_timeout", SettingValue::Integer(30_000))),
        Just(("random_page_cost", SettingValue::Float(1.1))),
        Just(("enable_seqscan", SettingValue::Bool(true))),
        Just(("search_path", SettingValue::Text("public".into()))),
    ];
    vec(one, 0..3).prop_map(|all| all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn settings() -> impl Strategy<Value = IndexMap<String, SettingValue>> {
    let one = prop_oneof![
        Just(("log_min_duration_statement", SettingValue::Text("1s".into()))),
        Just(("wal_compression", SettingValue::Bool(true))),
        (100i64..1000).prop_map(|value| ("vacuum_cost_limit", SettingValue::Integer(value))),
        Just(("checkpoint_completion_target", SettingValue::Float(0.9))),
    ];
    vec(one, 0..4).prop_map(|all| all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn roles(databases: Vec<String>) -> impl Strategy<Value = IndexMap<String, Role>> {
    let rights =
        subsequence(vec!["select", "insert", "update", "delete", "truncate", "references", "trigger"], 1..=7);
    let privileges = prop_oneof![4 => rights, 1 => Just(vec!["all"])];
    let grant =
        (select(databases), privileges, any::<bool>(), option::of(subsequence(TABLES.to_vec(), 1..=2)))
            .prop_map(|(database, privileges, _, tables)| Grant {
                database,
                schema: super::public_schema(),
                privileges: privileges.into_iter().map(str::to_owned).collect(),
                tables: tables.map(|tables| tables.into_iter().map(str::to_owned).collect()),
            });
    let one = (
        any::<bool>(),
        subsequence(ROLES.to_vec(), 0..=2),
        option::of(-1i32..50),
        vec(grant, 0..3),
        database_settings(),
    )
        .prop_map(|(login, member_of, connection_limit, grants, settings)| Role {
            login,
            password_env: None,
            member_of: member_of.into_iter().map(str::to_owned).collect(),
            connection_limit,
            grants,
            settings,
        });
    named(&ROLES, 0, one)
}

fn embedders() -> impl Strategy<Value = IndexMap<String, Embedder>> {
    let local = Embedder {
        kind: EmbedderKind::Local,
        model: "all-MiniLM-L6-v2".into(),
        path: None,
        url: None,
        api_key_env: None,
        dimensions: Some(384),
        batch: None,
        timeout_seconds: None,
        max_characters: None,
    };
    let kinds = select(vec![EmbedderKind::Openai, EmbedderKind::Ollama, EmbedderKind::Tei]);
    let remote = (kinds, 1u32..4_500, option::of(1u32..128), option::of(1u64..120), maybe("PROVIDER_KEY"))
        .prop_map(|(kind, dimensions, batch, timeout_seconds, api_key_env)| Embedder {
            kind,
            model: "some/model:latest".into(),
            path: None,
            url: Some("http://127.0.0.1:11434".into()),
            api_key_env,
            dimensions: Some(dimensions),
            batch,
            timeout_seconds,
            max_characters: batch.map(|batch| 200 + batch),
        });
    named(&["local", "remote"], 0, prop_oneof![Just(local), remote])
}

fn collections(databases: Vec<String>) -> impl Strategy<Value = IndexMap<String, Collection>> {
    let place = (option::of(select(databases)), option::of(select(vec!["local", "remote"])));
    let vectors = (
        prop_oneof![4 => 1u32..64, 1 => 1_900u32..2_100, 1 => 3_900u32..4_100],
        select(vec![Metric::Cosine, Metric::L2, Metric::InnerProduct, Metric::L1]),
        option::of(select(vec![Storage::Vector, Storage::Halfvec])),
        index(),
    );
    let fields = btree_map(select(FIELDS.to_vec()), select(FIELD_TYPES.to_vec()), 0..3);
    let text = (select(vec!["english", "german", "simple"]), fields, 16u32..200, 0u32..8, any::<bool>());
    let one = (place, vectors, text, select(vec![IdType::Bigint, IdType::Uuid])).prop_map(
        |((database, embedder), (dimensions, metric, storage, index), text, id_type)| {
            let (language, fields, max_tokens, overlap, documents) = text;
            let owned = |(name, kind): (&str, &str)| (name.to_owned(), kind.to_owned());
            Collection {
                database,
                table: None,
                renamed_from: None,
                adopt: None,
                embedder: embedder.map(str::to_owned),
                dimensions: Some(dimensions),
                metric,
                storage,
                id_type,
                language: language.to_owned(),
                fields: fields.into_iter().map(owned).collect(),
                chunking: Chunking { max_tokens, overlap },
                index,
                documents: if documents { vec!["docs".to_owned()] } else { Vec::new() },
                max_removed: documents.then(|| format!("{max_tokens}")),
            }
        },
    );
    named(&COLLECTIONS, 0, one)
}

fn index() -> impl Strategy<Value = Index> + Clone {
    let kinds =
        vec![IndexKind::Auto, IndexKind::Howdah, IndexKind::Hnsw, IndexKind::Ivfflat, IndexKind::None];
    (select(kinds), option::of(2u32..40), option::of(4u32..200), option::of(1u32..50), option::of(4u32..6))
        .prop_map(|(kind, m, ef_construction, lists, bits)| Index { kind, m, ef_construction, lists, bits })
}

fn tables(databases: Vec<String>) -> impl Strategy<Value = IndexMap<String, Table>> {
    let extra = subsequence(COLUMNS.to_vec(), 1..=COLUMNS.len());
    let indexed = btree_set(0usize..6, 0..3);
    // What two declarations of one table differ in: types, defaults, identity, primary key, NULL, unique indexes.
    let one = (option::of(select(databases)), extra, indexed, any::<[bool; 6]>()).prop_map(
        |(database, extra, indexed, [other, default, identity, keyed, nullable, unique])| {
            let column = |(name, types, value): &(&str, [&str; 2], Option<&str>)| Column {
                name: (*name).to_owned(),
                renamed_from: None,
                sql_type: types[usize::from(other)].to_owned(),
                nullable,
                default: value.filter(|_| default).map(str::to_owned),
                identity: false,
            };
            let id = Column {
                name: "id".into(),
                renamed_from: None,
                sql_type: "bigint".into(),
                nullable: false,
                default: None,
                identity,
            };
            let indexes =
                indexed.into_iter().filter_map(|at| extra.get(at)).map(|(name, types, _)| TableIndex {
                    columns: vec![(*name).to_owned()],
                    method: if types[0] == "jsonb" { "gin" } else { "btree" }.to_owned(),
                    unique: unique && *name == "count",
                    predicate: (*name == "at").then(|| "at IS NOT NULL".to_owned()),
                });
            Table {
                database,
                table: None,
                renamed_from: None,
                indexes: indexes.collect(),
                columns: std::iter::once(id).chain(extra.iter().map(column)).collect(),
                primary_key: if keyed { vec!["id".to_owned()] } else { Vec::new() },
            }
        },
    );
    named(&TABLES, 0, one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::read;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_declaration_written_and_read_again_is_the_same(spec in spec()) {
            let text = toml::to_string(&spec).unwrap();
            let again = read::from_str(&text, "generated.toml").map_err(|problems| {
                TestCaseError::fail(format!("{problems:#?}\n{text}"))
            })?;
            prop_assert_eq!(&again, &spec);
            let pretty = toml::to_string_pretty(&spec).unwrap();
            prop_assert_eq!(read::from_str(&pretty, "generated.toml").ok(), Some(spec));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[ -~\\n]{0,200}") {
            let _ = read::from_str(&text, "any.toml");
        }

        #[test]
        fn a_declaration_with_one_character_changed_never_makes_the_reader_panic(
            spec in spec(), at in any::<proptest::sample::Index>(), with in "[\\[\\]{}=\".a1\\n]"
        ) {
            let mut text: Vec<char> = toml::to_string(&spec).unwrap().chars().collect();
            let at = at.index(text.len());
            text[at] = with.chars().next().unwrap();
            let text: String = text.into_iter().collect();
            if let Err(problems) = read::from_str(&text, "changed.toml") {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(problem.message.starts_with("changed.toml:"), "{}", problem.message);
                }
            }
        }
    }
}
