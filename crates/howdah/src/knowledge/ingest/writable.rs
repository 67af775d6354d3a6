//! Which columns are written, and may they be?
//!
//! Everything that would make an ingest fail halfway is found out here, before anything is written: the table, the types
//! of its columns, its dimensions, the model that filled it before.

use howdah_plan::problem::{DoNow, Kind, Problem};
use howdah_plan::spec::Chunking;
use howdah_plan::spec::check::FIELD_TYPES;
use howdah_plan::spec::resolve::{Resolved, quote_ident};
use sha2::{Digest, Sha256};

use super::connection::Connection;
use crate::knowledge::read::Shape;
use crate::knowledge::read::field::FieldType;
use crate::knowledge::remembered;
use howdah_embed::ModelFacts;
use howdah_postgres::problem::from_pg;

/// Largest number that halfvec stores.
const LARGEST_HALF: f32 = 65_504.0;

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Chunk,
    Title,
    Content,
    Hash,
    Metadata,
    /// The declared field of this number.
    Field(usize),
    Embedding,
}

/// A column that is written.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    pub role: Role,
    /// Type name, as `pg_type` has it.
    pub kind: String,
}

/// The table that is written.
#[derive(Debug, Clone)]
pub(super) struct WritableTable {
    pub collection: String,
    /// `"schema"."table"`.
    pub table: String,
    /// In the order of COPY.
    pub columns: Vec<Column>,
    pub fields: Vec<(String, FieldType)>,
    pub dimensions: usize,
    pub half: bool,
    /// Whether the table notes when a row changed.
    pub updated_at: bool,
    /// The embedder that fills it; none when callers bring the vectors.
    pub facts: Option<ModelFacts>,
    /// Whether `howdah.collections` has its row.
    pub remembered: bool,
}

struct Live {
    name: String,
    /// As people write it.
    sql: String,
    /// As `pg_type` has it.
    kind: String,
    modifier: i32,
    needs_value: bool,
    /// Whether its values are computed and it takes none.
    computed: bool,
}

impl WritableTable {
    /// Reads the live table and refuses what cannot work.
    ///
    /// # Errors
    /// `not_found` without the table, `usage` when it lacks what ingest needs, `conflict` when dimensions, model or
    /// normalisation are not those the collection was filled with.
    pub async fn read(
        client: &Connection,
        resolved: &Resolved,
        facts: Option<&ModelFacts>,
    ) -> Result<Self, Problem> {
        read_only(client, resolved).await?;
        adoptable(resolved)?;
        let live = live(client, resolved).await?;
        computed(resolved, &live)?;
        let (columns, fields) = columns(resolved, &live)?;
        unfilled(resolved, &live, &columns)?;
        let embedding = find(&live, &resolved.columns.embedding, resolved)?;
        let half = match embedding.kind.as_str() {
            "vector" => false,
            "halfvec" => true,
            _ => return Err(no_vector(resolved, embedding)),
        };
        let dimensions = dimensions(resolved, embedding, facts)?;
        up_to_date(client).await?;
        let remembered = is_remembered(client, resolved, dimensions, facts).await?;
        Ok(WritableTable {
            collection: resolved.name.clone(),
            table: resolved.qualified(),
            columns,
            fields,
            dimensions: dimensions as usize,
            half,
            updated_at: !resolved.adopted && live.iter().any(|column| column.name == "updated_at"),
            facts: facts.cloned(),
            remembered,
        })
    }

    /// The column of a role, quoted.
    pub fn column(&self, role: Role) -> String {
        self.columns
            .iter()
            .find(|column| column.role == role)
            .map_or_else(String::new, |c| quote_ident(&c.name))
    }

    /// Whether there is a column of this role.
    pub fn has(&self, role: Role) -> bool {
        self.columns.iter().any(|column| column.role == role)
    }

