//! Embedders and collections: limits of models, of pgvector, and of what an adopted table can do.

use super::mistakes::Mistakes;
use super::names;
use super::tables::{FIELD_TYPES, place_of_table, type_known};
use crate::problem::{Kind, Problem};
use crate::removal::Limit;
use crate::spec::place::{item, join};
use crate::spec::resolve::{Columns, known_dimensions, nearest, quote_ident, split_table};
use crate::spec::{Adopt, Collection, Embedder, EmbedderKind, FixedValue, Spec};

/// The model that Howdah fetches by itself, and the word pieces it reads, without the two it adds.
const FETCHED_MODEL: &str = "all-MiniLM-L6-v2";
const FETCHED_MODEL_TOKENS: u32 = 254;

/// PostgreSQL's own text search configurations.
const LANGUAGES: [&str; 30] = [
    "simple",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "estonian",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
];

pub(super) fn check(spec: &Spec, mistakes: &mut Mistakes) {
    for (name, embedder) in &spec.embedders {
        check_embedder(name, embedder, mistakes);
    }
    for (name, collection) in &spec.collections {
        Rules { spec, collection, key: join("collections", name), name }.check(mistakes);
    }
}

fn check_embedder(name: &str, embedder: &Embedder, mistakes: &mut Mistakes) {
    let key = join("embedders", name);
    names::plain(&key, "an embedder", name, mistakes);
    names::variable(&join(&key, "api_key_env"), embedder.api_key_env.as_deref(), mistakes);
    if embedder.model.trim().is_empty() {
        mistakes.say(&join(&key, "model"), format!("`{key}.model` is empty"), "Name the model.");
    }
    if embedder.kind == EmbedderKind::Local {
        return local_embedder(&key, embedder, mistakes);
    }
    if embedder.path.is_some() {
        mistakes.say(
            &join(&key, "path"),
            format!("`{key}.path` is for the kind `local`"),
            "Remove it, or write `kind = \"local\"`.",
        );
    }
    match &embedder.url {
        None if embedder.kind == EmbedderKind::Tei => mistakes.say(
            &key,
            format!("`{key}.url` is missing"),
            "Text Embeddings Inference has no usual address: write `url = \"http://127.0.0.1:8080\"`.",
        ),
        Some(url) => provider_address(&join(&key, "url"), url, mistakes),
        None => {}
    }
}

fn local_embedder(key: &str, embedder: &Embedder, mistakes: &mut Mistakes) {
    for (name, there) in [("url", embedder.url.is_some()), ("api_key_env", embedder.api_key_env.is_some())] {
        if there {
            mistakes.say(
                &join(key, name),
                format!("`{key}.{name}` is for a provider, and the kind `local` asks none"),
                "Remove it, or declare the provider's kind: `openai`, `ollama` or `tei`.",
            );
        }
    }
    let model = embedder.model.rsplit('/').next().unwrap_or_default();
    if embedder.path.is_none() && model != FETCHED_MODEL {
        let message = format!("Howdah cannot fetch the model `{}`", embedder.model);
        let hint = format!(
            "Use `{FETCHED_MODEL}`, or name a directory with model.safetensors, config.json and tokenizer.json: `path`."
        );
        mistakes.say(&join(key, "model"), message, hint);
    }
    let known = if embedder.path.is_none() { known_dimensions(&embedder.model) } else { None };
    if let (Some(known), Some(declared)) = (known, embedder.dimensions)
        && known != declared
    {
        mistakes.say(
            &join(key, "dimensions"),
            format!("`{key}.dimensions` is {declared}, and the model has {known}"),
            "Remove it: a local model knows its dimensions.",
        );
    }
}

/// Looks at a provider's address without repeating it: there may be a key in it.
fn provider_address(key: &str, url: &str, mistakes: &mut Mistakes) {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
        return mistakes.say(
            key,
            format!("`{key}` is not an http address"),
            "Write `http://host:port` or `https://host`.",
        );
    };
    if rest.split('/').next().unwrap_or_default().contains('@') {
        mistakes.say(
            key,
            format!("`{key}` holds a user or a key"),
            "Put the key into an environment variable and name that: `api_key_env = \"PROVIDER_KEY\"`.",
        );
    }
}

