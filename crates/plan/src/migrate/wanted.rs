//! Which tables and indexes does the declaration mean?
//!
//! A collection of our own becomes its fixed layout, a plain table what it says; both in the same shape, so that the
//! comparison knows only one kind of table. Adopted tables are not here: only their vector index is Howdah's.

use crate::problem::{Kind, Problem};
use crate::search::text;
use crate::spec::resolve::{Resolved, quote_ident, resolve, split_table};
use crate::spec::{IdType, Spec, Table};

/// A table as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WantedTable {
    /// Name of the section that declares it.
    pub(super) key: String,
    pub(super) database: String,
    pub(super) schema: String,
    pub(super) name: String,
    /// The collection it holds, if it does.
    pub(super) collection: Option<String>,
    pub(super) columns: Vec<WantedColumn>,
    pub(super) primary_key: Vec<String>,
    pub(super) uniques: Vec<Vec<String>>,
    pub(super) indexes: Vec<WantedIndex>,
}

impl WantedTable {
    /// `"schema"."table"`.
    pub(super) fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

/// `"schema"."name"`.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}

/// A column as it should be.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct WantedColumn {
    pub(super) name: String,
    pub(super) renamed_from: Option<String>,
    pub(super) sql_type: String,
    pub(super) not_null: bool,
    pub(super) default: Option<String>,
    pub(super) identity: bool,
    pub(super) generated: Option<String>,
}

impl WantedColumn {
    fn new(name: &str, sql_type: &str) -> Self {
        WantedColumn { name: name.into(), sql_type: sql_type.into(), ..WantedColumn::default() }
    }

    fn not_null(mut self) -> Self {
        self.not_null = true;
        self
    }

    fn with_default(mut self, expression: &str) -> Self {
        self.default = Some(expression.into());
        self
    }

    /// The column as `CREATE TABLE` and `ADD COLUMN` take it.
    pub(super) fn definition(&self) -> String {
        let mut sql = format!("{} {}", quote_ident(&self.name), self.sql_type);
        if let Some(expression) = &self.generated {
            sql += &format!(" GENERATED ALWAYS AS ({expression}) STORED");
        }
        if self.identity {
            sql += " GENERATED ALWAYS AS IDENTITY";
        }
        if let Some(expression) = &self.default {
            sql += &format!(" DEFAULT {expression}");
        }
        if self.not_null {
            sql += " NOT NULL";
        }
        sql
    }

    /// The expression that the server renders its own way.
    pub(super) fn expression(&self) -> Option<&str> {
        self.generated.as_deref().or(self.default.as_deref())
    }
}

/// An index as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WantedIndex {
    pub(super) name: String,
    pub(super) method: String,
    pub(super) unique: bool,
    pub(super) columns: Vec<String>,
    /// Type that the (only) column is cast to, where the index is on the cast.
    pub(super) cast: Option<String>,
    /// What it is on instead of columns.
    pub(super) expression: Option<String>,
    /// Operator class of the (only) column, where it is not the default one.
    pub(super) opclass: Option<String>,
    /// Options to build it with.
    pub(super) options: Vec<(&'static str, u32)>,
    pub(super) predicate: Option<String>,
    /// Bytes a row takes while an HNSW graph is built.
    pub(super) bytes_per_row: u64,
    /// Why there should be one.
    pub(super) reason: String,
}

impl WantedIndex {
    pub(super) fn new(name: String, method: &str, columns: &[&str], reason: &str) -> Self {
        WantedIndex {
            name: shorten(&name),
            method: method.into(),
            unique: false,
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            cast: None,
            expression: None,
            opclass: None,
            options: Vec::new(),
            predicate: None,
            bytes_per_row: 0,
            reason: reason.into(),
        }
    }

    /// The statement that builds it as `name` on the quoted `table`.
    pub(super) fn create(&self, name: &str, table: &str, concurrently: bool) -> String {
        let expression = self.expression.iter().map(|expression| format!("({expression})"));
        let columns = self
            .columns
            .iter()
            .map(|column| match &self.cast {
                Some(cast) => format!("({}::{cast})", quote_ident(column)),
                None => quote_ident(column),
            })
            .map(|column| match &self.opclass {
                Some(opclass) => format!("{column} {opclass}"),
                None => column,
            });
        let columns: Vec<String> = columns.chain(expression).collect();
        let options: Vec<String> =
            self.options.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let mut sql = format!(
            "CREATE {}INDEX {}{} ON {table} USING {} ({})",
            if self.unique { "UNIQUE " } else { "" },
            if concurrently { "CONCURRENTLY " } else { "" },
            quote_ident(name),
            self.method,
            columns.join(", ")
        );
        if !options.is_empty() {
            sql += &format!(" WITH ({})", options.join(", "));
        }
        if let Some(predicate) = &self.predicate {
            sql += &format!(" WHERE {predicate}");
        }
        sql
    }
}

