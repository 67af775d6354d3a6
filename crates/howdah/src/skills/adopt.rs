//! Which tables of others could be collections?

use std::sync::Arc;

use howdah_plan::adoption::{Adoption, Wanted, propose};
use howdah_plan::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::collections::discover;
use crate::runtime::Context;
use howdah_postgres::Purpose;

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adopt {
    /// Database to look into; the first declared one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Only these tables, as `table` or `schema.table`; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<String>>,
}

async fn adopt(context: Arc<Context>, call: Call, asked: Adopt) -> Result<Adoption, Problem> {
    let spec = context.spec();
    let database = match asked.database {
        Some(named) if spec.databases.contains_key(&named) => named,
        Some(named) => {
            return Err(Problem::new(Kind::NotFound, format!("database `{named}` is not declared"))
                .detail(format!(
                    "declared are: {}",
                    spec.databases.keys().cloned().collect::<Vec<_>>().join(", ")
                ))
                .hint(
                    "Declare it, or give the command the database's address: `howdah adopt DATABASE_URL`.",
                ));
        }
        None => context.declared.database()?.to_owned(),
    };
    let relations = discover::relations(&context.pools(&call, Purpose::Operate), &database).await?;
    let tables = asked.tables.unwrap_or_default();
    Ok(propose(&relations, &Wanted { spec: Some(spec), database: &database, tables: &tables }))
}

/// Proposes collections.
pub const ADOPT: Skill<Context> = Skill {
    name: "adopt",
    summary: "Propose collections for the tables that a database has.",
    description: "Looks for tables, partitioned tables and views with a column of vectors, recognises those of LangChain, \
                  LlamaIndex, Supabase vecs and Haystack, and writes for each the block of howdah.toml that adopts it, with \
                  what was seen and what had to be guessed. It changes nothing.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Admin,
    command: Command { words: "adopt", positional: &[] },
    route: Route { method: "POST", path: "/v1/adopt", success: 200 },
    input: schema_of::<Adopt>,
    output: schema_of::<Adoption>,
    examples: &[
        Example { title: "The declared database", input: "{}", command: "howdah adopt" },
        Example {
            title: "One table",
            input: r#"{"tables": ["public.documents"]}"#,
            command: "howdah adopt --table public.documents",
        },
    ],
    check: fits::<Adopt>,
    run: |context, call| Box::pin(typed(context, call, adopt)),
};
