//! What can a person or an agent ask for?
//!
//! One table, [`SKILLS`]. The command line, REST and its OpenAPI document read it, as every later face will; none of them
//! knows a skill by name. A test walks the table and asks every face for every skill. What a skill is stands in
//! [`contract`].

pub mod adopt;
pub mod collections;
pub mod contract;
pub mod doctor;
pub mod ingest;
pub mod jobs;
pub mod keys;
pub mod plan;
pub mod search;
pub mod status;

pub use contract::{
    Call, Command, Deadline, Effect, Example, Lasts, Nothing, Reply, Route, Skill, SkillFuture, fits,
    schema_of, typed,
};

use crate::runtime::Context;

/// All skills, in the order people meet them.
pub static SKILLS: &[Skill<Context>] = &[
    search::SEARCH,
    search::BATCH,
    ingest::INGEST,
    collections::LIST,
    collections::DESCRIBE,
    collections::GET,
    collections::UPDATE,
    collections::DELETE,
    adopt::ADOPT,
    plan::PLAN,
    plan::APPLY,
    doctor::DOCTOR,
    status::STATUS,
    jobs::LIST,
    jobs::SHOW,
    jobs::CANCEL,
    keys::CREATE,
    keys::LIST,
    keys::REVOKE,
];
