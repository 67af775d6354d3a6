//! Who is asking?

use howdah_plan::problem::{Kind, Problem};
use uuid::Uuid;

use super::scope::Scope;

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's id; `None` for the person who owns the instance's files, and where no key is needed.
    pub key: Option<Uuid>,
    /// The key's name, for the log.
    pub name: String,
    /// The tenant whose rows the key may see; all when `None`.
    pub tenant: Option<String>,
    /// The widest thing the key allows.
    pub scope: Scope,
}

impl Caller {
    /// Whoever can read the instance's own token.
    pub fn owner() -> Self {
        Caller { key: None, name: "owner".into(), tenant: None, scope: Scope::Admin }
    }

    /// Anybody, where the declaration asks for no key.
    pub fn anybody() -> Self {
        Caller { key: None, name: "anybody".into(), tenant: None, scope: Scope::Admin }
    }

    /// The same for every call of the caller and for nobody else's: the key's id, or the name where there is no key.
    pub fn identity(&self) -> String {
        self.key.map_or_else(|| self.name.clone(), |key| key.to_string())
    }

    /// # Errors
    /// `forbidden` when the key does not allow `needed`.
    pub fn may(&self, needed: Scope) -> Result<(), Problem> {
        if self.scope >= needed {
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, format!("this key lacks the scope `{}`", needed.name()))
            .detail(format!("key `{}` has the scope `{}`", self.name, self.scope.name()))
            .hint(format!("Make a key that has it: `howdah keys create NAME --scope {}`.", needed.name())))
    }
}
