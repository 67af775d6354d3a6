//! Tables: where they lie, what their columns are, and that no two declarations mean the same one.

use super::mistakes::Mistakes;
use super::names;
use crate::spec::place::{item, join};
use crate::spec::resolve::{nearest, parse_table, split_table};
use crate::spec::{Column, Spec, Table, TableIndex};

/// Types that a declared field can have: those that a filter compares.
pub const FIELD_TYPES: [&str; 24] = [
    "smallint",
    "int2",
    "integer",
    "int",
    "int4",
    "bigint",
    "int8",
    "real",
    "float4",
    "double precision",
    "float8",
    "numeric",
    "decimal",
    "boolean",
    "bool",
    "text",
    "varchar",
    "character varying",
    "uuid",
    "date",
    "timestamp",
    "timestamptz",
    "timestamp with time zone",
    "timestamp without time zone",
];

/// Types that are not scalars, or that filters do not know.
const OTHERS: [&str; 27] = [
    "json",
    "jsonb",
    "bytea",
    "char",
    "character",
    "citext",
    "time",
    "timetz",
    "interval",
    "inet",
    "cidr",
    "macaddr",
    "tsvector",
    "tsquery",
    "vector",
    "halfvec",
    "sparsevec",
    "bit",
    "bit varying",
    "varbit",
    "xml",
    "money",
    "name",
    "point",
    "int4range",
    "tstzrange",
    "daterange",
];

const METHODS: [&str; 6] = ["btree", "gin", "gist", "hash", "brin", "spgist"];

/// Columns that every table has.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

pub(super) fn check(spec: &Spec, mistakes: &mut Mistakes) {
    for (name, table) in &spec.tables {
        let key = join("tables", name);
        let place = (table.database.as_ref(), table.table.as_deref(), name.as_str());
        place_of_table(spec, &key, place, false, mistakes);
        for (index, column) in table.columns.iter().enumerate() {
            check_column(&item(&join(&key, "columns"), index), column, &table.columns[..index], mistakes);
        }
        renamed(spec, &key, table, mistakes);
        columns_exist(&join(&key, "primary_key"), &table.primary_key, table, mistakes);
        for (index, one) in table.indexes.iter().enumerate() {
            check_index(&item(&join(&key, "indexes"), index), one, table, mistakes);
        }
    }
    same_table(spec, mistakes);
}

/// What something was called before is not declared any more.
fn renamed(spec: &Spec, key: &str, table: &Table, mistakes: &mut Mistakes) {
    let said_twice = |key: &str, was: &str, mistakes: &mut Mistakes| {
        let message = format!("`{key}`: `{was}` is declared too");
        mistakes.say(key, message, "Take out the old one, or `renamed_from`: it cannot be both.");
    };
    if let Some(was) = &table.renamed_from {
        let place = |(name, other): (&String, &Table)| split_table(other.table.as_deref().unwrap_or(name));
        if spec.tables.iter().map(place).any(|there| there == split_table(was)) {
            said_twice(&join(key, "renamed_from"), was, mistakes);
        }
    }
    for (index, column) in table.columns.iter().enumerate() {
        if let Some(was) = column.renamed_from.as_ref()
            && table.columns.iter().any(|other| other.name == *was)
        {
            said_twice(&join(&item(&join(key, "columns"), index), "renamed_from"), was, mistakes);
        }
    }
}