/// One collection under the rules.
pub(super) struct Rules<'a> {
    spec: &'a Spec,
    pub(super) collection: &'a Collection,
    key: String,
    name: &'a str,
}

impl Rules<'_> {
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.key)
    }

    fn check(&self, mistakes: &mut Mistakes) {
        names::plain(&self.key, "a collection", self.name, mistakes);
        let table = self.collection.table.as_deref();
        place_of_table(
            self.spec,
            &self.key,
            (self.collection.database.as_ref(), table, self.name),
            self.collection.adopt.is_some(),
            mistakes,
        );
        self.embedder(mistakes);
        self.dimensions(mistakes);
        super::index::check(self, mistakes);
        self.language(mistakes);
        self.chunking(mistakes);
        self.fields(mistakes);
        self.documents(mistakes);
        self.max_removed(mistakes);
        match &self.collection.adopt {
            Some(adopt) => self.adopted(adopt, mistakes),
            None => self.index_names(mistakes),
        }
    }

    fn max_removed(&self, mistakes: &mut Mistakes) {
        let Some(limit) = self.collection.max_removed.as_deref() else { return };
        if Limit::parse(limit).is_none() {
            let key = self.at("max_removed");
            let message = format!("`{key}` is neither a share nor a number: `{limit}`");
            mistakes.say(
                &key,
                message,
                "Write a share as in `\"20%\"`, or a number of documents as in `\"50\"`.",
            );
        }
    }

    fn declared_embedder(&self) -> Option<(&str, &Embedder)> {
        let name = self.collection.embedder.as_deref()?;
        Some((name, self.spec.embedders.get(name)?))
    }

    fn embedder(&self, mistakes: &mut Mistakes) {
        if let Some(name) =
            self.collection.embedder.as_ref().filter(|n| !self.spec.embedders.contains_key(*n))
        {
            let declared = self.spec.embedders.keys();
            mistakes.undeclared(&self.at("embedder"), "the embedder", "embedders", name, declared);
        }
    }

    pub(super) fn known_dimensions(&self) -> Option<u32> {
        let (_, embedder) = self.declared_embedder()?;
        embedder.dimensions.or_else(|| known_dimensions(&embedder.model))
    }

    fn dimensions(&self, mistakes: &mut Mistakes) {
        match (self.collection.dimensions, self.known_dimensions()) {
            (Some(declared), Some(known)) if declared != known => {
                let (name, embedder) = self.declared_embedder().unzip();
                let (name, model) =
                    (name.unwrap_or_default(), embedder.map(|e| e.model.as_str()).unwrap_or_default());
                let message =
                    format!("`{}` is {declared}, and its embedder makes {known}", self.at("dimensions"));
                let problem = Problem::new(Kind::Usage, message)
                    .detail(format!("the embedder `{name}` has the model `{model}`"))
                    .hint(format!("Remove it, or declare `dimensions` at `{}`.", join("embedders", name)));
                mistakes.problem(&self.at("dimensions"), problem);
            }
            (None, None) if self.collection.adopt.is_none() && self.embedder_is_declared_or_absent() => {
                let hint = match self.declared_embedder() {
                    Some((name, _)) => {
                        format!(
                            "Write `dimensions = 768` (the model's number) at `{}`.",
                            join("embedders", name)
                        )
                    }
                    None => "Write `dimensions = 768`, or name an embedder.".to_owned(),
                };
                mistakes.say(&self.key, format!("`{}` has no dimensions", self.key), hint);
            }
            _ => {}
        }
    }

    fn embedder_is_declared_or_absent(&self) -> bool {
        self.collection.embedder.is_none() || self.declared_embedder().is_some()
    }

    fn language(&self, mistakes: &mut Mistakes) {
        let key = self.at("language");
        let language = self.collection.language.as_str();
        let name = language.strip_prefix("pg_catalog.").unwrap_or(language);
        if LANGUAGES.contains(&name) || !names::identifier(&key, "the language", language, mistakes) {
            return;
        }
        let near = nearest(&name.to_lowercase(), LANGUAGES);
        if let Some(near) = near.filter(|near| strsim::damerau_levenshtein(name, near) <= 2) {
            let message = format!("`{key}` is not a text search configuration of PostgreSQL: `{language}`");
            mistakes.say(&key, message, format!("Did you mean `{near}`?"));
        }
    }

    fn chunking(&self, mistakes: &mut Mistakes) {
        let chunking = &self.collection.chunking;
        if chunking.overlap > chunking.max_tokens / 2 {
            let key = self.at("chunking.overlap");
            let message = format!("`{key}` is more than half of `max_tokens`: {}", chunking.overlap);
            let hint =
                format!("Write {} or less: every chunk has to bring something new.", chunking.max_tokens / 2);
            mistakes.say(&key, message, hint);
        }
        let fetched = self.declared_embedder().is_some_and(|(_, embedder)| {
            embedder.kind == EmbedderKind::Local && embedder.model.ends_with(FETCHED_MODEL)
        });
        if fetched && chunking.max_tokens > FETCHED_MODEL_TOKENS {
            let key = self.at("chunking.max_tokens");
            let message = format!("`{key}` is more than {FETCHED_MODEL} reads: {}", chunking.max_tokens);
            let hint = format!("Write {FETCHED_MODEL_TOKENS} or less: the model would cut the rest off.");
            mistakes.say(&key, message, hint);
        }
    }

    fn fields(&self, mistakes: &mut Mistakes) {
        let taken: Vec<String> = match &self.collection.adopt {
            None => own_columns(),
            // The columns of a key of several are fields like others: `id` is all of them.
            Some(adopt) => adopted_columns(adopt)
                .into_iter()
                .filter(|(name, _)| *name != "id" || adopt.id.len() == 1)
                .map(|(_, column)| column.to_owned())
                .collect(),
        };
        for (name, sql_type) in &self.collection.fields {
            let key = join(&self.at("fields"), name);
            names::identifier(&key, "a field", name, mistakes);
            if taken.iter().any(|column| column == name) {
                let message = format!("`{key}`: the collection has a column `{name}` already");
                mistakes.say(
                    &key,
                    message,
                    "Choose another name; the columns of a collection are filtered on as they are.",
                );
            }
            if matches!(name.as_str(), "and" | "or" | "not" | "metadata") || name.contains('.') {
                let message = format!("`{key}`: a filter could not name the field `{name}`");
                mistakes.say(
                    &key,
                    message,
                    "Choose a name without `.` that is none of `and`, `or`, `not`, `metadata`.",
                );
            }
            type_known(&key, sql_type, &FIELD_TYPES, true, mistakes);
        }
    }

    fn documents(&self, mistakes: &mut Mistakes) {
        let documents = &self.collection.documents;
        for (index, path) in documents.iter().enumerate() {
            let key = item(&self.at("documents"), index);
            if path.trim().is_empty() || path.contains('\0') {
                mistakes.say(
                    &key,
                    format!("`{key}` is not a path"),
                    "Name a file or a directory, for example `docs`.",
                );
            }
        }
        // Files of records may bring their vectors; prose and directories of it cannot.
        let records = |path: &String| {
            [".jsonl", ".ndjson", ".csv", ".tsv", ".npy", ".parquet"].iter().any(|end| path.ends_with(end))
        };
        if !documents.iter().all(records) && self.collection.embedder.is_none() {
            let key = self.at("documents");
            let message = format!("`{key}`: documents need an embedder, and `{}` has none", self.key);
            mistakes.say(&key, message, "Name one: `embedder = \"local\"`.");
        }
    }

    fn adopted(&self, adopt: &Adopt, mistakes: &mut Mistakes) {
        let columns = adopted_columns(adopt);
        for (index, (name, column)) in columns.iter().enumerate() {
            let key = join(&self.at("adopt"), name);
            names::identifier(&key, "a column", column, mistakes);
            if let Some((other, _)) = columns[..index].iter().find(|(_, earlier)| earlier == column) {
                let message = format!("`{key}` names the column `{column}`, as `{other}` does");
                mistakes.say(&key, message, "Each of them is a column of its own.");
            }
        }
        self.fixed_filter(adopt, mistakes);
        if adopt.text_index && adopt.content.is_none() {
            let key = join(&self.at("adopt"), "text_index");
            let message = format!("`{key}`: there is no text to index");
            mistakes.say(&key, message, "Name the text column: `content = \"…\"`.");
        }
        let needed = [
            ("content", &adopt.content),
            ("source", &adopt.source),
            ("chunk", &adopt.chunk),
            ("content_hash", &adopt.content_hash),
        ];
        let missing: Vec<&str> =
            needed.iter().filter(|(_, column)| column.is_none()).map(|(name, _)| *name).collect();
        if !self.collection.documents.is_empty() && !missing.is_empty() {
            let key = self.at("documents");
            let problem =
                Problem::new(Kind::Usage, format!("`{key}`: the adopted table cannot be loaded into"))
                    .detail(format!("`{}` does not name {}", self.at("adopt"), missing.join(", ")))
                    .hint("Name these columns, or leave `documents` out and write the rows yourself.");
            mistakes.problem(&key, problem);
        }
    }

    fn fixed_filter(&self, adopt: &Adopt, mistakes: &mut Mistakes) {
        for (name, value) in &adopt.filter {
            let key = join(&self.at("adopt.filter"), name);
            match name.strip_prefix("metadata.") {
                Some(path) if adopt.metadata.is_none() || path.is_empty() => {
                    let message = format!(
                        "`{key}` names a place in the metadata, and `{}` names no column of it",
                        self.at("adopt")
                    );
                    mistakes.say(&key, message, "Write `metadata = \"…\"` with the JSON column's name.");
                }
                Some(_) => {}
                None => {
                    names::identifier(&key, "a column", name, mistakes);
                }
            }
            if matches!(value, FixedValue::Any(values) if values.is_empty()) {
                let message = format!("`{key}` has no values, so the collection would have no rows");
                mistakes.say(&key, message, "Name at least one value.");
            }
        }
        if !adopt.filter.is_empty() && !self.collection.documents.is_empty() {
            let key = self.at("documents");
            let message = format!("`{key}`: a collection with a fixed filter is not loaded into");
            mistakes.say(&key, message, "Leave `documents` out and write the rows yourself.");
        }
    }

    /// PostgreSQL would cut long names of indexes off, and two of them could become one.
    fn index_names(&self, mistakes: &mut Mistakes) {
        let (_, table) = split_table(self.collection.table.as_deref().unwrap_or(self.name));
        let longest_field = self.collection.fields.keys().map(String::len).max().unwrap_or(0);
        let longest = table.len() + "_embedding_idx".len().max(longest_field + "__idx".len());
        if table.len() <= names::LONGEST && longest > names::LONGEST {
            let key = if self.collection.table.is_some() { self.at("table") } else { self.key.clone() };
            let message =
                format!("the indexes of {} would have names of {longest} bytes", quote_ident(&table));
            mistakes.say(
                &key,
                message,
                format!("PostgreSQL allows {} bytes: choose a shorter table name.", names::LONGEST),
            );
        }
    }
}

/// Columns of a table that Howdah makes.
fn own_columns() -> Vec<String> {
    let columns = Columns::own();
    [
        Some(columns.id),
        columns.content,
        Some(columns.embedding),
        columns.metadata,
        columns.source,
        columns.chunk,
    ]
    .into_iter()
    .chain([columns.title, columns.content_hash, columns.tsv])
    .flatten()
    .chain(["created_at".to_owned(), "updated_at".to_owned()])
    .collect()
}

fn adopted_columns(adopt: &Adopt) -> Vec<(&'static str, &str)> {
    let optional = [
        ("content", adopt.content.as_deref()),
        ("metadata", adopt.metadata.as_deref()),
        ("source", adopt.source.as_deref()),
        ("chunk", adopt.chunk.as_deref()),
        ("content_hash", adopt.content_hash.as_deref()),
    ];
    let key = adopt.id.iter().map(|column| ("id", column.as_str()));
    key.chain([("embedding", adopt.embedding.as_str())])
        .chain(optional.into_iter().filter_map(|(name, column)| Some((name, column?))))
        .collect()
}
