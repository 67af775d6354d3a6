//! `CREATE INDEX` and `REINDEX`: a sample, lists, one pass that encodes every row, a sort, the pages.

use std::cell::Cell;

use howdah_index::build::{self, Loader, Sampler, Trained};
use howdah_index::calibrate::{SAMPLES, calibrate};
use howdah_index::directory::Index;
use howdah_index::options::BuildOptions;
use howdah_index::page::{PageStore, Tid};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::options::build_options;
use super::report::{self, raise};
use super::workers::{SignalsBlocked, Workers};
use crate::storage::pages::Pages;
use crate::storage::rows::Rows;
use crate::storage::scan_table::Source;
use crate::storage::sort::Sort;
use crate::types::Opclass;

/// Phases of a build in `pg_stat_progress_create_index`, from PostgreSQL's "initializing" (1) on.
const PHASES: [&std::ffi::CStr; 6] = [
    c"initializing",
    c"sampling rows",
    c"making lists",
    c"encoding rows",
    c"writing pages",
    c"measuring recall",
];
const SAMPLING: i64 = 2;
const TRAINING: i64 = 3;
const ENCODING: i64 = 4;
const WRITING: i64 = 5;
const CALIBRATING: i64 = 6;

/// Callback `ambuildphasename`.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambuildphasename(phase: i64) -> *mut std::ffi::c_char {
    let name = usize::try_from(phase - 1).ok().and_then(|at| PHASES.get(at));
    name.map_or(std::ptr::null_mut(), |name| name.as_ptr().cast_mut())
}

/// Callback `ambuild`.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambuild(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: PostgreSQL holds both relations open and locked for the whole build.
    let (opclass, options, pages) = unsafe {
        let opclass = Opclass::of(index);
        let options = build_options(index, opclass, dimensions(index));
        (opclass, options, Pages::building(index, pg_sys::ForkNumber::MAIN_FORKNUM))
    };
    let source = Source { heap, index, info, element: opclass.element };
    let trained = train(&source, options);
    let (rows, indexed) = load(&source, &trained, &options, &pages);
    report::phase(CALIBRATING);
    let mut index_now = raise(Index::open(&pages));
    // SAFETY: as above.
    let mut rows_of_table = unsafe { Rows::undeleted(heap, index, opclass.element) };
    raise(calibrate(&mut index_now, &pages, &mut rows_of_table, SAMPLES));
    rows_of_table.close();
    pages.finish_build();
    // SAFETY: palloc0 returns a zeroed struct of this size in the caller's context, as the callback has to.
    unsafe {
        let result = pg_sys::palloc0(std::mem::size_of::<pg_sys::IndexBuildResult>())
            .cast::<pg_sys::IndexBuildResult>();
        (*result).heap_tuples = rows;
        (*result).index_tuples = indexed as f64;
        result
    }
}

/// Callback `ambuildempty`: the initial fork of an unlogged index.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambuildempty(index: pg_sys::Relation) {
    // SAFETY: PostgreSQL holds the relation open and locked.
    unsafe {
        let opclass = Opclass::of(index);
        let options = build_options(index, opclass, dimensions(index));
        let pages = Pages::building(index, pg_sys::ForkNumber::INIT_FORKNUM);
        raise(build::create_empty(&pages, &options, SEED));
        pages.finish_build();
    }
}

/// Dimensions of the index's only column.
///
/// # Safety
/// `index` is open.
unsafe fn dimensions(index: pg_sys::Relation) -> usize {
    // SAFETY: an index has at least one attribute; its type modifier is pgvector's number of dimensions.
    let typmod = unsafe {
        pgrx::PgTupleDesc::from_pg_copy((*index).rd_att).get(0).expect("an index has a column").atttypmod
    };
    usize::try_from(typmod).unwrap_or_else(|_| {
        report::error(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "column does not have dimensions",
            "Declare them, as in `ALTER TABLE … ALTER COLUMN … TYPE vector(384)`, or index the expression `(…::vector(384))`.",
        )
    })
}

/// Bytes a build may hold.
fn memory() -> usize {
    // SAFETY: a plain global of PostgreSQL, in kilobytes.
    unsafe { (pg_sys::maintenance_work_mem as usize) << 10 }
}

