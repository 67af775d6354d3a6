//! The whole question as one SQL statement.
//!
//! Every mode gives the same columns, [`COLUMNS`], so that one reader understands them all. Values are bound, limits are
//! numbers of our own in the text, names are quoted. The query vector is a scalar subquery: evaluated once, and still
//! served by the index. Three things keep an approximate index from cutting an answer short:
//!
//! - the list is filled first (`ORDER BY distance LIMIT offset + limit`) and the threshold is applied to the full list,
//!   so that it never becomes a filter that starves the scan;
//! - the list is sorted again after the index gave it, since a relaxed scan may give it out of order;
//! - the number of rows each leg found comes back with the answer, also when no row is left to carry it.

use super::ask::{Ask, Near};
use super::filter;
use super::param::{Param, Params};
use super::request::{Mode, Part, RRF_K, RowId, Words};
use super::scan::{Path, TableFacts};
use super::words::WordPlan;
use crate::spec::resolve::{Resolved, quote_ident, quote_literal};

/// The columns every statement gives, in order, with their types.
pub const COLUMNS: [(&str, &str); 14] = [
    ("id", "jsonb"),
    ("score", "float8"),
    ("distance", "float8"),
    ("vector_rank", "bigint"),
    ("text_rank", "bigint"),
    ("text_score", "float8"),
    ("source", "text"),
    ("title", "text"),
    ("content", "text"),
    ("snippet", "text"),
    ("metadata", "jsonb"),
    ("fields", "jsonb"),
    ("vector_found", "bigint"),
    ("text_found", "bigint"),
];

/// One statement, ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Its text, with `$n` where the values go.
    pub sql: String,
    /// Its values.
    pub params: Vec<Param>,
    /// Whether its text is one of few, so that keeping it prepared is worth it.
    pub common: bool,
}

/// Builds the statement of a checked request. Its `near` must not be [`Near::Text`] any more. `words` is needed for
/// [`Words::Any`] only.
pub fn build(ask: &Ask, resolved: &Resolved, facts: &TableFacts, path: Path, words: &WordPlan) -> Statement {
    let mut builder = Builder { ask, resolved, facts, path, words, params: Params::default() };
    let sql = match (ask.mode, ask.max_distance) {
        (Mode::Vector, None) if ask.offset == 0 => builder.nearest_flat(),
        (Mode::Vector, _) => builder.nearest(),
        (Mode::Text, _) => builder.matching_words(),
        (Mode::Hybrid, _) => builder.hybrid(),
    };
    let common = ask.filter.is_none() && ask.offset == 0 && ask.limit <= 100;
    Statement { sql, params: builder.params.0, common }
}

/// Counts what passes the filter, for the planner's estimate: only ever run under `EXPLAIN`.
pub fn matching(ask: &Ask, resolved: &Resolved, facts: &TableFacts) -> Option<Statement> {
    let fixed = resolved.columns.fixed.is_some() && !facts.partial;
    if ask.filter.is_none() && !fixed {
        return None;
    }
    let mut params = Params::default();
    let condition = ask
        .filter
        .as_ref()
        .map_or_else(|| "TRUE".to_owned(), |filter| filter::condition(filter, "t", &mut params));
    let sql = format!("EXPLAIN (FORMAT JSON) SELECT 1 FROM {} AS t WHERE {condition}", resolved.rows());
    Some(Statement { sql, params: params.0, common: false })
}

/// Asks for the lexemes of a text in the collection's language: one row, `text[]`.
pub fn lexemes(text: &str, resolved: &Resolved) -> Statement {
    let mut params = Params::default();
    let text = params.bind(Param::Text(text.to_owned()));
    let language = quote_literal(&resolved.language);
    let sql = format!("SELECT tsvector_to_array(to_tsvector({language}::regconfig, {text}))");
    Statement { sql, params: params.0, common: true }
}

