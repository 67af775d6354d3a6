//! Which names does PostgreSQL, a path or a filter allow?

use super::mistakes::Mistakes;

/// Longest identifier, in bytes (NAMEDATALEN - 1); PostgreSQL cuts longer ones off without an error.
pub(super) const LONGEST: usize = 63;

/// An SQL identifier: 1 to 63 bytes, no control characters.
pub(super) fn identifier(key: &str, what: &str, name: &str, mistakes: &mut Mistakes) -> bool {
    if name.is_empty() {
        mistakes.say(key, format!("`{key}`: {what} has an empty name"), "Give it a name.");
    } else if name.len() > LONGEST {
        mistakes.say(
            key,
            format!("`{key}`: {what} has a name of {} bytes", name.len()),
            format!("PostgreSQL cuts names off after {LONGEST} bytes. Choose a shorter one."),
        );
    } else if name.chars().any(char::is_control) {
        mistakes.say(
            key,
            format!("`{key}`: {what} has a control character in its name"),
            "Choose a name that can be typed.",
        );
    } else {
        return true;
    }
    false
}

/// An identifier that does not begin with `pg_`, which PostgreSQL keeps for itself.
pub(super) fn own_identifier(key: &str, what: &str, name: &str, mistakes: &mut Mistakes) -> bool {
    if !identifier(key, what, name, mistakes) {
        return false;
    }
    if name.starts_with("pg_") {
        mistakes.say(
            key,
            format!("`{key}`: names that begin with `pg_` belong to PostgreSQL"),
            "Choose a name that begins otherwise.",
        );
        return false;
    }
    true
}

/// A name that also stands in paths and on the command line: letters, digits, `_` and `-`, not `-` first.
pub(super) fn plain(key: &str, what: &str, name: &str, mistakes: &mut Mistakes) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if !own_identifier(key, what, name, mistakes) {
        return false;
    }
    if name.starts_with('-') || !name.chars().all(fits) {
        mistakes.say(
            key,
            format!("`{key}`: the name of {what} also stands in paths and commands"),
            "Use letters, digits, `_` and `-` only, and no `-` in front.",
        );
        return false;
    }
    true
}

/// A UUID in small letters, as the first `howdah apply` writes one.
pub(super) fn identity(key: &str, id: Option<&str>, mistakes: &mut Mistakes) {
    let Some(id) = id else { return };
    let parts: Vec<usize> = id.split('-').map(str::len).collect();
    let digits = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    if parts != [8, 4, 4, 4, 12] || !digits {
        mistakes.say(
            key,
            format!("`{key}` is `{id}`, which is no UUID in small letters"),
            "Copy the id out of `.howdah/deployment.toml` of the checkout that was applied first.",
        );
    }
}

/// The name of an environment variable. What stands there may be the secret itself, so it is never repeated.
pub(super) fn variable(key: &str, name: Option<&str>, mistakes: &mut Mistakes) {
    let Some(name) = name else { return };
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        mistakes.say(
            key,
            format!("`{key}` is not the name of an environment variable"),
            "Put the secret into a variable and its name here, for example `APP_PASSWORD`.",
        );
    }
}

/// What PostgreSQL and Howdah keep for themselves among schemas.
pub(super) fn schema(key: &str, name: &str, mistakes: &mut Mistakes) -> bool {
    if !own_identifier(key, "a schema", name, mistakes) {
        return false;
    }
    if matches!(name, "howdah" | "information_schema") {
        mistakes.say(
            key,
            format!("`{key}`: the schema `{name}` is taken"),
            "`howdah` holds Howdah's own tables and `information_schema` PostgreSQL's. Choose another one.",
        );
        return false;
    }
    true
}
