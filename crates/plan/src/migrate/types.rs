//! Are two types, or two expressions, the same?
//!
//! A declaration says `int` and `timestamptz`, the server says `integer` and `timestamp with time zone`. [`normal_type`]
//! brings both to the server's words. [`normal_expression`] does as much as is safe without understanding SQL: it drops
//! what the server adds (casts of literals, schema names, outer parentheses, white space, case outside quotes).

/// A type in the server's own words (`format_type`), without the schema that a type is found in anyway.
pub fn normal_type(declared: &str) -> String {
    let text = squeeze(declared);
    let (text, array) = strip_array(&text);
    let (base, arguments, rest) = split_arguments(text);
    let base = match base.split_once('.') {
        Some(("public" | "pg_catalog", name)) => name,
        Some((_, name @ ("vector" | "halfvec" | "sparsevec"))) => name,
        _ => base,
    };
    let name = named(base, arguments.as_deref(), rest);
    if array { format!("{name}[]") } else { name }
}

fn named(base: &str, arguments: Option<&str>, rest: &str) -> String {
    let with = |name: &str| match arguments {
        Some(arguments) => format!("{name}({arguments})"),
        None => name.to_owned(),
    };
    match (base, rest) {
        ("int" | "int4", "") => "integer".into(),
        ("int8", "") => "bigint".into(),
        ("int2", "") => "smallint".into(),
        ("float4", "") => "real".into(),
        ("float8", "") => "double precision".into(),
        ("float", "") => match arguments.and_then(|bits| bits.parse::<u32>().ok()) {
            Some(bits) if bits <= 24 => "real".into(),
            _ => "double precision".into(),
        },
        ("bool", "") => "boolean".into(),
        ("decimal" | "numeric" | "dec", "") => match arguments {
            Some(arguments) if !arguments.contains(',') => format!("numeric({arguments},0)"),
            _ => with("numeric"),
        },
        ("varchar" | "character varying" | "char varying", "") => with("character varying"),
        ("char" | "character", "") => format!("character({})", arguments.unwrap_or("1")),
        ("bpchar", "") => arguments.map_or("bpchar".into(), |length| format!("character({length})")),
        ("bit", "") => format!("bit({})", arguments.unwrap_or("1")),
        ("varbit" | "bit varying", "") => with("bit varying"),
        ("timestamptz", "") | ("timestamp", "with time zone") => {
            format!("{} with time zone", with("timestamp"))
        }
        ("timestamp", "" | "without time zone") => format!("{} without time zone", with("timestamp")),
        ("timetz", "") | ("time", "with time zone") => format!("{} with time zone", with("time")),
        ("time", "" | "without time zone") => format!("{} without time zone", with("time")),
        (_, "") => with(base),
        _ => format!("{} {rest}", with(base)),
    }
}

/// Lower case outside double quotes, one space at the most, none around brackets and commas.
fn squeeze(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in text.trim().chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if quoted {
            out.push(c);
        } else if c.is_whitespace() {
            if !out.ends_with([' ', '(', ',', '[']) {
                out.push(' ');
            }
        } else {
            if matches!(c, '(' | ')' | ',' | '[' | ']') && out.ends_with(' ') {
                out.pop();
            }
            out.extend(c.to_lowercase());
        }
    }
    out
}

fn strip_array(text: &str) -> (&str, bool) {
    if let Some(base) = text.strip_suffix(" array") {
        return (base, true);
    }
    let mut base = text;
    while let Some(open) = base.strip_suffix(']').and_then(|_| base.rfind('[')) {
        base = base[..open].trim_end();
    }
    (base, base.len() != text.len())
}

/// `timestamp(3) with time zone` is `timestamp`, `3`, `with time zone`.
fn split_arguments(text: &str) -> (&str, Option<String>, &str) {
    if let Some(open) = text.find('(')
        && let Some(length) = text[open..].find(')')
    {
        let close = open + length;
        return (&text[..open], Some(text[open + 1..close].to_owned()), text[close + 1..].trim());
    }
    for zone in [" with time zone", " without time zone"] {
        if let Some(base) = text.strip_suffix(zone) {
            return (base, None, zone.trim());
        }
    }
    (text, None, "")
}