/// Asks whether a row is there and has an embedding that can be compared: `embedding is null`, `norm is zero`.
pub fn row_check(id: &RowId, resolved: &Resolved, facts: &TableFacts) -> Statement {
    let mut params = Params::default();
    let id = bind_id(&mut params, id, facts);
    let sql = format!(
        "SELECT t.{embedding} IS NULL, coalesce({norm}, 1) = 0 FROM {table} AS t WHERE t.{key} = {id} LIMIT 1",
        embedding = quote_ident(&resolved.columns.embedding),
        norm = norm(resolved, facts),
        table = resolved.rows(),
        key = quote_ident(&resolved.columns.id),
    );
    Statement { sql, params: params.0, common: true }
}

fn norm(resolved: &Resolved, facts: &TableFacts) -> String {
    let function = match facts.storage {
        crate::spec::Storage::Vector => "vector_norm",
        crate::spec::Storage::Halfvec => "l2_norm",
    };
    format!("{}{function}({})", schema_prefix(facts), compared("t", resolved, facts))
}

/// What is compared of a row: the embedding, or the cast of it that the index is on.
fn compared(alias: &str, resolved: &Resolved, facts: &TableFacts) -> String {
    let column = format!("{alias}.{}", quote_ident(&resolved.columns.embedding));
    match &facts.cast {
        Some(cast) => format!("({column}::{}{cast})", schema_prefix(facts)),
        None => column,
    }
}

fn schema_prefix(facts: &TableFacts) -> String {
    facts.vector_schema.as_deref().map_or_else(String::new, |schema| format!("{}.", quote_ident(schema)))
}

fn bind_id(params: &mut Params, id: &RowId, facts: &TableFacts) -> String {
    match id {
        RowId::Integer(number) => params.bind(Param::Integer(*number)),
        RowId::Text(text) => {
            let cast = if filter::Kind::of(&facts.id_type) == filter::Kind::Uuid { "::uuid" } else { "" };
            format!("{}{cast}", params.bind(Param::Text(text.clone())))
        }
    }
}

struct Builder<'a> {
    ask: &'a Ask,
    resolved: &'a Resolved,
    facts: &'a TableFacts,
    path: Path,
    words: &'a WordPlan,
    params: Params,
}

