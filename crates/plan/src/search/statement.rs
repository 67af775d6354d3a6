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
//!
//! Rows that are equally near or equally good are in the order of their ids, so that a list has one order and pages of it
//! fit together. An index knows nothing of ids: its list goes on to the last row as near as the last one wanted (`WITH
//! TIES`, up to [`MOST_TIES`] of them), and is cut after it is sorted.

use super::ask::{Ask, Near};
use super::filter;
use super::param::{Param, Params};
use super::question::Question;
use super::request::{Mode, Part, RRF_K, RowId, Words};
use super::scan::{Path, TableFacts};
use super::text::{self, Prepared};
use super::words::WordPlan;
use crate::spec::Metric;
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
    ("metadata", "jsonb"),
    ("fields", "jsonb"),
    ("vector_found", "bigint"),
    ("text_found", "bigint"),
    ("fetched", "bigint"),
];

/// Rows beyond the wanted ones that an index is asked for because they are as near as the last one. With more of them the
/// list has no order that the index could give.
pub const MOST_TIES: u32 = 1_000;

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
        (Mode::Vector, None) if ask.offset == 0 && ask.after.is_none() => builder.nearest_flat(),
        (Mode::Vector, _) => builder.nearest(),
        (Mode::Text, _) => builder.matching_words(),
        (Mode::Hybrid, _) => builder.hybrid(),
    };
    let common = ask.filter.is_none() && ask.offset == 0 && ask.after.is_none() && ask.limit <= 100;
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

/// Asks for the lexemes of a question in the collection's language: one row of three `text[]`, its words, its compounds, the
/// beginnings of words.
pub fn lexemes(question: &Question, resolved: &Resolved) -> Statement {
    let mut params = Params::default();
    let text = params.bind(Param::Text(question.wanted.clone()));
    let prefixes = params.bind(Param::Text(question.prefixes.clone()));
    let prepared = prepared(resolved);
    let language = text::language(&resolved.language);
    let lexemes = |text: &str| format!("tsvector_to_array(to_tsvector({language}, {text}))");
    let sql = format!(
        "SELECT {}, {}, {} FROM (SELECT {text} AS asked, {prefixes} AS prefixes OFFSET 0) AS q",
        lexemes(&prepared.asked("q.asked")),
        lexemes(&prepared.asked_compounds("q.asked")),
        lexemes(&prepared.asked("q.prefixes")),
    );
    Statement { sql, params: params.0, common: true }
}

/// Asks for the lexemes of single words of texts: a row for each, with its place and a `text[]`.
pub fn lexemes_of_words(words: Vec<String>, resolved: &Resolved) -> Statement {
    let mut params = Params::default();
    let words = params.bind(Param::Texts(words));
    let sql = format!(
        "SELECT tsvector_to_array(to_tsvector({}, w.word)) FROM unnest({words}) WITH ORDINALITY AS w (word, place) \
         ORDER BY w.place",
        text::language(&resolved.language)
    );
    Statement { sql, params: params.0, common: true }
}

