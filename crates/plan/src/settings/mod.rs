//! Which PostgreSQL settings does Howdah know, and when are two values the same?
//!
//! One table, [`SETTINGS`]: name, the majors that have it, kind and unit, default, what a change costs (restart, reload,
//! nothing), what it means and why Howdah sets or reads it. Tuning, the doctor, the plan of a migration and the rendered
//! files read this table; none of them knows a setting by itself. How a value is written, parsed and compared is in
//! [`value`]: `512MB` in the declaration and `65536` in `pg_settings` are one value.

pub mod manual;
pub mod table;
pub mod value;

pub use table::SETTINGS;
pub use value::{check, conf_line, literal, normalise, same, text};

/// Oldest PostgreSQL major the table speaks of.
pub const OLDEST: u32 = 14;
/// Newest PostgreSQL major the table speaks of.
pub const NEWEST: u32 = 18;

/// What it takes for a new value to count.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    schemars::JsonSchema,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// Any session may set it; a new value in the configuration counts after a reload, for sessions that did not set it.
    Session,
    /// The configuration is read again (`SELECT pg_reload_conf()`).
    Reload,
    /// The server is started again.
    Restart,
    /// Chosen when the cluster was made or the server compiled; only read here.
    Fixed,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    None,
    /// Bytes.
    Bytes,
    /// Kilobytes (1024 bytes).
    Kilobytes,
    /// Blocks of 8 kB.
    Blocks,
    /// Megabytes (1024 kB).
    Megabytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
}

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `on` or `off`.
    Bool,
    /// A whole number; without a unit in the text it counts in this unit.
    Integer(Unit),
    /// A number.
    Real,
    /// One of these words.
    Enum(&'static [&'static str]),
    /// Any text.
    Text,
    /// Names separated by commas, where spaces do not count.
    List,
}

/// One PostgreSQL setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Name.
    pub name: &'static str,
    /// First and last major that has it.
    pub majors: (u32, u32),
    /// What values it takes.
    pub kind: Kind,
    /// Least and greatest value in its own unit, where it is a number.
    pub range: Option<(f64, f64)>,
    /// Built-in default, as a person writes it.
    pub default: &'static str,
    /// A later major with another default.
    pub default_from: Option<(u32, &'static str)>,
    /// What a change costs.
    pub context: Context,
    /// A later major where a change costs something else.
    pub context_from: Option<(u32, Context)>,
    /// Library that has to be loaded before it exists.
    pub library: Option<&'static str>,
    /// What it means.
    pub meaning: &'static str,
    /// Why Howdah sets it or looks at it.
    pub why: &'static str,
}

/// What is selected so that a session loads the extension's library and knows its settings: a property of its access method,
/// which everybody may ask for. It selects nothing where the extension is not installed.
pub const LOAD_HOWDAH: &str = "pg_indexam_has_property(oid, 'can_order') FROM pg_am WHERE amname = 'howdah'";

impl Setting {
    /// A row, with everything but its words.
    const fn new(name: &'static str, kind: Kind, default: &'static str, context: Context) -> Self {
        Setting {
            name,
            majors: (OLDEST, NEWEST),
            kind,
            range: None,
            default,
            default_from: None,
            context,
            context_from: None,
            library: None,
            meaning: "",
            why: "",
        }
    }

    const fn range(mut self, least: f64, greatest: f64) -> Self {
        self.range = Some((least, greatest));
        self
    }

    const fn since(mut self, major: u32) -> Self {
        self.majors.0 = major;
        self
    }

    const fn default_from(mut self, major: u32, default: &'static str) -> Self {
        self.default_from = Some((major, default));
        self
    }

    const fn context_from(mut self, major: u32, context: Context) -> Self {
        self.context_from = Some((major, context));
        self
    }

    const fn library(mut self, library: &'static str) -> Self {
        self.library = Some(library);
        self
    }

    const fn says(mut self, meaning: &'static str, why: &'static str) -> Self {
        self.meaning = meaning;
        self.why = why;
        self
    }

    /// Whether `major` has it. Majors beyond the table are taken for the newest one.
    pub fn exists_in(&self, major: u32) -> bool {
        major >= self.majors.0 && (major <= self.majors.1 || self.majors.1 == NEWEST)
    }

    /// The built-in default of `major`.
    pub fn default_in(&self, major: u32) -> &'static str {
        match self.default_from {
            Some((from, default)) if major >= from => default,
            _ => self.default,
        }
    }

    /// What a change costs in `major`.
    pub fn context_in(&self, major: u32) -> Context {
        match self.context_from {
            Some((from, context)) if major >= from => context,
            _ => self.context,
        }
    }
}

/// The row of a setting. Names are compared without regard to case, as PostgreSQL does.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
