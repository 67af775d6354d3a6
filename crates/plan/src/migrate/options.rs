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
    /// Settings that tuning asks for ([`crate::tune::for_spec`]); those of `[settings]` win.
    pub tuned: Vec<Tuned>,
}
