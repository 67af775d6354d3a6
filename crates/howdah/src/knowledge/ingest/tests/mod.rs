//! Ingest against a real server.

mod bad;
mod connections;
mod formats;
mod hostile;
mod limits;
mod names;
mod progress;
mod removal;
mod repeat;
mod selection;
mod sequences;
mod statistics;
mod trouble;
mod types;
mod values;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use howdah_plan::problem::Problem;
use howdah_plan::spec::resolve::{Resolved, resolve};
use howdah_plan::spec::{self, Collection, EmbedderKind, Spec};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request as HttpRequest, ResponseTemplate};

use super::{IngestReport, IngestRequest, run};
use crate::observe::progress::{Event, Progress};
use howdah_embed::Embedder;
use howdah_postgres::testing::{self, TestDatabase};
use howdah_postgres::{Home, Pools};

/// A database with an empty collection `notes` of four dimensions, an embedder behind HTTP, a directory for files.
pub(super) struct World {
    pub database: TestDatabase,
    pub spec: Spec,
    pub resolved: Resolved,
    pub embedder: Option<Arc<Embedder>>,
    pub dir: tempfile::TempDir,
    server: MockServer,
}

/// Columns of an own table up to the declared fields, and behind them; as `apply` makes them.
const HEAD: &str =
    "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text NOT NULL, chunk integer NOT NULL,
    title text, content text NOT NULL, content_hash bytea NOT NULL, metadata jsonb NOT NULL DEFAULT '{}'";
const TAIL: &str = "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (source, chunk)";

/// The statement that makes an own table.
pub(crate) fn own_table(table: &str, fields: &[(&str, &str)], embedding: &str) -> String {
    let fields: String = fields.iter().map(|(name, kind)| format!("{name} {kind},")).collect();
    let tsv = howdah_plan::search::text::own_document("english");
    format!(
        "CREATE TABLE {table} ({HEAD}, {fields} embedding {embedding}, tsv tsvector GENERATED ALWAYS AS ({tsv}) STORED, {TAIL})"
    )
}

/// Makes Howdah's own tables.
pub(crate) async fn own_schema(client: &howdah_postgres::Lease) {
    for migration in howdah_plan::internal_schema::all() {
        client.batch_execute(migration.sql).await.unwrap();
    }
}

impl World {
    /// With these typed fields and an embedder.
    pub async fn new(fields: &[(&str, &str)]) -> World {
        World::made(fields, "vector(4)", true).await
    }

    /// For callers that bring their vectors.
    pub async fn without_embedder(embedding: &str) -> World {
        World::made(&[], embedding, false).await
    }

    async fn made(fields: &[(&str, &str)], embedding: &str, embeds: bool) -> World {
        let database = testing::database().await;
        let client = database.client().await;
        own_schema(&client).await;
        client.batch_execute(&own_table("notes", fields, embedding)).await.unwrap();
        let fields: serde_json::Map<String, Value> =
            fields.iter().map(|(name, kind)| ((*name).to_owned(), json!(kind))).collect();
        let spec: Spec = serde_json::from_value(json!({
            "name": "test",
            "databases": {&database.name: {}},
            "collections": {"notes": {"dimensions": 4, "fields": fields, "chunking": {"max_tokens": 40, "overlap": 0}}},
        }))
        .unwrap();
        let server = provider().await;
        let embedder = embeds.then(|| Arc::new(embedder(&server, "test-model")));
        let resolved = resolve(&spec, "notes").unwrap();
        World { database, spec, resolved, embedder, dir: tempfile::tempdir().unwrap(), server }
    }

    pub fn pools(&self) -> &Pools {
        &self.database.pools
    }

    pub fn collection(&self) -> &Collection {
        &self.spec.collections["notes"]
    }

    /// Writes a file into the directory; gives its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A request for paths.
    pub fn request(&self, paths: &[&Path]) -> IngestRequest {
        let request =
            IngestRequest::paths(paths.iter().map(|path| path.display().to_string()), self.collection());
        IngestRequest { base: Some(self.dir.path().to_owned()), ..request }
    }

    /// Ingests paths.
    pub async fn ingest(&self, paths: &[&Path]) -> Result<IngestReport, Problem> {
        self.run(self.request(paths)).await
    }

    pub async fn run(&self, request: IngestRequest) -> Result<IngestReport, Problem> {
        run(self.pools(), self.embedder.clone(), &self.resolved, request, Arc::new(Watch::default())).await
    }

    /// Rows as JSON, in order, without what changes by itself.
    pub async fn rows(&self) -> Vec<Value> {
        let sql = "SELECT to_jsonb(n) - '{id,content_hash,tsv,created_at,updated_at}'::text[] FROM notes n
                   ORDER BY source, chunk";
        self.database.client().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Source, place and text of all rows.
    pub async fn texts(&self) -> Vec<(String, i32, String)> {
        let sql = "SELECT source, chunk, content FROM notes ORDER BY source, chunk";
        let rows = self.database.client().await.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    }

    /// Where every row version is: changes with any write.
    pub async fn versions(&self) -> Vec<String> {
        let sql = "SELECT ctid::text || ' ' || xmin::text FROM notes UNION ALL
                   SELECT ctid::text || ' ' || xmin::text FROM howdah.sources ORDER BY 1";
        self.database.client().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    pub async fn count(&self) -> i64 {
        self.value("SELECT count(*) FROM notes").await
    }

    /// One number.
    pub async fn value(&self, sql: &str) -> i64 {
        self.database.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Texts that the provider has embedded.
    pub async fn embedded(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        let texts = requests.iter().flat_map(|request| {
            let body: Value = request.body_json().unwrap();
            body["inputs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        });
        texts.filter(|text| text != "elephant").collect()
    }
}

/// An embedder that asks `server`, under another model's name.
pub(super) fn embedder(server: &MockServer, model: &str) -> Embedder {
    let declared = spec::Embedder {
        kind: EmbedderKind::Tei,
        model: model.into(),
        path: None,
        url: Some(server.uri()),
        api_key_env: None,
        dimensions: None,
        batch: None,
        timeout_seconds: None,
        max_characters: None,
    };
    Embedder::new("test", &declared, &Home::at("/nonexistent")).unwrap()
}

/// A provider whose vectors follow from the texts.
pub(super) async fn provider() -> MockServer {
    let server = MockServer::start().await;
    let answer = |request: &HttpRequest| {
        let body: Value = request.body_json().unwrap();
        let vectors: Vec<[f64; 4]> =
            body["inputs"].as_array().unwrap().iter().map(|text| vector(text.as_str().unwrap())).collect();
        ResponseTemplate::new(200).set_body_json(vectors)
    };
    Mock::given(wiremock::matchers::path("/embed")).respond_with(answer).mount(&server).await;
    server
}

/// Some unit vector for a text.
pub(super) fn vector(text: &str) -> [f64; 4] {
    let sum = text.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let angle = f64::from(sum % 10_000) / 10_000.0;
    [angle.cos(), angle.sin(), 0.0, 0.0]
}

/// Notes what it is told.
#[derive(Default)]
pub(super) struct Watch {
    pub events: Mutex<Vec<Event>>,
}

impl Progress for Watch {
    fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}
