//! What the access method can do, and which function does it.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{build, cost, insert, options, scan, vacuum};

/// The handler that `CREATE ACCESS METHOD howdah` names. PostgreSQL calls it without the argument that SQL declares.
#[pg_extern(sql = false)]
fn howdah_handler() -> pgrx::Internal {
    // SAFETY: a zeroed IndexAmRoutine is a valid one (flags off, callbacks absent); palloc'd, since PostgreSQL keeps it in
    // the relation cache.
    let mut routine =
        unsafe { PgBox::<pg_sys::IndexAmRoutine>::alloc_node(pg_sys::NodeTag::T_IndexAmRoutine) };
    // One kind of scan: rows in order of distance from a value.
    routine.amstrategies = 0;
    routine.amsupport = 1;
    routine.amcanorderbyop = true;
    routine.amoptionalkey = true;
    routine.amusemaintenanceworkmem = false;
    routine.amparallelvacuumoptions = pg_sys::VACUUM_OPTION_PARALLEL_BULKDEL as u8;
    routine.amkeytype = pg_sys::InvalidOid;

    routine.ambuild = Some(build::ambuild);
    routine.ambuildempty = Some(build::ambuildempty);
    routine.ambuildphasename = Some(build::ambuildphasename);
    routine.aminsert = Some(insert::aminsert);
    routine.ambulkdelete = Some(vacuum::ambulkdelete);
    routine.amvacuumcleanup = Some(vacuum::amvacuumcleanup);
    routine.amcostestimate = Some(cost::amcostestimate);
    routine.amoptions = Some(options::amoptions);
    routine.amvalidate = Some(amvalidate);
    routine.ambeginscan = Some(scan::ambeginscan);
    routine.amrescan = Some(scan::amrescan);
    routine.amgettuple = Some(scan::amgettuple);
    routine.amendscan = Some(scan::amendscan);
    pgrx::Internal::from(Some(pg_sys::Datum::from(routine.into_pg())))
}

/// Callback `amvalidate`: every operator class made by the extension's script is right, and others cannot be told apart
/// from the catalog alone; an index over a wrong one fails at its first use with a clear error.
#[pg_guard]
unsafe extern "C-unwind" fn amvalidate(_opclass: pg_sys::Oid) -> bool {
    true
}
