//! Which steps lead from the server as it is to the server as declared?
//!
//! [`diff`] compares the declaration with [`Live`] facts and returns a [`Plan`]. Three rules hold everywhere:
//!
//! - Only what is declared, or what Howdah made before, is touched. The rest is reported where it matters. Howdah knows
//!   what it made inside a database from `howdah.managed`, and a role or database of its making by its comment.
//! - What loses data, or what took long to build, is a destructive step: blocked unless allowed.
//! - Steps converge: carried out, or broken off anywhere and planned again, they end in an empty plan. An expression is
//!   compared with what the server made of the same words before (see [`live::Memory`]), not by understanding SQL.
//!
//! Passwords cannot be compared, for the server does not show them: one is set when its role is created, and again when
//! [`Options::set_passwords`] asks for it.

mod step;

pub mod live;

pub use live::Live;
pub use step::{IndexBuild, Note, PasswordFrom, Plan, Step, StepKind};

/// A setting that tuning asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSetting {
    /// Its name.
    pub name: String,
    /// Its value, as in `postgresql.conf`.
    pub value: String,
    /// Why, in words.
    pub reason: String,
}

/// How to plan.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether destructive steps are allowed.
    pub allow_destroy: bool,
    /// Whether passwords of roles that exist are set again.
    pub set_passwords: bool,
    /// Settings that tuning asks for; declared ones win.
    pub tuned: Vec<WantedSetting>,
}