/// What the declaration says of tables, with what is wrong or worth knowing.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) tables: Vec<WantedTable>,
    pub(super) adopted: Vec<Resolved>,
    pub(super) problems: Vec<Problem>,
    /// Declared tables that cannot be as declared on this server, each by one of the problems: nothing is planned for them.
    pub(super) impossible: Vec<Impossible>,
}

/// A declared table that nothing is planned for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Impossible {
    pub(super) database: String,
    pub(super) schema: String,
    pub(super) name: String,
    /// The collection it holds, if it does.
    pub(super) collection: Option<String>,
    /// Whether it is pgvector that is missing.
    pub(super) lacks_vector: bool,
}

impl Impossible {
    pub(super) fn table(table: &WantedTable) -> Self {
        Impossible {
            database: table.database.clone(),
            schema: table.schema.clone(),
            name: table.name.clone(),
            collection: table.collection.clone(),
            lacks_vector: false,
        }
    }

    /// A collection's table, as far as it is known without its columns.
    pub(super) fn adopted(adopted: &Resolved) -> Self {
        Impossible {
            database: adopted.database.clone(),
            schema: adopted.schema.clone(),
            name: adopted.table.clone(),
            collection: Some(adopted.name.clone()),
            lacks_vector: false,
        }
    }

    /// `"schema"."table"`.
    pub(super) fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

/// All tables of the declaration.
pub(super) fn wanted(spec: &Spec) -> Wanted {
    let mut all = Wanted::default();
    for (name, collection) in &spec.collections {
        match resolve(spec, name) {
            Ok(resolved) if resolved.adopted => all.adopted.push(resolved),
            Ok(resolved) => match own_table(&resolved, collection.id_type) {
                Ok(table) => all.tables.push(table),
                Err(problem) => {
                    all.impossible.push(Impossible::adopted(&resolved));
                    all.problems.push(problem);
                }
            },
            Err(problem) => all.problems.push(problem),
        }
    }
    for (name, table) in &spec.tables {
        let Some(database) = table.database.clone().or_else(|| spec.databases.keys().next().cloned()) else {
            all.problems.push(
                Problem::new(Kind::Usage, format!("table `{name}` has no database"))
                    .hint("Declare one: `[databases.app]`."),
            );
            continue;
        };
        all.tables.push(plain_table(name, database, table));
    }
    all
}

/// Quoted names of the tables that the declaration speaks of in one database, adopted ones included.
pub fn declared_tables(spec: &Spec, database: &str) -> Vec<String> {
    let wanted = wanted(spec);
    let own = wanted.tables.iter().filter(|table| table.database == database).map(|table| table.qualified());
    let adopted =
        wanted.adopted.iter().filter(|table| table.database == database).map(|table| table.qualified());
    own.chain(adopted).collect()
}

fn own_table(resolved: &Resolved, id_type: IdType) -> Result<WantedTable, Problem> {
    let dimensions = resolved.dimensions.ok_or_else(|| {
        Problem::new(Kind::Usage, format!("collection `{}` has no dimensions", resolved.name))
            .detail("neither the collection nor its embedder says how many the embedding has")
            .hint(format!("Set `dimensions` in `[collections.{}]`.", resolved.name))
    })?;
    let mut id = match id_type {
        IdType::Bigint => WantedColumn::new("id", "bigint").not_null(),
        IdType::Uuid => WantedColumn::new("id", "uuid").not_null().with_default("gen_random_uuid()"),
    };
    id.identity = id_type == IdType::Bigint;
    let mut tsv = WantedColumn::new("tsv", "tsvector");
    tsv.generated = Some(text::own_document(&resolved.language));
    let mut columns = vec![
        id,
        WantedColumn::new("source", "text").not_null(),
        WantedColumn::new("chunk", "integer").not_null(),
        WantedColumn::new("title", "text"),
        WantedColumn::new("content", "text").not_null(),
        WantedColumn::new("content_hash", "bytea").not_null(),
        WantedColumn::new("metadata", "jsonb").not_null().with_default("'{}'"),
    ];
    columns.extend(resolved.fields.iter().map(|(name, sql_type)| WantedColumn::new(name, sql_type)));
    columns.extend([
        WantedColumn::new("embedding", &format!("{}({dimensions})", resolved.storage.sql_name())),
        tsv,
        WantedColumn::new("created_at", "timestamptz").not_null().with_default("now()"),
        WantedColumn::new("updated_at", "timestamptz").not_null().with_default("now()"),
    ]);
    Ok(WantedTable {
        key: resolved.name.clone(),
        database: resolved.database.clone(),
        schema: resolved.schema.clone(),
        name: resolved.table.clone(),
        collection: Some(resolved.name.clone()),
        columns,
        primary_key: vec!["id".into()],
        uniques: vec![vec!["source".into(), "chunk".into()]],
        indexes: own_indexes(resolved),
    })
}

/// All but the vector index, which depends on the server as well (see [`super::vector`]).
fn own_indexes(resolved: &Resolved) -> Vec<WantedIndex> {
    let table = &resolved.table;
    let mut metadata = WantedIndex::new(
        format!("{table}_metadata_idx"),
        "gin",
        &["metadata"],
        "filters on metadata find their rows by it",
    );
    metadata.opclass = Some("jsonb_path_ops".into());
    let tsv = WantedIndex::new(format!("{table}_tsv_idx"), "gin", &["tsv"], "full-text search reads it");
    let fields = resolved.fields.iter().filter(|(_, sql_type)| sortable(sql_type)).map(|(name, _)| {
        WantedIndex::new(format!("{table}_{name}_idx"), "btree", &[name], "filters on the field read it")
    });
    [tsv, metadata].into_iter().chain(fields).collect()
}

/// The index on the words of an adopted table.
pub(super) fn adopted_text_index(resolved: &Resolved) -> Option<WantedIndex> {
    let content = resolved.columns.content.as_deref()?;
    let name = format!("{}_{content}_words_idx", resolved.table);
    let mut index = WantedIndex::new(name, "gin", &[], "a search by words reads it instead of every row");
    index.expression = Some(text::plain_document(&resolved.language, &quote_ident(content)));
    Some(index)
}

/// Whether B-tree can order the type.
fn sortable(sql_type: &str) -> bool {
    let normal = super::types::normal_type(sql_type);
    !matches!(
        normal.as_str(),
        "json" | "xml" | "point" | "box" | "circle" | "line" | "lseg" | "path" | "polygon"
    )
}

fn plain_table(key: &str, database: String, table: &Table) -> WantedTable {
    let (schema, name) = split_table(table.table.as_deref().unwrap_or(key));
    let columns = table
        .columns
        .iter()
        .map(|column| WantedColumn {
            name: column.name.clone(),
            renamed_from: column.renamed_from.clone(),
            sql_type: column.sql_type.clone(),
            not_null: !column.nullable || column.identity || table.primary_key.contains(&column.name),
            default: column.default.clone(),
            identity: column.identity,
            generated: None,
        })
        .collect();
    let mut indexes: Vec<WantedIndex> = Vec::new();
    for declared in &table.indexes {
        let columns: Vec<&str> = declared.columns.iter().map(String::as_str).collect();
        let base = format!("{name}_{}_idx", columns.join("_"));
        let taken = |name: &str| indexes.iter().any(|index| index.name == shorten(name));
        let mut free = base.clone();
        let mut n = 1;
        while taken(&free) {
            n += 1;
            free = format!("{base}{n}");
        }
        let mut index = WantedIndex::new(free, &declared.method.to_lowercase(), &columns, "declared");
        index.unique = declared.unique;
        index.predicate = declared.predicate.clone();
        indexes.push(index);
    }
    WantedTable {
        key: key.to_owned(),
        database,
        schema,
        name,
        collection: None,
        columns,
        primary_key: table.primary_key.clone(),
        uniques: Vec::new(),
        indexes,
    }
}

/// Longest name that PostgreSQL keeps, in bytes.
const MAX_NAME: usize = 63;

/// A name that PostgreSQL keeps whole: a long one ends in a hash of itself instead of being cut.
pub(super) fn shorten(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut end = MAX_NAME - 9;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{:08x}", &name[..end], hash as u32)
}
