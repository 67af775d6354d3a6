//! What a user can ask about an index, `howdah_index_info` and `howdah_index_check`, and about the scans of a session,
//! `howdah_session_work`.

use std::collections::HashSet;

use howdah_index::check::check;
use howdah_index::directory::Index;
use howdah_index::format::Fault;
use howdah_index::format::scan::BlockView;
use howdah_index::info::info;
use howdah_index::options::Metric;
use howdah_index::page::{PageRead, PageStore, Tid};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::am::{raise, report_error, scan};
use crate::storage::cache::with_index;
use crate::storage::line_pointers::LinePointers;
use crate::storage::owner::AsOwner;
use crate::storage::pages::Pages;
use crate::storage::rows::Rows;
use crate::storage::scan_table::Source;
use crate::types::Opclass;

/// Problems of one kind that are told one by one.
const MOST: usize = 100;

/// An index and its table, opened for reading, closed on drop.
struct Opened {
    index: pg_sys::Relation,
    heap: pg_sys::Relation,
    lock: pg_sys::LOCKMODE,
}

impl Opened {
    /// Opens the index with this OID and its table, both under `lock`; refuses what is not an index of this method, and
    /// whoever may not read the table.
    fn new(oid: pg_sys::Oid, lock: u32) -> Self {
        let lock = lock as pg_sys::LOCKMODE;
        // SAFETY: PostgreSQL's own way: the table before the index, which it locks in this order everywhere.
        unsafe {
            let table = pg_sys::IndexGetRelation(oid, true);
            // The index of a partitioned table has no pages: those of its partitions have.
            let kind = pg_sys::get_rel_relkind(oid) as u8;
            if table == pg_sys::InvalidOid || kind != pg_sys::RELKIND_INDEX {
                report_error(
                    PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                    "the relation is not an index with pages of its own",
                    "Name an index of method `howdah`, as in `howdah_index_info('items_embedding_idx')`.",
                );
            }
            // Before anything is locked: who may not read a table does not keep others from writing to it either.
            must_read(table);
            let heap = pg_sys::table_open(table, lock);
            let index = pg_sys::index_open(oid, lock);
            let method = pg_sys::get_am_oid(c"howdah".as_ptr(), false);
            if (*(*index).rd_rel).relam != method {
                report_error(
                    PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                    "the index is not of method `howdah`",
                    "Name an index made with `USING howdah`.",
                );
            }
            Self { index, heap, lock }
        }
    }
}