/// Database, schema and name of a table: declared, allowed, and of a length PostgreSQL keeps.
pub(super) fn place_of_table(
    spec: &Spec,
    key: &str,
    (database, table, name): (Option<&String>, Option<&str>, &str),
    adopted: bool,
    mistakes: &mut Mistakes,
) {
    let database_key = join(key, "database");
    match database {
        Some(database) if !spec.databases.contains_key(database) => {
            mistakes.undeclared(&database_key, "the database", "databases", database, spec.databases.keys());
        }
        None if spec.databases.is_empty() => mistakes.say(
            key,
            format!("`{key}` has no database to live in"),
            "Declare one: `[databases.app]` with `extensions = { vector = \"*\" }`.",
        ),
        _ => {}
    }
    let key = if table.is_some() { join(key, "table") } else { key.to_owned() };
    let declared = table.unwrap_or(name);
    let Some((schema, table)) = parse_table(declared) else {
        let message = format!("`{key}` is not `schema.table`: `{declared}`");
        let hint = "The database stands in a key of its own, `database`; a name that holds a dot is quoted: \
                    `table = '\"a.b\"'`.";
        return mistakes.say(&key, message, hint);
    };
    if !names::schema(&key, &schema, mistakes) | !names::identifier(&key, "a table", &table, mistakes) {
        return;
    }
    let home =
        database.or(spec.databases.keys().next()).and_then(|name| Some((name, spec.databases.get(name)?)));
    let Some((database, declared)) = home else { return };
    if schema != "public" && !adopted && !declared.schemas.contains(&schema) {
        let message = format!("`{key}` names the schema `{schema}`, which is not declared");
        let hint = match nearest(&schema, declared.schemas.iter().map(String::as_str)) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Add it to `{}`.", join(&join("databases", database), "schemas")),
        };
        mistakes.say(&key, message, hint);
    }
}

fn check_column(key: &str, column: &Column, before: &[Column], mistakes: &mut Mistakes) {
    let name_key = join(key, "name");
    names::identifier(&name_key, "a column", &column.name, mistakes);
    if SYSTEM_COLUMNS.contains(&column.name.as_str()) {
        let message = format!("`{name_key}`: every table has a system column `{}`", column.name);
        mistakes.say(&name_key, message, "Choose another name.");
    }
    if before.iter().any(|earlier| earlier.name == column.name) {
        mistakes.say(
            &name_key,
            format!("`{name_key}`: the column `{}` is there already", column.name),
            "Remove one.",
        );
    }
    let known: Vec<&str> = FIELD_TYPES.iter().chain(&OTHERS).copied().collect();
    type_known(&join(key, "type"), &column.sql_type, &known, false, mistakes);
    let integer =
        matches!(base_type(&column.sql_type).as_str(), "smallint" | "int2" | "integer" | "int" | "int4")
            || matches!(base_type(&column.sql_type).as_str(), "bigint" | "int8");
    if column.identity && !integer {
        let message =
            format!("`{}` needs a whole number type, not `{}`", join(key, "identity"), column.sql_type);
        mistakes.say(&join(key, "identity"), message, "Write `type = \"bigint\"`.");
    }
    if column.identity && column.default.is_some() {
        let message = format!("`{}`: an identity column makes its own values", join(key, "default"));
        mistakes.say(&join(key, "default"), message, "Remove `default` or `identity`.");
    }
    if column.default.as_ref().is_some_and(|default| default.trim().is_empty()) {
        let message = format!("`{}` is empty", join(key, "default"));
        mistakes.say(&join(key, "default"), message, "Write an SQL expression; the empty text is `\"''\"`.");
    }
}

/// A type without its length and its brackets, in lower case.
fn base_type(sql_type: &str) -> String {
    let base = sql_type.split(['(', '[']).next().unwrap_or_default();
    base.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Whether a type can be an SQL type. With `only`, it must be a known one; else types of the user's own pass, as long as
/// they are no near miss.
pub(super) fn type_known(key: &str, sql_type: &str, known: &[&str], only: bool, mistakes: &mut Mistakes) {
    let base = base_type(sql_type);
    let letters =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '(' | ')' | ',' | '[' | ']' | '.' | '"');
    if base.is_empty() || !sql_type.chars().all(letters) {
        return mistakes.say(
            key,
            format!("`{key}` is not an SQL type: `{sql_type}`"),
            "Write one, for example `text`, `bigint`, `timestamptz`.",
        );
    }
    if known.contains(&base.as_str()) && !(only && sql_type.contains('[')) {
        return;
    }
    if matches!(base.as_str(), "serial" | "bigserial" | "smallserial") {
        return mistakes.say(
            key,
            format!("`{key}`: `{base}` is not a type but an abbreviation"),
            "Write `type = \"bigint\"` and `identity = true`.",
        );
    }
    let near = nearest(&base, known.iter().copied());
    if only {
        let hint = match near {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Filters compare {}; the rest belongs into `metadata`.", known.join(", ")),
        };
        mistakes.say(key, format!("`{key}` is not a type that filters compare: `{sql_type}`"), hint);
    } else if let Some(near) =
        near.filter(|near| base.len() > 4 && strsim::damerau_levenshtein(&base, near) <= 2)
    {
        mistakes.say(
            key,
            format!("`{key}` is not a type of PostgreSQL: `{sql_type}`"),
            format!("Did you mean `{near}`?"),
        );
    }
}