/// How the words of a collection's table are indexed.
pub fn prepared(resolved: &Resolved) -> Prepared {
    if resolved.columns.tsv.is_some() { Prepared::Own } else { Prepared::Plain }
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

    /// The rows behind the cursor, in a list sorted by `key` and `id`; `further` is `>` for distances, `<` for scores.
    fn behind(&mut self, key: &str, further: &str, id: &str) -> String {
        let Some(after) = self.ask.after.clone() else { return "TRUE".to_owned() };
        let last = self.params.bind(Param::Float(after.key));
        let last_id = bind_id(&mut self.params, &after.id, self.facts);
        format!("({key} {further} {last} OR ({key} = {last} AND {id} > {last_id}))")
    }

    /// The query as a scalar subquery.
    fn query(&mut self) -> String {
        match &self.ask.near {
            Some(Near::Row(id)) => {
                let id = bind_id(&mut self.params, id, self.facts);
                let embedding = compared("o", self.resolved, self.facts);
                // Its length may overflow or vanish in single precision; its direction does not.
                let unit = self.resolved.metric == Metric::Cosine && self.facts.pgvector >= (0, 7, 0);
                let prefix = schema_prefix(self.facts);
                let embedding = if unit { format!("{prefix}l2_normalize({embedding})") } else { embedding };
                format!(
                    "(SELECT {embedding} FROM {} AS o WHERE o.{} = {id} LIMIT 1)",
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

    /// The plain list: no threshold, no offset, no cursor, nothing to join back.
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
            fetched: "NULL",
        });
        let (table, id, rows) = (self.table(), self.id(), self.rows());
        if self.path == Path::Exact {
            return format!(
                "SELECT {columns} FROM {table} AS t WHERE {conditions} ORDER BY distance, {id} LIMIT {rows}"
            );
        }
        let names: Vec<&str> =
            COLUMNS.iter().map(|(name, _)| *name).filter(|name| *name != "fetched").collect();
        let inner = format!(
            "SELECT {columns}, {id} AS howdah_key FROM {table} AS t WHERE {conditions} ORDER BY distance {}",
            with_ties(rows)
        );
        format!(
            "SELECT q.{names}, count(*) OVER () AS fetched FROM (SELECT * FROM ({inner}) AS ties LIMIT {most}) AS q \
             ORDER BY q.distance + 0::float8, q.howdah_key LIMIT {rows}",
            names = names.join(", q."),
            most = rows.saturating_add(MOST_TIES),
        )
    }

    /// The leg of nearest vectors: `id`, `distance`.
    fn vector_leg(&mut self, rows: u32) -> String {
        let distance = self.distance(self.path);
        let own = self.embedded();
        let conditions = self.conditions(&own);
        let leg = format!(
            "SELECT {} AS id, {distance} AS distance FROM {} AS t WHERE {conditions}",
            self.id(),
            self.table(),
        );
        match self.path {
            Path::Index => format!(
                "SELECT id, distance FROM ({leg} ORDER BY distance {}) AS ties LIMIT {}",
                with_ties(rows),
                rows.saturating_add(MOST_TIES)
            ),
            Path::Exact if self.ask.mode == Mode::Vector && self.ask.after.is_some() => {
                let behind = self.behind("a.distance", ">", "a.id");
                // OFFSET keeps the distance from being computed once for each time it is named.
                format!(
                    "SELECT id, distance FROM ({leg} OFFSET 0) AS a WHERE {behind} \
                     ORDER BY distance, id LIMIT {}",
                    self.ask.limit
                )
            }
            Path::Exact => format!("{leg} ORDER BY distance, id LIMIT {rows}"),
        }
    }

    /// Rows of the vector leg that have a distance, within the threshold.
    fn within(&mut self) -> String {
        // NaN (a zero vector under cosine) counts as larger than infinity.
        let most = self.ask.max_distance.unwrap_or(f64::INFINITY);
        format!("distance <= {}", self.params.bind(Param::Float(most)))
    }

    fn nearest(&mut self) -> String {
        let leg = self.vector_leg(self.ask.vector_rows().unwrap_or_default());
        let within = self.within();
        let behind = self.behind("distance", ">", "id");
        let columns = self.columns(Score {
            score: "NULL",
            distance: "n.distance",
            ranks: ["NULL", "NULL"],
            text_score: "NULL",
            found: ["c.found", "NULL"],
            fetched: "c.fetched",
        });
        format!(
            "WITH nearest AS MATERIALIZED ({leg})\n\
             SELECT {columns}\n\
             FROM (SELECT count(*) FILTER (WHERE {behind}) AS found, count(*) AS fetched FROM nearest) AS c\n\
             LEFT JOIN (SELECT id, distance FROM nearest WHERE {within} AND {behind} \
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
                text::plain_document(&self.resolved.language, &format!("t.{}", quote_ident(content)))
            }
        }
    }

    fn language(&self) -> String {
        text::language(&self.resolved.language)
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
        if self.ask.words == Words::All {
            let every = self.params.bind(Param::Text(self.words.candidates.clone()));
            return format!("words AS MATERIALIZED (SELECT {every}::tsquery AS query)");
        }
        let question = Question::read(self.ask.text.as_deref().unwrap_or_default(), Words::Web);
        let text = self.params.bind(Param::Text(question.text));
        format!(
            "words AS MATERIALIZED (SELECT websearch_to_tsquery({}, {}) AS query \
             FROM (SELECT {text} AS asked OFFSET 0) AS q)",
            self.language(),
            prepared(self.resolved).asked("q.asked")
        )
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
        let leg = format!(
            "SELECT {id} AS id, {score} AS score FROM {table} AS t \
             CROSS JOIN LATERAL (SELECT {document} || ''::tsvector AS document OFFSET 0) AS d \
             WHERE {conditions}",
            id = self.id(),
            score = self.word_score(),
            table = self.table(),
        );
        if self.ask.mode == Mode::Text && self.ask.after.is_some() {
            let behind = self.behind("a.score", "<", "a.id");
            return format!(
                "SELECT id, score FROM ({leg} OFFSET 0) AS a WHERE {behind} ORDER BY score DESC, id LIMIT {rows}"
            );
        }
        format!("{leg} ORDER BY score DESC, id LIMIT {rows}")
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
            fetched: "NULL",
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
            fetched: "c.vector_found",
        });
        let behind = self.behind("score", "<", "id");
        format!(
            "WITH {words},\n\
             nearest AS MATERIALIZED ({vector_leg}),\n\
             matched AS MATERIALIZED ({text_leg}),\n\
             v AS (SELECT id, distance, row_number() OVER (ORDER BY distance + 0::float8, id) AS rank \
             FROM (SELECT id, distance FROM nearest ORDER BY distance + 0::float8, id LIMIT {depth}) AS first \
             WHERE {within}),\n\
             x AS (SELECT id, score, row_number() OVER (ORDER BY score DESC, id) AS rank FROM matched),\n\
             fused AS MATERIALIZED (SELECT * FROM (SELECT id, v.rank AS vector_rank, v.distance, x.rank AS text_rank, \
             x.score AS text_score, coalesce({vector_weight} / ({RRF_K} + v.rank), 0) \
             + coalesce({text_weight} / ({RRF_K} + x.rank), 0) AS score\n\
             FROM v FULL JOIN x USING (id)) AS f WHERE {behind} ORDER BY score DESC, id LIMIT {limit} OFFSET {offset})\n\
             SELECT {columns}\n\
             FROM (SELECT (SELECT count(*) FROM nearest) AS vector_found, \
             (SELECT count(*) FROM matched) AS text_found) AS c\n\
             LEFT JOIN fused AS n ON TRUE\n\
             LEFT JOIN {table} AS t ON {id} = n.id\n\
             ORDER BY n.score DESC, n.id",
            depth = self.ask.depth.vector,
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
            self.column(self.resolved.columns.content.as_deref(), "text", self.reads_content()),
            self.column(self.resolved.columns.metadata.as_deref(), "jsonb", self.wants(Part::Metadata)),
            self.fields(),
            cast(score.found[0], "bigint"),
            cast(score.found[1], "bigint"),
            cast(score.fetched, "bigint"),
        ];
        let named = values.iter().zip(COLUMNS).map(|(value, (name, _))| format!("{value} AS {name}"));
        named.collect::<Vec<_>>().join(", ")
    }

    fn wants(&self, part: Part) -> bool {
        self.ask.select.contains(&part)
    }

    /// A snippet is made of the content where the answer is read.
    fn reads_content(&self) -> bool {
        self.wants(Part::Content) || (self.wants(Part::Snippet) && self.ask.mode != Mode::Vector)
    }

    fn column(&self, name: Option<&str>, sql_type: &str, wanted: bool) -> String {
        match name {
            Some(name) if wanted => format!("t.{}::{sql_type}", quote_ident(name)),
            _ => format!("NULL::{sql_type}"),
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
    fetched: &'a str,
}

fn with_ties(rows: u32) -> String {
    format!("FETCH FIRST {rows} ROWS WITH TIES")
}

fn cast(value: &str, sql_type: &str) -> String {
    // A distance is a float8 already, and a cast would hide it from the index.
    if value == "NULL" { format!("NULL::{sql_type}") } else { value.to_owned() }
}