/// Raises PostgreSQL's own error unless the current user may read all of a table. What an index says of its table (rows,
/// sizes, places of rows) is for those who may ask the table itself.
///
/// # Safety
/// Called in a transaction.
unsafe fn must_read(table: pg_sys::Oid) {
    // SAFETY: promised by the caller; looks in the system catalogs only. Of a table dropped meanwhile, which has no name, the
    // first call raises an error.
    unsafe {
        let user = pg_sys::GetUserId();
        let allowed = pg_sys::pg_class_aclcheck(table, user, pg_sys::ACL_SELECT.into());
        if allowed != pg_sys::AclResult::ACLCHECK_OK {
            let kind = pg_sys::get_relkind_objtype(pg_sys::get_rel_relkind(table));
            pg_sys::aclcheck_error(allowed, kind, pg_sys::get_rel_name(table));
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: opened by `new`; the locks are kept to the end of the transaction, as PostgreSQL does for reads whose
        // result should stay true.
        unsafe {
            pg_sys::index_close(self.index, self.lock);
            pg_sys::table_close(self.heap, self.lock);
        }
    }
}

/// What the index says about itself, as one JSON document.
#[pg_extern(sql = false, strict)]
fn howdah_index_info(index: pg_sys::Oid) -> pgrx::JsonB {
    let opened = Opened::new(index, pg_sys::AccessShareLock);
    // SAFETY: the index is open for the life of `pages`.
    let pages = unsafe { Pages::open(opened.index) };
    // SAFETY: as above.
    let facts = raise(unsafe { with_index(opened.index, &pages, |index| info(index, &pages)) });
    let curve: Vec<_> = facts
        .curve
        .iter()
        .map(|p| serde_json::json!({ "rank": p.rank, "recall": p.recall, "share_read": p.share }))
        .collect();
    let [free, meta, origin, directory, scan, refine] = facts.pages;
    pgrx::JsonB(serde_json::json!({
        "metric": match facts.metric { Metric::L2 => "l2", Metric::InnerProduct => "inner_product", Metric::Cosine => "cosine" },
        "dimensions": facts.dimensions,
        "bits": facts.bits,
        "rows": facts.rows,
        "lists": facts.lists,
        "list_rows": { "least": facts.list_rows[0], "median": facts.list_rows[1], "most": facts.list_rows[2] },
        "fill": facts.fill,
        "bytes": facts.bytes,
        "bytes_per_row": if facts.rows > 0 { facts.bytes as f64 / facts.rows as f64 } else { 0.0 },
        "pages": {
            "free": free, "meta": meta, "origin": origin, "directory": directory, "scan": scan, "refine": refine
        },
        "calibrated_at_rows": facts.measured_rows,
        "calibration": curve,
    }))
}

/// What the scans of this session have done, those of the query that asks not counted, as one JSON document.
#[pg_extern(sql = false)]
fn howdah_session_work() -> pgrx::JsonB {
    let scan::Done { scans, work, bytes } = scan::done();
    pgrx::JsonB(serde_json::json!({
        "scans": scans,
        "rounds": work.rounds,
        "lists": work.lists,
        "blocks": work.blocks,
        "refined": work.refined,
        "compared": work.exact,
        "bytes": bytes,
    }))
}

/// Verifies an index: one row a problem, none when it is sound. Takes a lock that keeps writers out; on a standby it cannot,
/// and what is replayed meanwhile may be reported.
#[pg_extern(sql = false, strict)]
fn howdah_index_check(index: pg_sys::Oid) -> SetOfIterator<'static, String> {
    // SAFETY: reads a flag of shared memory.
    let recovering = unsafe { pg_sys::RecoveryInProgress() };
    let opened = Opened::new(index, if recovering { pg_sys::AccessShareLock } else { pg_sys::ShareLock });
    // SAFETY: the table is open.
    let as_owner = unsafe { AsOwner::of(opened.heap) };
    // SAFETY: index and table are open, locked against writers, for as long as these values live.
    let (pages, opclass, mut rows) = unsafe {
        let opclass = Opclass::of(opened.index);
        (Pages::open(opened.index), opclass, Rows::undeleted(opened.heap, opened.index, opclass.element))
    };
    // SAFETY: as above.
    let (report, tids) = raise(unsafe {
        with_index(opened.index, &pages, |index| {
            Ok((check(index, &pages, Some(&mut rows))?, tids_of(index, &pages)?))
        })
    });
    rows.close();
    let mut problems = report.problems;
    if report.problem_count > problems.len() as u64 {
        problems.push(format!("and {} more", report.problem_count - problems.len() as u64));
    }
    missing_rows(&opened, opclass, &tids, &mut problems);
    wrong_rows(&opened, tids, &mut problems);
    drop(as_owner);
    drop(opened);
    SetOfIterator::new(problems)
}

/// The TIDs of all live codes.
fn tids_of(index: &Index, pages: &Pages) -> Result<HashSet<Tid>, Fault> {
    let mut tids = HashSet::new();
    for (_, list) in index.directory.lists() {
        let mut place = list.head;
        let mut blocks = 0;
        while place.is_some() && place.page < pages.pages() && blocks < list.blocks {
            pages.interrupts();
            let guard = pages.read(place.page);
            let block = BlockView::new(&index.layout, guard.body(), usize::from(place.index));
            tids.extend(
                (0..block.used()).filter(|lane| block.live() >> lane & 1 == 1).map(|lane| block.tid(lane)),
            );
            place = block.next();
            blocks += 1;
        }
    }
    Ok(tids)
}

/// Looks for entries that lead to what cannot be a row.
fn wrong_rows(opened: &Opened, tids: HashSet<Tid>, problems: &mut Vec<String>) {
    // SAFETY: the table is open.
    let Some(pointers) = (unsafe { LinePointers::of(opened.heap) }) else { return };
    let mut tids: Vec<Tid> = tids.into_iter().collect();
    tids.sort_unstable();
    let wrong = pointers.wrong(&tids);
    let sentence =
        |(tid, what): &(Tid, &str)| format!("row ({},{}) is in the index but {what}", tid.block, tid.offset);
    problems.extend(wrong.iter().take(MOST).map(sentence));
    if wrong.len() > MOST {
        problems.push(format!("and {} more entries lead to no row", wrong.len() - MOST));
    }
}

/// Looks for rows of the table that the index should have and has not.
fn missing_rows(opened: &Opened, opclass: Opclass, tids: &HashSet<Tid>, problems: &mut Vec<String>) {
    // SAFETY: the index is open.
    let info = unsafe { pg_sys::BuildIndexInfo(opened.index) };
    let source = Source { heap: opened.heap, index: opened.index, info, element: opclass.element };
    let mut missing = 0;
    source.visit_visible(&mut |tid, vector| {
        let indexed = opclass.metric != Metric::Cosine || vector.iter().any(|v| *v != 0.0);
        if indexed && !tids.contains(&tid) {
            missing += 1;
            if missing <= MOST {
                problems.push(format!("row ({},{}) is not in the index", tid.block, tid.offset));
            }
        }
    });
    if missing > MOST {
        problems.push(format!("and {} more rows are not in the index", missing - MOST));
    }
}
