//! What does the REST face stand on?
//!
//! It knows a table of skills and a [`Host`]: who checks keys and says how things are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use super::input::Properties;
use super::openapi;
use crate::runtime::host::Host;
use crate::skills::Skill;

/// The REST face: a table of skills, a host, limits.
pub struct Service<C: 'static> {
    /// The skills served.
    pub skills: &'static [Skill<C>],
    /// The fields of each skill's input, by the skill's name: too dear to be made for every request.
    fields: HashMap<&'static str, Properties>,
    context: RwLock<Arc<C>>,
    document: RwLock<Arc<str>>,
    ready: AtomicBool,
}

impl<C: Host> Service<C> {
    /// A face over `skills` that is not ready yet.
    pub fn new(skills: &'static [Skill<C>], context: Arc<C>) -> Self {
        let document = openapi::text(skills, &context.collections(), context.limits().require_key).into();
        Service {
            skills,
            fields: skills.iter().map(|skill| (skill.name, openapi::properties(skill))).collect(),
            context: RwLock::new(context),
            document: RwLock::new(document),
            ready: AtomicBool::new(false),
        }
    }

    /// What skills run on now.
    pub fn context(&self) -> Arc<C> {
        self.context.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces what skills run on: the declaration was read again. Requests under way keep what they have.
    pub fn replace(&self, context: Arc<C>) {
        let document: Arc<str> =
            openapi::text(self.skills, &context.collections(), context.limits().require_key).into();
        *self.document.write().unwrap_or_else(PoisonError::into_inner) = document;
        *self.context.write().unwrap_or_else(PoisonError::into_inner) = context;
    }

    /// The fields of a skill's input, as its schema has them.
    pub fn fields(&self, skill: &Skill<C>) -> &Properties {
        static NONE: LazyLock<Properties> = LazyLock::new(Properties::new);
        self.fields.get(skill.name).unwrap_or(LazyLock::force(&NONE))
    }

    /// The OpenAPI document.
    pub fn document(&self) -> Arc<str> {
        self.document.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `/readyz` says yes.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Says whether requests are welcome.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}