    /// All columns written, quoted, with commas.
    pub fn column_list(&self) -> String {
        self.columns.iter().map(|column| quote_ident(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// What the collection wants of a record.
    pub fn shape(&self, resolved: &Resolved, chunking: &Chunking) -> Shape {
        let cutting = format!("{} {}", chunking.max_tokens, chunking.overlap);
        Shape {
            fields: self.fields.clone(),
            dimensions: self.dimensions,
            metric: resolved.metric,
            embeds: self.facts.is_some(),
            largest: if self.half { LARGEST_HALF } else { f32::MAX },
            context: self.context(&["document", &cutting]),
        }
    }

    /// What besides its text decides what is written for a chunk.
    pub fn row_context(&self) -> [u8; 32] {
        self.context(&["row"])
    }

    fn context(&self, parts: &[&str]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        // To be counted up when the same input is to be written in another way.
        hasher.update("howdah ingest 1");
        let model = self.facts.as_ref().map_or("", |facts| facts.model.as_str());
        let columns = self.columns.iter().flat_map(|column| [column.name.as_str(), column.kind.as_str()]);
        for part in parts.iter().copied().chain([model]).chain(columns) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

fn adoptable(resolved: &Resolved) -> Result<(), Problem> {
    let wanted = [
        ("source", "text", &resolved.columns.source),
        ("chunk", "integer", &resolved.columns.chunk),
        ("content_hash", "bytea", &resolved.columns.content_hash),
    ];
    let missing: Vec<_> = wanted.iter().filter(|(.., column)| column.is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|(name, ..)| format!("`{name}`")).collect();
    let adds: Vec<String> =
        missing.iter().map(|(name, kind, _)| format!("ADD COLUMN {name} {kind}")).collect();
    let keys: Vec<String> = missing.iter().map(|(name, ..)| format!("{name} = \"{name}\"")).collect();
    Err(Problem::new(
        Kind::Usage,
        format!("collection `{}` does not say where ingest keeps its place", resolved.name),
    )
    .detail(format!(
        "the adopted table {} has no column named for {}",
        resolved.qualified(),
        names.join(", ")
    ))
    .hint(format!(
        "Run `ALTER TABLE {} {};` and add {} below `[collections.{}.adopt]` in howdah.toml.",
        resolved.qualified(),
        adds.join(", "),
        keys.join(", "),
        resolved.name
    )))
}

/// Refuses what takes no rows: views and foreign tables, and a collection that has only a part of its table's rows.
async fn read_only(client: &Connection, resolved: &Resolved) -> Result<(), Problem> {
    if !resolved.adopted {
        return Ok(());
    }
    let refused = |why: String| {
        Err(Problem::new(Kind::Usage, format!("collection `{}` is only read: {why}", resolved.name))
            .detail(format!("the adopted table is {}", resolved.qualified()))
            .hint("Write the rows with the program that they belong to; Howdah finds them at once."))
    };
    if resolved.columns.fixed.is_some() {
        return refused("it has a fixed filter, and new rows would not meet it".into());
    }
    let sql = "SELECT CASE relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialised view' \
               WHEN 'f' THEN 'a foreign table' END FROM pg_class WHERE oid = to_regclass($1)";
    let row = client
        .query_opt(sql, &[&resolved.qualified()])
        .await
        .map_err(|e| from_pg(&e, &format!("look at the table of collection `{}`", resolved.name)))?;
    match row.and_then(|row| row.get::<_, Option<String>>(0)) {
        Some(relation) => refused(format!("it is {relation}")),
        None => Ok(()),
    }
}

/// Refuses columns that are written and take no values.
fn computed(resolved: &Resolved, live: &[Live]) -> Result<(), Problem> {
    let columns = &resolved.columns;
    let named = [&columns.source, &columns.chunk, &columns.content, &columns.content_hash, &columns.metadata];
    let written = named.into_iter().flatten().chain([&columns.embedding]);
    let mut written =
        written.chain(resolved.fields.iter().map(|(name, _)| name)).filter(|_| resolved.adopted);
    let Some(column) =
        written.find_map(|name| live.iter().find(|column| column.name == *name && column.computed))
    else {
        return Ok(());
    };
    let message = format!("column `{}` of {} is computed by PostgreSQL", column.name, resolved.qualified());
    Err(Problem::new(Kind::Usage, message)
        .detail("a generated column, or an identity column that is generated always, takes no values")
        .hint("Write the rows with the program that they belong to, or name another column in howdah.toml."))
}

async fn live(client: &Connection, resolved: &Resolved) -> Result<Vec<Live>, Problem> {
    let rows = client
        .query(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), t.typname::text, a.atttypmod,
                    a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = '',
                    a.attgenerated <> '' OR a.attidentity = 'a'
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&resolved.qualified()],
        )
        .await
        .map_err(|e| from_pg(&e, &format!("look at the table of collection `{}`", resolved.name)))?;
    if rows.is_empty() {
        return Err(Problem::new(
            Kind::NotFound,
            format!("the table of collection `{}` does not exist", resolved.name),
        )
        .detail(format!("{} in database {}", resolved.qualified(), resolved.database))
        .hint("Create it: `howdah apply`."));
    }
    let live = rows.iter().map(|row| Live {
        name: row.get(0),
        sql: row.get(1),
        kind: row.get(2),
        modifier: row.get(3),
        needs_value: row.get(4),
        computed: row.get(5),
    });
    Ok(live.collect())
}

fn find<'a>(live: &'a [Live], name: &str, resolved: &Resolved) -> Result<&'a Live, Problem> {
    live.iter().find(|column| column.name == name).ok_or_else(|| {
        Problem::new(
            Kind::Conflict,
            format!("the table of collection `{}` has no column `{name}`", resolved.name),
        )
        .detail(format!("in {}", resolved.qualified()))
        .hint("Bring the table up to the declaration: `howdah plan`, then `howdah apply`.")
        .do_now(DoNow::FixInput)
    })
}

type Columns = (Vec<Column>, Vec<(String, FieldType)>);

fn columns(resolved: &Resolved, live: &[Live]) -> Result<Columns, Problem> {
    let names = &resolved.columns;
    let named = [
        (Role::Source, names.source.as_ref()),
        (Role::Chunk, names.chunk.as_ref()),
        (Role::Title, names.title.as_ref()),
        (Role::Content, names.content.as_ref()),
        (Role::Hash, names.content_hash.as_ref()),
        (Role::Metadata, names.metadata.as_ref()),
    ];
    let mut columns = Vec::new();
    for (role, name) in named {
        let Some(name) = name else { continue };
        let column = find(live, name, resolved)?;
        expect_kind(resolved, role, column)?;
        columns.push(Column { name: name.clone(), role, kind: column.kind.clone() });
    }
    let mut fields = Vec::new();
    for (name, _) in &resolved.fields {
        let column = find(live, name, resolved)?;
        let kind = FieldType::of(&column.sql).ok_or_else(|| {
            Problem::new(
                Kind::Usage,
                format!("field `{name}` has type `{}`, which ingest cannot fill", column.sql),
            )
            .hint(format!("Declare it as one of: {}.", FIELD_TYPES.join(", ")))
        })?;
        columns.push(Column {
            name: name.clone(),
            role: Role::Field(fields.len()),
            kind: column.kind.clone(),
        });
        fields.push((name.clone(), kind));
    }
    let embedding = find(live, &names.embedding, resolved)?;
    columns.push(Column {
        name: names.embedding.clone(),
        role: Role::Embedding,
        kind: embedding.kind.clone(),
    });
    Ok((columns, fields))
}

fn expect_kind(resolved: &Resolved, role: Role, column: &Live) -> Result<(), Problem> {
    let allowed: &[&str] = match role {
        Role::Source | Role::Title | Role::Content => &["text", "varchar"],
        Role::Chunk => &["int2", "int4", "int8"],
        Role::Hash => &["bytea"],
        Role::Metadata => &["jsonb", "json"],
        Role::Field(_) | Role::Embedding => return Ok(()),
    };
    if allowed.contains(&column.kind.as_str()) {
        return Ok(());
    }
    let message = format!("column `{}` of {} has type `{}`", column.name, resolved.qualified(), column.sql);
    Err(Problem::new(Kind::Usage, message)
        .detail(format!("ingest writes {} there", allowed.join(" or ")))
        .hint(format!("Name another column below `[collections.{}.adopt]` in howdah.toml.", resolved.name)))
}

fn unfilled(resolved: &Resolved, live: &[Live], columns: &[Column]) -> Result<(), Problem> {
    let written = |name: &str| columns.iter().any(|column| column.name == name);
    let Some(column) = live.iter().find(|column| column.needs_value && !written(&column.name)) else {
        return Ok(());
    };
    let table = resolved.qualified();
    Err(Problem::new(
        Kind::Usage,
        format!("column `{}` of {table} needs a value that ingest does not have", column.name),
    )
    .detail("it is NOT NULL and has no default")
    .hint(format!(
        "Give it one (`ALTER TABLE {table} ALTER COLUMN {} SET DEFAULT …`), or declare it below \
             `[collections.{}.fields]` and bring it with every record.",
        quote_ident(&column.name),
        resolved.name
    )))
}

fn no_vector(resolved: &Resolved, column: &Live) -> Problem {
    Problem::new(Kind::Usage, format!("column `{}` of {} is no vector", column.name, resolved.qualified()))
        .detail(format!("its type is {}", column.sql))
        .hint("Name a column of type vector or halfvec as `embedding`.")
}

fn dimensions(resolved: &Resolved, embedding: &Live, facts: Option<&ModelFacts>) -> Result<u32, Problem> {
    let table = u32::try_from(embedding.modifier).ok().filter(|dimensions| *dimensions > 0);
    let conflict = |what: &str, theirs: u32, ours: u32| {
        Problem::new(
            Kind::Conflict,
            format!("{what} has `{theirs}` dimensions, collection `{}` `{ours}`", resolved.name),
        )
        .detail(format!("column {} of {} is {}", embedding.name, resolved.qualified(), embedding.sql))
        .do_now(DoNow::FixInput)
    };
    if let (Some(table), Some(declared)) = (table, resolved.dimensions)
        && table != declared
    {
        return Err(conflict("the table", table, declared).hint(
            "Correct `dimensions` in howdah.toml, or change the table: `howdah plan` shows the steps.",
        ));
    }
    let Some(ours) = table.or(resolved.dimensions).or(facts.map(|facts| facts.dimensions)) else {
        return Err(Problem::new(Kind::Usage, format!("collection `{}` has no dimensions", resolved.name))
            .hint(format!("Add `dimensions = …` below `[collections.{}]` in howdah.toml.", resolved.name)));
    };
    match facts {
        Some(facts) if facts.dimensions != ours => {
            Err(conflict(&format!("model `{}`", facts.model), facts.dimensions, ours).hint(
                "Use the model that the collection was made for, or declare a new collection for this one.",
            ))
        }
        _ => Ok(ours),
    }
}

/// Refuses Howdah's own tables of before origins were noted, with the command that brings them up to date.
async fn up_to_date(client: &Connection) -> Result<(), Problem> {
    let sql = "SELECT origin FROM howdah.sources LIMIT 0";
    client.query(sql, &[]).await.map(|_| ()).map_err(|e| {
        from_pg(&e, "read which documents are there")
            .hint("Create Howdah's own tables, or bring them up to this version: `howdah apply`.")
    })
}

async fn is_remembered(
    client: &Connection,
    resolved: &Resolved,
    dimensions: u32,
    facts: Option<&ModelFacts>,
) -> Result<bool, Problem> {
    let row = client
        .query_opt(
            "SELECT model, dimensions, normalised FROM howdah.collections WHERE name = $1",
            &[&resolved.name],
        )
        .await
        .map_err(|e| {
            from_pg(&e, &format!("read what collection `{}` remembers", resolved.name))
                .hint("Create Howdah's own tables: `howdah apply`.")
        })?;
    let Some(row) = row else { return Ok(false) };
    let (model, size, unit): (Option<String>, i32, bool) = (row.get(0), row.get(1), row.get(2));
    let differs = |what: &str, was: String, is: String| {
        remembered::differs(resolved, what, &was, &is)
            .detail("vectors of different models cannot be compared; nothing was written")
    };
    if i64::from(size) != i64::from(dimensions) {
        return Err(differs("dimensions", size.to_string(), dimensions.to_string()));
    }
    let Some(facts) = facts else { return Ok(true) };
    match model {
        Some(model) if model != facts.model => Err(differs("model", model, facts.model.clone())),
        Some(_) if unit != facts.normalised => {
            Err(differs("normalised vectors:", unit.to_string(), facts.normalised.to_string()))
        }
        // Filled with vectors of unknown origin so far: from now on the model is known.
        None => Ok(false),
        _ => Ok(true),
    }
}