/// What changing a column from one type to another does to its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Every value survives; the expression converts it.
    Lossless(String),
    /// Values may be lost or refused; the expression converts them.
    Lossy(String),
}

/// How to change the quoted `column` from one (normal) type to another.
pub(super) fn change(column: &str, from: &str, to: &str) -> Change {
    if let (Some((_, from_dims)), Some((to_name, to_dims))) = (vector(from), vector(to)) {
        return match (from_dims == to_dims, to_name) {
            (true, "vector") => Change::Lossless(format!("{column}::{to}")),
            (true, _) => Change::Lossy(format!("{column}::{to}")),
            (false, _) if to_dims.is_none() => Change::Lossless(format!("{column}::{to}")),
            (false, _) => Change::Lossy(format!("NULL::{to}")),
        };
    }
    let direct = format!("{column}::{to}");
    if widens(from, to) {
        Change::Lossless(direct)
    } else if family(from).is_some() && family(from) == family(to) {
        Change::Lossy(direct)
    } else {
        Change::Lossy(format!("{column}::text::{to}"))
    }
}

/// `vector(384)` is `vector` and 384.
pub(super) fn vector(sql_type: &str) -> Option<(&str, Option<u32>)> {
    let (name, arguments) = match sql_type.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')?.parse().ok()),
        None => (sql_type, None),
    };
    matches!(name, "vector" | "halfvec").then_some((name, arguments))
}

fn family(sql_type: &str) -> Option<u8> {
    let base = sql_type.split('(').next().unwrap_or(sql_type).trim();
    Some(match base {
        "smallint" | "integer" | "bigint" | "real" | "double precision" | "numeric" => 1,
        "date" | "timestamp" | "timestamp with time zone" | "timestamp without time zone" => 2,
        "text" | "character varying" | "character" | "bpchar" => 3,
        "json" | "jsonb" => 4,
        _ => return None,
    })
}

/// Whether a change of type writes every row anew: not where the values are stored alike and nothing has to be checked.
pub(super) fn rewrites(from: &str, to: &str) -> bool {
    let text = |name: &str| matches!(family(name), Some(3)) && !name.starts_with("character(");
    if let (Some((a, _)), Some((b, dimensions))) = (vector(from), vector(to)) {
        return a != b || dimensions.is_some();
    }
    !(text(from) && text(to) && widens(from, to))
}

fn widens(from: &str, to: &str) -> bool {
    let length = |name: &str| -> Option<u32> {
        name.strip_prefix("character varying(")?.strip_suffix(')')?.parse().ok()
    };
    match (from, to) {
        ("smallint", "integer" | "bigint" | "numeric")
        | ("integer", "bigint" | "numeric" | "double precision")
        | ("bigint", "numeric")
        | ("real", "double precision")
        | ("json", "jsonb")
        | ("uuid" | "date" | "boolean", "text")
        | ("character varying", "text")
        | ("text", "character varying") => true,
        (from, "text" | "character varying") => length(from).is_some(),
        (from, to) => matches!((length(from), length(to)), (Some(from), Some(to)) if from <= to),
    }
}

/// An expression without what the server adds to it when it renders one.
pub fn normal_expression(text: &str) -> String {
    let tokens = tokens(text);
    let mut out: Vec<String> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        match tokens[i].as_str() {
            "::" => i = skip_type(&tokens, i + 1),
            "pg_catalog" | "public" if tokens.get(i + 1).is_some_and(|next| next == ".") => i += 2,
            "current_timestamp" => {
                out.extend(["now", "(", ")"].map(str::to_owned));
                i += 1;
            }
            token => {
                out.push(token.to_owned());
                i += 1;
            }
        }
    }
    let mut text = strip_parentheses(out).join(" ");
    // A negative number is rendered as a cast literal: `'-1'::integer`.
    if let Some(number) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))
        && number.parse::<f64>().is_ok()
    {
        text = number.to_owned();
    }
    text.replace("- ", "-")
}

