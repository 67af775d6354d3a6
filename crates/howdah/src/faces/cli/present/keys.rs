//! `howdah keys`.

use super::super::common::Format;
use super::super::print::{self, cell, field};
use super::presenter::Presenter;

const COLUMNS: &[(&str, &str)] = &[
    ("Id", "id"),
    ("Name", "name"),
    ("Begins", "prefix"),
    ("Scope", "scope"),
    ("State", "state"),
    ("Expires", "expires_at"),
    ("Last used", "last_used_at"),
];

/// `howdah keys create`: the key alone on standard output, for scripts.
pub const CREATE: Presenter = Presenter {
    skill: "create_key",
    show: |asked, made| {
        match asked.common.output {
            Format::Json | Format::Jsonl => print::out(&format!("{made}\n")),
            Format::Table | Format::Csv => print::out(&format!("{}\n", cell(field(made, "key")))),
        }
        if !asked.common.quiet {
            print::err("It is shown this once. Send it as `Authorization: Bearer …`.\n");
        }
        Ok(())
    },
    ..Presenter::PLAIN
};

/// `howdah keys list`.
pub const LIST: Presenter = Presenter {
    skill: "list_keys",
    show: |asked, answer| {
        let rows = field(answer, "keys").as_array().map_or(&[][..], Vec::as_slice);
        print::rows(asked.common.output, answer, rows, COLUMNS);
        Ok(())
    },
    ..Presenter::PLAIN
};

/// `howdah keys revoke`.
pub const REVOKE: Presenter = Presenter {
    skill: "revoke_key",
    show: |asked, revoked| {
        match asked.common.output {
            Format::Json | Format::Jsonl => print::out(&format!("{revoked}\n")),
            Format::Table | Format::Csv => print::out(&format!(
                "revoked {} ({})\n",
                cell(field(revoked, "prefix")),
                cell(field(revoked, "name"))
            )),
        }
        Ok(())
    },
    ..Presenter::PLAIN
};
