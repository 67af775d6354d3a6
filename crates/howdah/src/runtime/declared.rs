//! What is declared, as skills and faces use it.
//!
//! Replaced whole when the declaration is read again: a call that is under way keeps what it began with. What needs a new
//! start instead is named by [`needs_restart`].

use std::sync::Arc;
use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;

use howdah_embed::Embedders;
use howdah_postgres::Home;

/// The declaration and what was made from it.
#[derive(Clone)]
pub struct Declared {
    /// What is declared.
    pub spec: Arc<Spec>,
    /// What turns text into vectors.
    pub embedders: Embedders,
    /// Limits of one request.
    pub limits: Limits,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body: u64,
    /// Longest time.
    pub timeout: Duration,
    /// Whether a key is needed.
    pub require_key: bool,
}

impl Limits {
    /// The limits that are declared.
    pub fn of(spec: &Spec) -> Self {
        let api = &spec.api;
        Limits {
            body: api.max_body_bytes,
            timeout: Duration::from_secs(api.timeout_seconds.max(1)),
            require_key: api.require_key,
        }
    }
}

impl Declared {
    /// What is made from a declaration.
    ///
    /// # Errors
    /// What the embedders say of their declarations.
    pub fn new(spec: Spec, home: &Home) -> Result<Self, Problem> {
        let embedders = Embedders::from_spec(&spec, home)?;
        Ok(Declared { limits: Limits::of(&spec), embedders, spec: Arc::new(spec) })
    }

    /// The database that keeps Howdah's own tables for the whole deployment.
    ///
    /// # Errors
    /// `usage` when none is declared.
    pub fn database(&self) -> Result<&str, Problem> {
        self.spec.home_database().ok_or_else(|| {
            Problem::new(Kind::Usage, "no database is declared")
                .hint("Declare one in howdah.toml: `[databases.app]`.")
        })
    }
}

/// Keys whose change takes effect with a new start only, of those that changed between two declarations.
pub fn needs_restart(before: &Spec, after: &Spec) -> Vec<&'static str> {
    let changed = [
        ("name", before.name != after.name),
        ("server", before.server != after.server),
        ("settings", before.settings != after.settings),
        ("api.listen", before.api.listen != after.api.listen),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}