/// Whether a condition is what the server made of these words. The server adds casts, and brackets around each part.
pub fn same_condition(declared: &str, rendered: &str) -> bool {
    let bare = |text: &str| -> String {
        normal_expression(text).chars().filter(|c| !matches!(c, '(' | ')' | '\'' | '"' | ' ')).collect()
    };
    normal_expression(declared) == normal_expression(rendered) || bare(declared) == bare(rendered)
}

/// The column and the type of an index on a cast, `((embedding)::vector(3))`, as the server renders it.
pub fn cast_of(rendered: &str) -> Option<(String, String)> {
    let tokens = strip_parentheses(tokens(rendered));
    let at = tokens.iter().rposition(|token| token == "::")?;
    let [column] = strip_parentheses(tokens[..at].to_vec()).try_into().ok()?;
    let kind: String = tokens[at + 1..].concat();
    Some((unquote(&column), normal_type(&kind)))
}

/// A column as it is called, of its name as the server quotes it.
pub(super) fn unquote(column: &str) -> String {
    match column.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => column.to_owned(),
    }
}

/// Where a cast's type ends: a name of several words, its arguments, its brackets.
fn skip_type(tokens: &[String], mut i: usize) -> usize {
    let word = |i: usize| tokens.get(i).map(String::as_str);
    i += 1;
    while word(i) == Some(".") {
        i += 2;
    }
    while let Some("varying" | "precision" | "with" | "without" | "time" | "zone") = word(i) {
        i += 1;
    }
    if word(i) == Some("(") {
        while !matches!(word(i), None | Some(")")) {
            i += 1;
        }
        i += 1;
    }
    while let Some("varying" | "precision" | "with" | "without" | "time" | "zone") = word(i) {
        i += 1;
    }
    while word(i) == Some("[") {
        i += 2;
    }
    i
}

/// Drops parentheses that hold the whole expression.
fn strip_parentheses(mut tokens: Vec<String>) -> Vec<String> {
    loop {
        let whole = tokens.first().is_some_and(|first| first == "(") && closes_at_end(&tokens);
        if !whole {
            return tokens;
        }
        tokens.pop();
        tokens.remove(0);
    }
}

fn closes_at_end(tokens: &[String]) -> bool {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1 == tokens.len();
        }
    }
    false
}

/// Words, literals, quoted names, and every other character by itself (`::` together).
fn tokens(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut token = String::from(c);
        match c {
            c if c.is_whitespace() => continue,
            '\'' | '"' => {
                while let Some(next) = chars.next() {
                    token.push(next);
                    if next == c {
                        match chars.next_if_eq(&c) {
                            Some(double) => token.push(double),
                            None => break,
                        }
                    }
                }
                if c == '"' && plain(&token) {
                    token = token.trim_matches('"').to_owned();
                }
            }
            ':' if chars.next_if_eq(&':').is_some() => token.push(':'),
            c if c.is_alphanumeric() || c == '_' => {
                while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    token.push(next);
                }
                token = token.to_lowercase();
            }
            _ => {}
        }
        out.push(token);
    }
    out
}

