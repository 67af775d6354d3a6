//! The extension.
#![allow(unsafe_code)] // PostgreSQL is C: the room `storage` and the callbacks in `am` say on every block who promises what.
pgrx::pg_module_magic!();
