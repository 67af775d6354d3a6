//! `howdah keys`.

use std::process::ExitCode;

use serde_json::json;

use super::Outcome;
use super::args::{Common, Format, KeysCommand};
use super::print::{self, field};
use super::session::Session;
use crate::access::scope::Scope;

const COLUMNS: &[(&str, &str)] = &[
    ("Id", "id"),
    ("Name", "name"),
    ("Begins", "prefix"),
    ("Scope", "scope"),
    ("State", "state"),
    ("Expires", "expires_at"),
    ("Last used", "last_used_at"),
];

/// Makes, lists and revokes keys.
pub async fn run(common: &Common, command: &KeysCommand) -> Outcome {
    let session = Session::open(common).await?;
    match command {
        KeysCommand::Create { name, scope, expires_in_days } => {
            let scope: Scope = (*scope).into();
            let input = json!({"name": name, "scope": scope, "expires_in_days": expires_in_days});
            let made = session.call("create_key", input).await?;
            match common.output {
                Format::Json | Format::Jsonl => print::out(&format!("{made}\n")),
                Format::Table | Format::Csv => print::out(&format!("{}\n", print::cell(field(&made, "key")))),
            }
            if !common.quiet {
                print::err("It is shown this once. Send it as `Authorization: Bearer …`.\n");
            }
        }
        KeysCommand::List => {
            let answer = session.call("list_keys", json!({})).await?;
            let rows = field(&answer, "keys").as_array().cloned().unwrap_or_default();
            print::rows(common.output, &answer, &rows, COLUMNS);
        }
        KeysCommand::Revoke { id } => {
            let revoked = session.call("revoke_key", json!({"id": id})).await?;
            match common.output {
                Format::Json | Format::Jsonl => print::out(&format!("{revoked}\n")),
                Format::Table | Format::Csv => print::out(&format!(
                    "revoked {} ({})\n",
                    print::cell(field(&revoked, "prefix")),
                    print::cell(field(&revoked, "name"))
                )),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