/// Whether a quoted name needs no quotes. (`"char"` keeps them: without, it is another type; as a cast it goes anyway.)
fn plain(token: &str) -> bool {
    let inner = &token[1..token.len().max(2) - 1];
    !inner.is_empty()
        && inner.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && inner.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_becomes_the_servers_word() {
        for (declared, server) in [
            ("int", "integer"),
            ("INT8", "bigint"),
            ("varchar(50)", "character varying(50)"),
            ("VARCHAR ( 50 )", "character varying(50)"),
            ("char", "character(1)"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamptz(3)", "timestamp(3) with time zone"),
            ("timestamp(3) with time zone", "timestamp(3) with time zone"),
            ("timestamp with time zone", "timestamp with time zone"),
            ("timestamp", "timestamp without time zone"),
            ("float", "double precision"),
            ("float(10)", "real"),
            ("numeric(10, 2)", "numeric(10,2)"),
            ("decimal(8)", "numeric(8,0)"),
            ("text[]", "text[]"),
            ("int[3][3]", "integer[]"),
            ("int array", "integer[]"),
            ("varchar(20)[]", "character varying(20)[]"),
            ("public.vector(384)", "vector(384)"),
            ("extensions.halfvec(3)", "halfvec(3)"),
            ("jsonb", "jsonb"),
            ("double  precision", "double precision"),
        ] {
            assert_eq!(normal_type(declared), server, "{declared}");
            assert_eq!(normal_type(server), server, "a normal type stays");
        }
    }

    #[test]
    fn an_expression_is_the_same_as_the_server_renders_it() {
        for (declared, server) in [
            ("'{}'", "'{}'::jsonb"),
            ("now()", "now()"),
            ("CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP"),
            ("'new'", "'new'::character varying(20)"),
            ("-1", "'-1'::integer"),
            ("0", "0"),
            ("'Mixed Case'", "'Mixed Case'::text"),
            ("gen_random_uuid()", "pg_catalog.gen_random_uuid()"),
            ("'{}'", "'{}'::text[]"),
        ] {
            assert_eq!(normal_expression(declared), normal_expression(server), "{declared}");
        }
        assert_ne!(normal_expression("'a'"), normal_expression("'A'"));
        assert_ne!(normal_expression("(a) || (b)"), normal_expression("a) || (b"));
    }

    #[test]
    fn a_condition_and_a_cast_are_known_as_the_server_renders_them() {
        for (declared, server) in [
            ("\"tenant\" = '7'", "(tenant = 7)"),
            ("\"tenant\" = '7'", "(tenant = '7'::bigint)"),
            ("\"lang\" = 'en'", "((lang)::text = 'en'::text)"),
            ("(\"a\" = 'x y') AND (\"B c\" = 'true')", "((a = 'x y'::text) AND (\"B c\" = true))"),
            ("\"k\" = ANY ('{\"a\",\"b\"}')", "(k = ANY ('{a,b}'::text[]))"),
            ("\"m\"::jsonb @> '{\"lang\":\"en\"}'", "((m)::jsonb @> '{\"lang\": \"en\"}'::jsonb)"),
        ] {
            assert!(same_condition(declared, server), "{declared}");
        }
        assert!(!same_condition("\"tenant\" = '7'", "(tenant = 8)"));
        let cast = |column: &str, kind: &str| Some((column.to_owned(), kind.to_owned()));
        assert_eq!(cast_of("((embedding)::vector(3))"), cast("embedding", "vector(3)"));
        assert_eq!(cast_of("((\"My Vec\")::ext.halfvec(3072))"), cast("My Vec", "halfvec(3072)"));
        assert_eq!(cast_of("embedding"), None);
        assert_eq!(cast_of("binary_quantize(embedding)::bit(3)"), None);
    }

    #[test]
    fn a_change_of_type_knows_what_it_loses() {
        let lossless = |from, to| matches!(change("c", from, to), Change::Lossless(_));
        assert!(lossless("integer", "bigint"));
        assert!(lossless("character varying(10)", "character varying(20)"));
        assert!(lossless("halfvec(3)", "vector(3)"));
        assert!(!lossless("bigint", "integer"));
        assert!(!lossless("vector(3)", "halfvec(3)"));
        assert_eq!(change("c", "vector(3)", "vector(4)"), Change::Lossy("NULL::vector(4)".into()));
        assert_eq!(change("c", "text", "integer"), Change::Lossy("c::text::integer".into()));
    }
}
