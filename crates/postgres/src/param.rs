//! Values bound by the pure crate, as the driver takes them.
//!
//! [`howdah_plan::search::param`] keeps a statement's values apart from its text; here they get the wire types that their
//! placeholders are cast from, so that a statement can be sent without asking the server for its types first.

use howdah_plan::search::param::Param;
use tokio_postgres::types::{ToSql, Type};

/// A value to bind.
pub fn value(param: &Param) -> &(dyn ToSql + Sync) {
    match param {
        Param::Text(v) => v,
        Param::Texts(v) => v,
        Param::Integer(v) => v,
        Param::Integers(v) => v,
        Param::Float(v) => v,
        Param::Floats(v) => v,
        Param::Bool(v) => v,
        Param::Bools(v) => v,
        Param::Reals(v) => v,
    }
}

/// Its type.
pub fn sql_type(param: &Param) -> Type {
    match param {
        Param::Text(_) => Type::TEXT,
        Param::Texts(_) => Type::TEXT_ARRAY,
        Param::Integer(_) => Type::INT8,
        Param::Integers(_) => Type::INT8_ARRAY,
        Param::Float(_) => Type::FLOAT8,
        Param::Floats(_) => Type::FLOAT8_ARRAY,
        Param::Bool(_) => Type::BOOL,
        Param::Bools(_) => Type::BOOL_ARRAY,
        Param::Reals(_) => Type::FLOAT4_ARRAY,
    }
}

/// Values with their types, for `query_typed`.
pub fn typed(params: &[Param]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    params.iter().map(|param| (value(param), sql_type(param))).collect()
}
