//! The plan while it is made.

use std::collections::BTreeSet;

use super::claims::{Ownership, Renames};
use super::live::{Inside, Live, Memory};
use super::mark::Mark;
use super::options::Options;
use super::step::{Note, Plan, Step};
use super::wanted::Wanted;
use crate::problem::{Kind, Problem};
use crate::service::{self, Purpose};
use crate::spec::Spec;

/// The declaration, the facts, and the plan that grows out of them.
pub(super) struct Work<'a> {
    pub(super) spec: &'a Spec,
    pub(super) live: &'a Live,
    pub(super) options: &'a Options,
    pub(super) wanted: &'a Wanted,
    pub(super) ownership: &'a Ownership,
    pub(super) renames: &'a Renames,
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
        let serves = || service::role_names(self.spec).iter().any(|(_, role)| role == name);
        let declared = self.spec.roles.contains_key(name) || serves();
        Mark::read(comment).is_some_and(|mark| self.own_mark(&mark, declared))
    }

    /// Whether Howdah made the database for this deployment.
    pub(super) fn made_database(&self, name: &str) -> bool {
        let comment = self.live.databases.get(name).and_then(|database| database.comment.as_deref());
        let declared = self.spec.databases.contains_key(name);
        Mark::read(comment).is_some_and(|mark| self.own_mark(&mark, declared))
    }

    /// Whether a mark is this deployment's. One without an identity is, where it has the name and what it is on is declared.
    fn own_mark(&self, mark: &Mark, declared: bool) -> bool {
        let id = self.who();
        if mark.deployment != id {
            return !id.is_empty() && declared && (self.options.take_over || self.inherits(mark));
        }
        !id.is_empty() || mark.name == self.spec.name
    }

    /// Whether a mark is of this name, and older than identities.
    fn inherits(&self, mark: &Mark) -> bool {
        mark.deployment.is_empty() && mark.name == self.spec.name
    }

    /// The other deployment that a role belongs to, for people.
    pub(super) fn owner_of_role(&self, name: &str) -> Option<String> {
        let mark = Mark::read(self.live.roles.get(name)?.comment.as_deref())?;
        (!self.made_role(name)).then(|| mark.whose())
    }

    /// The other deployment that a database belongs to, for people.
    pub(super) fn owner_of_database(&self, name: &str) -> Option<String> {
        let mark = Mark::read(self.live.databases.get(name)?.comment.as_deref())?;
        (!self.made_database(name)).then(|| mark.whose())
    }

    /// The comment on what this deployment makes.
    pub(super) fn mark(&self, pending: bool) -> String {
        Mark { name: self.spec.name.clone(), deployment: self.who().to_owned(), pending }.text()
    }

    /// The deployment's identity.
    pub(super) fn who(&self) -> &'a str {
        &self.options.deployment
    }

    /// Runs `plan` on what belongs to `owner`: where it comes to steps, there is a problem instead.
    pub(super) fn of_another(&mut self, what: &str, owner: &str, plan: impl FnOnce(&mut Self)) {
        let (steps, blocked) = (self.plan.steps.len(), self.plan.blocked.len());
        plan(self);
        let reasons: Vec<String> = self
            .plan
            .steps
            .drain(steps..)
            .chain(self.plan.blocked.drain(blocked..))
            .map(|step| step.reason)
            .collect();
        if !reasons.is_empty() {
            self.problem(
                Problem::new(
                    Kind::Conflict,
                    format!("{what} belongs to {owner}, and is declared otherwise here"),
                )
                .detail(reasons.join("; "))
                .hint(
                    "Declare it as it is, or take it out here; or make it this deployment's with \
                         `howdah apply --take-over`.",
                ),
            );
        }
    }

    /// Tables in a database that belong to other deployments.
    pub(super) fn tables_of_others(&self, database: &str) -> BTreeSet<&'a str> {
        let others = self.inside(database).map_or(&[][..], |inside| &inside.others);
        let owned = |memory: &&Memory| memory.kind == "table" && !memory.deployment.is_empty();
        others.iter().filter(owned).map(|memory| memory.name.as_str()).collect()
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
