//! The plan while it is made.

use std::collections::BTreeSet;

use super::live::{Inside, Live};
use super::options::Options;
use super::step::{Note, Plan, Step};
use super::wanted::Wanted;
use crate::problem::Problem;
use crate::service::Purpose;
use crate::spec::Spec;

/// The declaration, the facts, and the plan that grows out of them.
pub(super) struct Work<'a> {
    pub(super) spec: &'a Spec,
    pub(super) live: &'a Live,
    pub(super) options: &'a Options,
    pub(super) wanted: &'a Wanted,
    pub(super) plan: Plan,
    /// Roles that the service works as; none where it works as the declared connection.
    pub(super) service: Vec<(Purpose, String)>,
    /// Tables that the plan drops: database and quoted name.
    pub(super) dropped: BTreeSet<(String, String)>,
}

impl<'a> Work<'a> {
    /// Adds a step, or blocks it. Says whether it will be carried out.
    pub(super) fn step(&mut self, step: Step) -> bool {
        if step.destructive && !self.options.allow_destroy {
            self.plan.blocked.push(step);
            return false;
        }
        self.plan.steps.push(step);
        true
    }

    /// Adds a step that runs in a database.
    pub(super) fn in_database(&mut self, database: &str, mut step: Step) -> bool {
        step.database = Some(database.to_owned());
        self.step(step)
    }

    pub(super) fn note(&mut self, database: Option<&str>, text: impl Into<String>) {
        self.plan.notes.push(Note { database: database.map(str::to_owned), text: text.into() });
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        self.plan.problems.push(problem);
    }

    /// Whether Howdah made the role for this deployment.
    pub(super) fn made_role(&self, name: &str) -> bool {
        let comment = self.live.roles.get(name).and_then(|role| role.comment.as_deref());
        self.marked(comment)
    }

    /// Whether Howdah made the database for this deployment.
    pub(super) fn made_database(&self, name: &str) -> bool {
        let comment = self.live.databases.get(name).and_then(|database| database.comment.as_deref());
        self.marked(comment)
    }

    fn marked(&self, comment: Option<&str>) -> bool {
        let mark = mark(&self.spec.name);
        comment.is_some_and(|comment| {
            comment.strip_prefix(&mark).is_some_and(|rest| rest.is_empty() || rest.starts_with(", "))
        })
    }

    /// What is in a database; nothing, where it does not exist yet.
    pub(super) fn inside(&self, database: &str) -> Option<&'a Inside> {
        self.live.databases.get(database).map(|database| &database.inside)
    }

    /// Role that owns a database once the plan is carried out.
    pub(super) fn owner(&self, database: &str) -> String {
        let declared = self.spec.databases.get(database).and_then(|database| database.owner.clone());
        declared
            .or_else(|| self.live.databases.get(database).map(|live| live.owner.clone()))
            .unwrap_or_else(|| self.live.server.user.clone())
    }

    /// Database that keeps the memory of server settings.
    pub(super) fn home(&self) -> Option<String> {
        home(self.spec)
    }
}

/// Database that keeps Howdah's memory of what concerns the whole server.
pub fn home(spec: &Spec) -> Option<String> {
    spec.api.database.clone().or_else(|| spec.databases.keys().next().cloned())
}

/// Comment of a role or database that Howdah made for the deployment `name`.
pub fn mark(name: &str) -> String {
    format!("made by howdah for {name}")
}