impl Builder<'_> {
    fn table(&self) -> String {
        self.resolved.rows()
    }

    fn id(&self) -> String {
        format!("t.{}", quote_ident(&self.resolved.columns.id))
    }

    fn embedding(&self) -> String {
        compared("t", self.resolved, self.facts)
    }

    /// Whether there is an embedding. A cast may fail on a row that another condition drops, so the column itself is asked.
    fn embedded(&self) -> String {
        format!("t.{} IS NOT NULL", quote_ident(&self.resolved.columns.embedding))
    }

    fn rows(&self) -> u32 {
        self.ask.limit + self.ask.offset
    }

    /// The query as a scalar subquery.
    fn query(&mut self) -> String {
        match &self.ask.near {
            Some(Near::Row(id)) => {
                let id = bind_id(&mut self.params, id, self.facts);
                format!(
                    "(SELECT {} FROM {} AS o WHERE o.{} = {id} LIMIT 1)",
                    compared("o", self.resolved, self.facts),
                    self.table(),
                    quote_ident(&self.resolved.columns.id),
                )
            }
            Some(Near::Vector(vector)) => {
                let vector = self.params.bind(Param::Reals(vector.clone()));
                format!("(SELECT {vector}::{}{})", schema_prefix(self.facts), self.facts.storage.sql_name())
            }
            // An unembedded text has no neighbours: NULL, which gives no row a distance.
            Some(Near::Text) | None => {
                format!("(SELECT NULL::{}{})", schema_prefix(self.facts), self.facts.storage.sql_name())
            }
        }
    }

    /// `embedding <=> query`; with `+ 0` where the index must not serve it.
    fn distance(&mut self, path: Path) -> String {
        let operator = self.resolved.metric.operator();
        let operator = match &self.facts.vector_schema {
            Some(schema) => format!("OPERATOR({}.{operator})", quote_ident(schema)),
            None => operator.to_owned(),
        };
        let plain = format!("{} {operator} {}", self.embedding(), self.query());
        match path {
            Path::Index => plain,
            Path::Exact => format!("({plain}) + 0::float8"),
        }
    }

    /// The rows that count, besides the leg's own condition.
    fn conditions(&mut self, own: &str) -> String {
        let mut all = vec![own.to_owned()];
        if let Some(filter) = &self.ask.filter {
            all.push(filter::condition(filter, "t", &mut self.params));
        }
        if let Some(Near::Row(id)) = &self.ask.near {
            let id = bind_id(&mut self.params, id, self.facts);
            all.push(format!("{} <> {id}", self.id()));
        }
        all.join(" AND ")
    }

    /// The plain list: no threshold, no offset, nothing to join back.
    fn nearest_flat(&mut self) -> String {
        let distance = self.distance(self.path);
        let own = self.embedded();
        let conditions = self.conditions(&own);
        let columns = self.columns(Score {
            score: "NULL",
            distance: &distance,
            ranks: ["NULL", "NULL"],
            text_score: "NULL",
            found: ["NULL", "NULL"],
        });
        format!(
            "SELECT {columns} FROM {} AS t WHERE {conditions} ORDER BY distance LIMIT {}",
            self.table(),
            self.rows()
        )
    }

    /// The leg of nearest vectors: `id`, `distance`.
    fn vector_leg(&mut self, rows: u32) -> String {
        let distance = self.distance(self.path);
        let own = self.embedded();
        let conditions = self.conditions(&own);
        format!(
            "SELECT {} AS id, {distance} AS distance FROM {} AS t WHERE {conditions} ORDER BY distance LIMIT {rows}",
            self.id(),
            self.table(),
        )
    }

    /// Rows of the vector leg that have a distance, within the threshold.
    fn within(&mut self) -> String {
        // NaN (a zero vector under cosine) counts as larger than infinity.
        let most = self.ask.max_distance.unwrap_or(f64::INFINITY);
        format!("distance <= {}", self.params.bind(Param::Float(most)))
    }

    fn nearest(&mut self) -> String {
        let leg = self.vector_leg(self.rows());
        let within = self.within();
        let columns = self.columns(Score {
            score: "NULL",
            distance: "n.distance",
            ranks: ["NULL", "NULL"],
            text_score: "NULL",
            found: ["c.found", "NULL"],
        });
        format!(
            "WITH nearest AS MATERIALIZED ({leg})\n\
             SELECT {columns}\n\
             FROM (SELECT count(*) AS found FROM nearest) AS c\n\
             LEFT JOIN (SELECT id, distance FROM nearest WHERE {within} \
             ORDER BY distance + 0::float8, id LIMIT {limit} OFFSET {offset}) AS n ON TRUE\n\
             LEFT JOIN {table} AS t ON {id} = n.id\n\
             ORDER BY n.distance + 0::float8, n.id",
            limit = self.ask.limit,
            offset = self.ask.offset,
            table = self.table(),
            id = self.id(),
        )
    }

    /// The stored `tsvector`, or the expression that stands for it.
    fn document(&self) -> String {
        match &self.resolved.columns.tsv {
            Some(tsv) => format!("t.{}", quote_ident(tsv)),
            None => {
                let content = self.resolved.columns.content.as_deref().unwrap_or_default();
                format!("to_tsvector({}, t.{})", self.language(), quote_ident(content))
            }
        }
    }

    fn language(&self) -> String {
        format!("{}::regconfig", quote_literal(&self.resolved.language))
    }

    /// The common table expressions of the words: `words.query` chooses the candidates, `lexemes` rank them.
    fn word_tables(&mut self) -> String {
        if self.ask.words == Words::Any {
            let candidates = self.params.bind(Param::Text(self.words.candidates.clone()));
            let queries = self.params.bind(Param::Texts(self.words.queries.clone()));
            let weights = self.params.bind(Param::Floats(self.words.weights.clone()));
            return format!(
                "words AS MATERIALIZED (SELECT {candidates}::tsquery AS query),\n\
                 lexemes AS MATERIALIZED (SELECT l.query::tsquery AS query, l.weight \
                 FROM unnest({queries}, {weights}) AS l (query, weight))"
            );
        }
        let text = self.params.bind(Param::Text(self.ask.text.clone().unwrap_or_default()));
        let function = if self.ask.words == Words::All { "plainto_tsquery" } else { "websearch_to_tsquery" };
        format!("words AS MATERIALIZED (SELECT {function}({}, {text}) AS query)", self.language())
    }

    /// How well the document `d.document` holds the words. For [`Words::Any`]: the weights of those it holds, each the
    /// more the oftener and the higher up it is there, over a measure of the document's length. Otherwise every document
    /// holds them all, and what counts is how near to each other they are.
    fn word_score(&self) -> &'static str {
        match self.ask.words {
            Words::Any => {
                "(SELECT sum(l.weight * (1 + ts_rank(d.document, l.query))) FROM lexemes AS l \
                 WHERE d.document @@ l.query) / (1 + 0.02::float8 * length(d.document))"
            }
            Words::All | Words::Web => "ts_rank_cd(d.document, (SELECT query FROM words), 1)::float8",
        }
    }

    /// The leg of texts that hold the words: `id`, `score`.
    fn text_leg(&mut self, rows: u32) -> String {
        let document = self.document();
        let mut own = format!("{document} @@ (SELECT query FROM words)");
        if self.ask.max_distance.is_some() {
            let distance = self.distance(Path::Exact);
            let within = self.params.bind(Param::Float(self.ask.max_distance.unwrap_or(f64::INFINITY)));
            own.push_str(&format!(" AND {distance} <= {within}"));
        }
        let conditions = self.conditions(&own);
        // The document is unpacked once for all words: what is concatenated is no longer compressed or out of line.
        format!(
            "SELECT {id} AS id, {score} AS score FROM {table} AS t \
             CROSS JOIN LATERAL (SELECT {document} || ''::tsvector AS document OFFSET 0) AS d \
             WHERE {conditions} ORDER BY score DESC, id LIMIT {rows}",
            id = self.id(),
            score = self.word_score(),
            table = self.table(),
        )
    }

    fn matching_words(&mut self) -> String {
        let words = self.word_tables();
        let leg = self.text_leg(self.rows());
        let columns = self.columns(Score {
            score: "n.score",
            distance: "NULL",
            ranks: ["NULL", "NULL"],
            text_score: "n.score",
            found: ["NULL", "c.found"],
        });
        format!(
            "WITH {words},\n\
             matched AS MATERIALIZED ({leg})\n\
             SELECT {columns}\n\
             FROM (SELECT count(*) AS found FROM matched) AS c\n\
             LEFT JOIN (SELECT id, score FROM matched ORDER BY score DESC, id LIMIT {limit} OFFSET {offset}) AS n \
             ON TRUE\n\
             LEFT JOIN {table} AS t ON {id} = n.id\n\
             ORDER BY n.score DESC, n.id",
            limit = self.ask.limit,
            offset = self.ask.offset,
            table = self.table(),
            id = self.id(),
        )
    }

    fn hybrid(&mut self) -> String {
        let words = self.word_tables();
        let vector_leg = self.vector_leg(self.ask.depth.vector);
        let text_leg = self.text_leg(self.ask.depth.text);
        let within = self.within();
        let vector_weight = self.params.bind(Param::Float(self.ask.weights.vector));
        let text_weight = self.params.bind(Param::Float(self.ask.weights.text));
        let distance = self.distance(Path::Exact);
        let columns = self.columns(Score {
            score: "n.score",
            distance: &format!("coalesce(n.distance, {distance})"),
            ranks: ["n.vector_rank", "n.text_rank"],
            text_score: "n.text_score",
            found: ["c.vector_found", "c.text_found"],
        });
        format!(
            "WITH {words},\n\
             nearest AS MATERIALIZED ({vector_leg}),\n\
             matched AS MATERIALIZED ({text_leg}),\n\
             v AS (SELECT id, distance, row_number() OVER (ORDER BY distance + 0::float8, id) AS rank \
             FROM nearest WHERE {within}),\n\
             x AS (SELECT id, score, row_number() OVER (ORDER BY score DESC, id) AS rank FROM matched),\n\
             fused AS MATERIALIZED (SELECT id, v.rank AS vector_rank, v.distance, x.rank AS text_rank, \
             x.score AS text_score, coalesce({vector_weight} / ({RRF_K} + v.rank), 0) \
             + coalesce({text_weight} / ({RRF_K} + x.rank), 0) AS score\n\
             FROM v FULL JOIN x USING (id) ORDER BY score DESC, id LIMIT {limit} OFFSET {offset})\n\
             SELECT {columns}\n\
             FROM (SELECT (SELECT count(*) FROM nearest) AS vector_found, \
             (SELECT count(*) FROM matched) AS text_found) AS c\n\
             LEFT JOIN fused AS n ON TRUE\n\
             LEFT JOIN {table} AS t ON {id} = n.id\n\
             ORDER BY n.score DESC, n.id",
            limit = self.ask.limit,
            offset = self.ask.offset,
            table = self.table(),
            id = self.id(),
        )
    }

    /// The columns of the answer, [`COLUMNS`].
    fn columns(&self, score: Score<'_>) -> String {
        let values = [
            format!("to_jsonb({})", self.id()),
            cast(score.score, "float8"),
            cast(score.distance, "float8"),
            cast(score.ranks[0], "bigint"),
            cast(score.ranks[1], "bigint"),
            cast(score.text_score, "float8"),
            self.column(self.resolved.columns.source.as_deref(), "text", true),
            self.column(self.resolved.columns.title.as_deref(), "text", true),
            self.column(self.resolved.columns.content.as_deref(), "text", self.wants(Part::Content)),
            self.snippet(),
            self.column(self.resolved.columns.metadata.as_deref(), "jsonb", self.wants(Part::Metadata)),
            self.fields(),
            cast(score.found[0], "bigint"),
            cast(score.found[1], "bigint"),
        ];
        let named = values.iter().zip(COLUMNS).map(|(value, (name, _))| format!("{value} AS {name}"));
        named.collect::<Vec<_>>().join(", ")
    }

    fn wants(&self, part: Part) -> bool {
        self.ask.select.contains(&part)
    }

    fn column(&self, name: Option<&str>, sql_type: &str, wanted: bool) -> String {
        match name {
            Some(name) if wanted => format!("t.{}::{sql_type}", quote_ident(name)),
            _ => format!("NULL::{sql_type}"),
        }
    }

    fn snippet(&self) -> String {
        match &self.resolved.columns.content {
            Some(content) if self.wants(Part::Snippet) && self.ask.mode != Mode::Vector => format!(
                "ts_headline({}, t.{}::text, coalesce((SELECT query FROM words), ''::tsquery), \
                 'StartSel=<b>, StopSel=</b>, MaxFragments=2, MaxWords=30, MinWords=12, FragmentDelimiter=\" … \"')",
                self.language(),
                quote_ident(content),
            ),
            _ => "NULL::text".into(),
        }
    }

    fn fields(&self) -> String {
        if self.resolved.fields.is_empty() || !self.wants(Part::Fields) {
            return "NULL::jsonb".into();
        }
        // A function takes at most 100 arguments.
        let objects: Vec<String> = self
            .resolved
            .fields
            .chunks(50)
            .map(|fields| {
                let pairs = fields
                    .iter()
                    .map(|(name, _)| format!("{}, t.{}", quote_literal(name), quote_ident(name)));
                format!("jsonb_build_object({})", pairs.collect::<Vec<_>>().join(", "))
            })
            .collect();
        objects.join(" || ")
    }
}

struct Score<'a> {
    score: &'a str,
    distance: &'a str,
    ranks: [&'a str; 2],
    text_score: &'a str,
    found: [&'a str; 2],
}

fn cast(value: &str, sql_type: &str) -> String {
    // A distance is a float8 already, and a cast would hide it from the index.
    if value == "NULL" { format!("NULL::{sql_type}") } else { value.to_owned() }
}
