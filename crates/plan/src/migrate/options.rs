//! How a plan is made.

use crate::tune::Tuned;

/// How to plan.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether destructive steps are allowed.
    pub allow_destroy: bool,
    /// Whether passwords of roles that exist are set again.
    pub set_passwords: bool,
    /// Whether the passwords of the roles that the service works as are set again.
    pub set_service_passwords: bool,
    /// Which deployment the declaration is of. What others made is neither changed nor dropped. Empty, it is one without an
    /// identity, and owns what was made before there were any.
    pub deployment: String,
    /// Where its declaration stands, for people.
    pub place: String,
    /// Whether what is declared here and belongs to another deployment, or to none, becomes this one's.
    pub take_over: bool,
    /// Settings that tuning asks for ([`crate::tune::for_spec`]); those of `[settings]` win.
    pub tuned: Vec<Tuned>,
}