fn columns_exist(key: &str, columns: &[String], table: &Table, mistakes: &mut Mistakes) {
    for (index, column) in columns.iter().enumerate() {
        let key = item(key, index);
        if !table.columns.iter().any(|declared| declared.name == *column) {
            let hint = match nearest(column, table.columns.iter().map(|declared| declared.name.as_str())) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => "Declare the column first.".to_owned(),
            };
            mistakes.say(
                &key,
                format!("`{key}` names the column `{column}`, which the table does not have"),
                hint,
            );
        } else if columns[..index].contains(column) {
            mistakes.say(&key, format!("`{key}`: the column `{column}` is listed twice"), "Remove one.");
        }
    }
}

fn check_index(key: &str, index: &TableIndex, table: &Table, mistakes: &mut Mistakes) {
    columns_exist(&join(key, "columns"), &index.columns, table, mistakes);
    let method_key = join(key, "method");
    if !METHODS.contains(&index.method.as_str()) {
        let hint = match nearest(&index.method.to_lowercase(), METHODS) {
            _ if matches!(index.method.as_str(), "hnsw" | "ivfflat") => {
                "Vector indexes belong to collections: `[collections.<name>.index]`.".to_owned()
            }
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Choose one of {}.", METHODS.join(", ")),
        };
        mistakes.say(
            &method_key,
            format!("`{method_key}` is not an access method: `{}`", index.method),
            hint,
        );
    }
    if index.unique && index.method != "btree" {
        let message = format!("`{}`: only btree indexes can be unique", join(key, "unique"));
        mistakes.say(&join(key, "unique"), message, "Write `method = \"btree\"` or leave `unique` out.");
    }
    if index.method == "hash" && index.columns.len() > 1 {
        let message = format!("`{}`: a hash index has one column", join(key, "columns"));
        mistakes.say(&join(key, "columns"), message, "Write `method = \"btree\"` for several columns.");
    }
    if index.predicate.as_ref().is_some_and(|condition| condition.trim().is_empty()) {
        let message = format!("`{}` is empty", join(key, "where"));
        mistakes.say(&join(key, "where"), message, "Write an SQL condition, or leave it out.");
    }
}

/// Two declarations that mean one table would undo each other's work.
fn same_table(spec: &Spec, mistakes: &mut Mistakes) {
    let first = spec.databases.keys().next();
    // Adopted tables belong to nobody here: several collections may share one, with other rows or another embedding.
    let collections = spec
        .collections
        .iter()
        .map(|(name, c)| (("collections", name, c.adopt.is_some()), (&c.database, &c.table)));
    let tables = spec.tables.iter().map(|(name, t)| (("tables", name, false), (&t.database, &t.table)));
    let mut seen: Vec<(Option<&String>, (String, String), String)> = Vec::new();
    let mut shared: Vec<(Option<&String>, (String, String), String)> = Vec::new();
    for ((section, name, adopted), (database, table)) in collections.chain(tables) {
        let key = join(section, name);
        let database = database.as_ref().or(first);
        let table = split_table(table.as_deref().unwrap_or(name));
        let others = if adopted { seen.iter().chain(&[]) } else { seen.iter().chain(&shared) };
        if let Some((.., other)) = others.clone().find(|(d, t, _)| *d == database && *t == table) {
            let message = format!("`{key}` and `{other}` are the same table `{}.{}`", table.0, table.1);
            mistakes.say(&key, message, "Give one of them another `table`.");
        }
        let list = if adopted { &mut shared } else { &mut seen };
        list.push((database, table, key));
    }
}
