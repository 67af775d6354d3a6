//! What the stories of the extension stand on: servers that carry the extension, rows to fill them with, the exact answer
//! to hold a scan against.
//!
//! `scripts/stories.sh` builds the extension, puts it into a copy of the portable server and says where that copy is
//! (`HOWDAH_STORIES_SERVER`). Without it every story says that it is skipped. Everything a story starts lives in one
//! temporary directory and ends with the test process (`HOWDAH_TEST_KEEP=1` leaves the files).

pub mod data;
pub mod kit;
pub mod server;
pub mod sql;

pub use data::{Rows, literal};
pub use kit::Kit;
pub use server::Server;
pub use sql::{Db, Plan};

/// The kit, or the caller's return: a story without a server says so and passes.
#[macro_export]
macro_rules! kit_or_skip {
    () => {
        match $crate::Kit::find() {
            Some(kit) => kit,
            None => {
                eprintln!("skipped: no server with the extension (run scripts/stories.sh)");
                return;
            }
        }
    };
}

/// A database of its own on the server that all stories of this process share, or the caller's return.
#[macro_export]
macro_rules! db_or_skip {
    ($name:literal) => {{
        let kit = $crate::kit_or_skip!();
        $crate::Server::shared(kit).database($name)
    }};
}
