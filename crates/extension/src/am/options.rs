//! Options of the index and of the session, read from the one table in `howdah_index::options`.

use std::ffi::{CStr, CString};
use std::sync::OnceLock;

use howdah_index::options::{self, BuildOptions, Kind, OptionSpec, Order, SearchOptions};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;

use crate::types::Opclass;

static TARGET_RECALL: GucSetting<f64> = GucSetting::<f64>::new(0.97);
static PROBES: GucSetting<i32> = GucSetting::<i32>::new(0);
static EXPECTED_ROWS: GucSetting<i32> = GucSetting::<i32>::new(10);
static ORDERING: GucSetting<OrderSetting> = GucSetting::<OrderSetting>::new(OrderSetting::Strict);

/// [`Order`] as a setting; the words are those of the table.
#[derive(Clone, Copy, PostgresGucEnum)]
enum OrderSetting {
    #[name = c"strict"]
    Strict,
    #[name = c"relaxed"]
    Relaxed,
}

/// The kind PostgreSQL gave our reloptions, and their names as C wants them, in the order of [`StoredOptions`].
static RELOPTIONS: OnceLock<(pg_sys::relopt_kind::Type, [&'static CStr; 2])> = OnceLock::new();

/// What `CREATE INDEX … WITH (…)` leaves in the relation: PostgreSQL fills it by offset.
#[repr(C)]
struct StoredOptions {
    varlena_header: i32,
    bits: i32,
    lists: i32,
}

/// Text of the table as C wants it: kept for the life of the process.
fn keep(text: &str) -> &'static CStr {
    let text = CString::new(text).expect("the option table has no NUL");
    Box::leak(text.into_boxed_c_str())
}

fn integer(option: &OptionSpec) -> (i32, i32, i32) {
    match option.kind {
        Kind::Integer { min, max, default } => (min, max, default),
        Kind::Real { .. } | Kind::Choice { .. } => {
            unreachable!("`{}` is a whole number in the option table", option.name)
        }
    }
}

/// Registers the options. Called once, when the library is loaded.
pub fn register() {
    let define_int = |option: &OptionSpec, name: &str, setting: &'static GucSetting<i32>| {
        let (min, max, _) = integer(option);
        GucRegistry::define_int_guc(
            keep(name),
            keep(option.short),
            keep(option.long),
            setting,
            min,
            max,
            GucContext::Userset,
            GucFlags::default(),
        );
    };
    define_int(&options::PROBES, "howdah.probes", &PROBES);
    define_int(&options::EXPECTED_ROWS, "howdah.expected_rows", &EXPECTED_ROWS);
    GucRegistry::define_enum_guc(
        c"howdah.ordering",
        keep(options::ORDERING.short),
        keep(options::ORDERING.long),
        &ORDERING,
        GucContext::Userset,
        GucFlags::default(),
    );
    if let Kind::Real { min, max, .. } = options::TARGET_RECALL.kind {
        GucRegistry::define_float_guc(
            c"howdah.target_recall",
            keep(options::TARGET_RECALL.short),
            keep(options::TARGET_RECALL.long),
            &TARGET_RECALL,
            min,
            max,
            GucContext::Userset,
            GucFlags::default(),
        );
    }
    // SAFETY: plain registration calls, made once from `_PG_init`; the strings live for ever.
    unsafe {
        let kind = pg_sys::add_reloption_kind();
        let stored = [&options::BITS, &options::LISTS];
        let names = stored.map(|option| keep(option.name));
        for (option, name) in stored.into_iter().zip(names) {
            let (min, max, default) = integer(option);
            pg_sys::add_int_reloption(
                kind,
                name.as_ptr(),
                keep(option.short).as_ptr(),
                default,
                min,
                max,
                pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE,
            );
        }
        RELOPTIONS.get_or_init(|| (kind, names));
    }
}

/// Callback `amoptions`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amoptions(reloptions: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    let (kind, names) = RELOPTIONS.get().expect("registered when the library was loaded");
    #[allow(clippy::needless_update)] // PostgreSQL 18 has a field more.
    let element = |name: &'static CStr, offset: usize| pg_sys::relopt_parse_elt {
        optname: name.as_ptr(),
        opttype: pg_sys::relopt_type::RELOPT_TYPE_INT,
        offset: offset as i32,
        ..Default::default()
    };
    let table = [
        element(names[0], std::mem::offset_of!(StoredOptions, bits)),
        element(names[1], std::mem::offset_of!(StoredOptions, lists)),
    ];
    // SAFETY: the table describes `StoredOptions`, whose size is given; PostgreSQL copies the names it keeps.
    unsafe {
        pg_sys::build_reloptions(
            reloptions,
            validate,
            *kind,
            std::mem::size_of::<StoredOptions>(),
            table.as_ptr(),
            table.len() as i32,
        )
        .cast()
    }
}

/// What a build of `index` is asked for.
///
/// # Safety
/// `index` is an open index of this access method.
pub unsafe fn build_options(index: pg_sys::Relation, opclass: Opclass, dimensions: usize) -> BuildOptions {
    let mut options = BuildOptions::new(opclass.metric, dimensions);
    // SAFETY: rd_options is null or what `amoptions` built.
    unsafe {
        let stored = (*index).rd_options.cast::<StoredOptions>();
        if !stored.is_null() {
            options.bits = (*stored).bits as u32;
            options.lists = (*stored).lists as u32;
        }
    }
    options
}

/// What the session asks of a search.
pub fn search_options() -> SearchOptions {
    // SAFETY: a plain global of PostgreSQL, in kilobytes.
    let work_mem = unsafe { pg_sys::work_mem };
    SearchOptions {
        target_recall: TARGET_RECALL.get(),
        probes: PROBES.get() as u32,
        expected_rows: EXPECTED_ROWS.get() as u32,
        order: match ORDERING.get() {
            OrderSetting::Strict => Order::Strict,
            OrderSetting::Relaxed => Order::Relaxed,
        },
        memory: (work_mem as usize) << 10,
        ..SearchOptions::default()
    }
}
