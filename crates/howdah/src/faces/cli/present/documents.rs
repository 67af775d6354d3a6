//! `howdah get` and `delete`.

use super::super::common::Format;
use super::super::print::{self, field};
use super::filter;
use super::presenter::Presenter;

/// `howdah get`.
pub const GET: Presenter = Presenter {
    skill: "get_document",
    show: |asked, row| {
        match asked.common.output {
            Format::Table | Format::Json => print::out(&print::pretty(row)),
            format => print::rows(
                format,
                row,
                std::slice::from_ref(row),
                &[("Id", "id"), ("Source", "source"), ("Title", "title"), ("Text", "content")],
            ),
        }
        Ok(())
    },
    ..Presenter::PLAIN
};

/// `howdah delete`.
pub const DELETE: Presenter = Presenter {
    skill: "delete_documents",
    extra: filter::args,
    input: filter::merge,
    show: |asked, deleted| {
        match asked.common.output {
            Format::Table | Format::Csv => {
                let verb = if field(deleted, "dry_run") == true { "would delete" } else { "deleted" };
                let many = |name| field(deleted, name).as_u64().unwrap_or_default();
                print::out(&format!(
                    "{verb} {} of {}\n",
                    print::count(many("rows"), "row"),
                    print::count(many("documents"), "document")
                ));
            }
            Format::Json | Format::Jsonl => print::out(&format!("{deleted}\n")),
        }
        Ok(())
    },
    ..Presenter::PLAIN
};