/// Threads a build may use beside the one that reads the table.
fn threads() -> usize {
    // SAFETY: a plain global of PostgreSQL.
    let allowed = unsafe { pg_sys::max_parallel_maintenance_workers };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    usize::try_from(allowed).unwrap_or(0).clamp(1, cores)
}

/// Decides the rotation and the sample. Always the same, so that two builds of the same rows give the same index; an index
/// keeps the number it was built with. Nothing rests on it being secret: whoever could choose rows that a known rotation
/// handles badly would make only searches among those rows slower.
const SEED: u64 = 0x686f_7764_6168;

fn train(source: &Source, options: BuildOptions) -> Trained {
    let rows = source.estimated_rows();
    report::phase(SAMPLING);
    let mut sampler = raise(Sampler::new(options, rows, memory() / 2, SEED));
    sample(source, &mut sampler, rows);
    report::phase(TRAINING);
    let blocked = SignalsBlocked::new();
    sampler.train(rows, threads(), &|| {
        blocked.lifted(|| {
            pgrx::check_for_interrupts!();
        })
    })
}

/// Shows the sampler rows enough: all of a small table, runs of blocks spread over a large one.
fn sample(source: &Source, sampler: &mut Sampler, rows: u64) {
    const RUN: u32 = 4;
    let blocks = source.blocks();
    // A few more than fit; each costs a look at its TOASTed value.
    let wanted = (11 * sampler.capacity() as u64 * u64::from(blocks)).div_ceil(10 * rows.max(1));
    let mut failed = None;
    let full = Cell::new(false);
    let mut visit = |_tid, vector: &[f32]| {
        if let Err(fault) = sampler.push(vector) {
            failed.get_or_insert(fault);
        }
        full.set(sampler.is_full());
    };
    if wanted * 2 >= u64::from(blocks) {
        source.visit_blocks(0, u32::MAX, &mut visit);
    } else {
        let runs = (wanted as u32).div_ceil(RUN).max(1);
        // Between these runs there is room for as many again, for a table with many NULLs, dead rows or rows that a partial
        // index leaves out.
        for half in [0, 1] {
            for run in 0..runs {
                let first = u64::from(blocks) * (2 * u64::from(run) + half) / (2 * u64::from(runs));
                source.visit_blocks(first as u32, RUN.min(blocks - first as u32), &mut visit);
            }
            if full.get() {
                break;
            }
        }
    }
    raise(failed.map_or(Ok(()), Err));
}

/// The row that a row code is of: its first bytes.
fn row_tid(code: &[u8]) -> Tid {
    Tid::from_bytes([code[0], code[1], code[2], code[3], code[4], code[5]])
}

/// Encodes every row and writes the pages. Returns the rows of the table and those in the index.
fn load(source: &Source, trained: &Trained, options: &BuildOptions, pages: &Pages) -> (f64, u64) {
    report::phase(ENCODING);
    report::total(source.estimated_rows());
    // SAFETY: a plain global of PostgreSQL, in kilobytes.
    let mut sort = Sort::new(unsafe { pg_sys::maintenance_work_mem });
    let code_bytes = trained.encoder().code_bytes();
    let mut encoded_rows = 0;
    let rows = std::thread::scope(|scope| {
        let take = |encoded: super::workers::Encoded| {
            for (list, code) in encoded.lists.iter().zip(encoded.codes.chunks_exact(code_bytes)) {
                sort.push(*list, row_tid(code), code);
            }
            encoded_rows += encoded.lists.len() as u64;
            report::done(encoded_rows);
        };
        let mut workers = Workers::start(scope, trained, options.dimensions, threads(), take);
        let rows = source.visit(&mut |tid, vector| raise(workers.push(tid, vector)));
        raise(workers.finish());
        rows
    });
    report::phase(WRITING);
    report::total(encoded_rows);
    let mut loader = Loader::new(pages, trained);
    let mut written = 0;
    sort.finish(|list, code| {
        raise(loader.push(list, code));
        written += 1;
        if written % 1024 == 0 {
            pages.interrupts();
            report::done(written);
        }
    });
    (rows, raise(loader.finish()))
}
