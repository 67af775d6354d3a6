//! Doing as the owner of a table what may run the table's own code.
//!
//! Expressions and predicates of an index call functions that its owner chose. When somebody with
//! more rights looks at the index, these functions must not run with them. PostgreSQL's own commands do the same.

use pgrx::pg_sys;

/// The owner of a table, until dropped; an error gives the role back with the transaction.
pub struct AsOwner {
    user: pg_sys::Oid,
    context: i32,
    nest: i32,
}

impl AsOwner {
    /// Becomes the owner of `table`.
    ///
    /// # Safety
    /// `table` is open.
    pub unsafe fn of(table: pg_sys::Relation) -> Self {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: promised by the caller; PostgreSQL's own way, in the order of its VACUUM.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
            let restricted = context | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
            pg_sys::SetUserIdAndSecContext((*(*table).rd_rel).relowner, restricted);
            let nest = pg_sys::NewGUCNestLevel();
            #[cfg(not(any(feature = "pg15", feature = "pg16")))]
            pg_sys::RestrictSearchPath();
            Self { user, context, nest }
        }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: gives back what `of` took.
        unsafe {
            pg_sys::AtEOXact_GUC(false, self.nest);
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
        }
    }
}
