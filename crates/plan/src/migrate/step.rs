//! A plan: ordered steps from live to declared, each with its SQL and its reason.
//!
//! Printed, a plan is a script that `psql` runs. A password never stands in it: such a statement is printed as a comment.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::spec::resolve::{quote_ident, quote_literal};

/// What a step works on; also the order of steps within a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A role, its attributes or memberships.
    Role,
    /// A database or its owner.
    Database,
    /// Howdah's own tables.
    InternalSchema,
    /// An extension.
    Extension,
    /// A schema.
    Schema,
    /// A table.
    Table,
    /// A column.
    Column,
    /// A primary key or unique constraint.
    Constraint,
    /// An index.
    Index,
    /// Rights on what is there.
    Grant,
    /// Rights on what comes later.
    DefaultPrivileges,
    /// A setting of the server, a database or a role.
    Setting,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Name that stays the same from plan to plan, such as `index:vector_db:public.notes_embedding_idx`.
    pub id: String,
    /// What it works on.
    pub kind: StepKind,
    /// Database it runs in; any, when absent.
    pub database: Option<String>,
    /// Statements, in order.
    pub sql: Vec<String>,
    /// Why, in words.
    pub reason: String,
    /// Whether data, or what took long to build, is lost.
    pub destructive: bool,
    /// Whether the statements run in one transaction. Otherwise each commits by itself.
    pub transactional: bool,
    /// Whether it takes effect only with a restart of the server.
    pub restart: bool,
    /// The password that the statements show as `'***'`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordFrom>,
    /// The index that the statements build, where that may take long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<IndexBuild>,
    /// What whoever carries it out has to know of its work beyond the statements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// What a step does to those who look on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The database of this name goes: no session may be in it.
    DropsDatabase(String),
    /// An extension of this name is created: the server has to have it, and to allow it.
    CreatesExtension(String),
    /// The server reads its configuration again, a moment after it is told to.
    ReloadsConfiguration,
}

/// What stands in a statement where the password is to be, so that no plan holds one.
pub(crate) const PASSWORD: &str = "'***'";

/// Where a step's password comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordFrom {
    /// Role it is for.
    pub role: String,
    /// Environment variable that holds it.
    pub env: String,
}

/// The index that a step builds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IndexBuild {
    /// Quoted name of the table.
    pub table: String,
    /// Name of the index.
    pub index: String,
    /// Access method.
    pub method: String,
    /// Bytes that one row's entry takes in memory while an HNSW graph is built; 0 for other methods.
    pub bytes_per_row: u64,
    /// Which of the step's statements builds it, from 0.
    pub statement: usize,
}

impl Step {
    pub(crate) fn new(kind: StepKind, name: &str, reason: impl Into<String>) -> Self {
        Step {
            id: name.to_owned(),
            kind,
            database: None,
            sql: Vec::new(),
            reason: reason.into(),
            destructive: false,
            transactional: true,
            restart: false,
            password: None,
            build: None,
            effect: None,
        }
    }

    /// The statements as they are sent, with a password's `verifier` in its place.
    pub fn statements(&self, verifier: Option<&str>) -> Vec<String> {
        let verifier = verifier.filter(|_| self.password.is_some()).map(quote_literal);
        let whole = |sql: &String| match &verifier {
            Some(verifier) => sql.replace(PASSWORD, verifier),
            None => sql.clone(),
        };
        self.sql.iter().map(whole).collect()
    }

    pub(crate) fn sql(mut self, statement: impl Into<String>) -> Self {
        self.sql.push(statement.into());
        self
    }

    pub(crate) fn destructive(mut self, destructive: bool) -> Self {
        self.destructive = destructive;
        self
    }

    pub(crate) fn effect(mut self, effect: Effect) -> Self {
        self.effect = Some(effect);
        self
    }

    pub(crate) fn outside_transaction(mut self) -> Self {
        self.transactional = false;
        self
    }
}

/// Something to know that no step changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// Database it is about; the server, when absent.
    pub database: Option<String>,
    /// The sentence.
    pub text: String,
}

/// Ordered steps from live to declared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Steps to carry out, in order.
    pub steps: Vec<Step>,
    /// Steps that would destroy something and were not allowed.
    pub blocked: Vec<Step>,
    /// What of the declaration cannot be on this server. The steps are those that do not depend on it; with a problem, none
    /// of them destroys.
    pub problems: Vec<Problem>,
    /// Extensions that are needed and that the server does not have; each is one of the problems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<String>,
    /// What is worth knowing: drift that Howdah leaves alone, choices it made.
    pub notes: Vec<Note>,
    /// Settings that wait for a restart of the server, now or after the steps.
    pub restart: Vec<String>,
}

impl Plan {
    /// Whether the server is as declared: nothing to do, nothing blocked, nothing impossible.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty() && self.problems.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            comment(f, &format!("impossible: {}", problem.message))?;
            for more in [&problem.detail, &problem.hint].into_iter().flatten() {
                comment(f, &format!("  {more}"))?;
            }
        }
        if self.is_empty() {
            comment(f, "nothing to do: the server is as declared")?;
        }
        write_steps(f, &self.steps)?;
        for step in &self.blocked {
            writeln!(f)?;
            comment(f, &format!("blocked, it destroys: {}", step.reason))?;
            if let Some(database) = &step.database {
                comment(f, &format!("in database {database}:"))?;
            }
            for statement in &step.sql {
                comment(f, &format!("  {statement};"))?;
            }
        }
        if !self.blocked.is_empty() {
            comment(f, "blocked steps are carried out by `howdah apply --allow-destroy`")?;
        }
        for note in &self.notes {
            match &note.database {
                Some(database) => comment(f, &format!("note, {database}: {}", note.text))?,
                None => comment(f, &format!("note: {}", note.text))?,
            }
        }
        if !self.restart.is_empty() {
            comment(f, &format!("needs a restart of the server: {}", self.restart.join(", ")))?;
        }
        Ok(())
    }
}

fn write_steps(f: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    let mut here: Option<&str> = None;
    for step in steps {
        if let Some(database) = step.database.as_deref()
            && here != Some(database)
        {
            writeln!(f, "\n\\connect {}", quote_ident(database))?;
            here = Some(database);
        }
        writeln!(f)?;
        comment(f, &step.reason)?;
        if step.restart {
            comment(f, "takes effect with a restart")?;
        }
        if let Some(password) = &step.password {
            comment(f, &format!("run by howdah, which takes the password from ${}:", password.env))?;
            for statement in &step.sql {
                comment(f, &format!("  {statement};"))?;
            }
            continue;
        }
        let wrap = step.transactional && step.sql.len() > 1;
        if wrap {
            writeln!(f, "BEGIN;")?;
        }
        for statement in &step.sql {
            writeln!(f, "{statement};")?;
        }
        if wrap {
            writeln!(f, "COMMIT;")?;
        }
    }
    Ok(())
}

fn comment(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for line in text.lines() {
        writeln!(f, "-- {line}")?;
    }
    Ok(())
}
