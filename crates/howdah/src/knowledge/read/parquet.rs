//! Parquet: a record a row, the columns read as the keys of a JSON line would be.

use std::collections::HashSet;
use std::fs::File;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::format::{Context, Documents};
use super::json::Json;
use super::record::Raw;
use super::tables::document;
use super::{BadRecord, Document, Refusal};

/// Rows decoded at a time.
const ROWS: usize = 1_024;

/// A document for each row.
pub(super) fn documents(context: Context, name: &str, file: File) -> Result<Documents, Refusal> {
    let bad = |reason: String| Refusal::Bad(BadRecord::new(name, None, reason));
    let size = file.metadata().map_or(0, |facts| facts.len());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|e| bad(format!("it is no Parquet file: {e}")))?;
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0).max(1);
    let batches = builder.with_batch_size(ROWS).build().map_err(|e| bad(format!("cannot be read: {e}")))?;
    let name = name.to_owned();
    let mut number = 0u64;
    Ok(Box::new(batches.flat_map(move |batch| {
        let documents: Vec<Result<Document, Refusal>> = match batch {
            Ok(batch) => (0..batch.num_rows())
                .map(|row| {
                    number += 1;
                    let bad = |reason: String| BadRecord::new(&name, Some(number), reason);
                    let raw = raw(&batch, row).map_err(bad)?;
                    let bytes = serde_json::to_vec(&raw).map_err(|e| bad(e.to_string()))?;
                    let hash = context.shape.hash(&[&bytes]);
                    Ok(document(&context, &name, Some(number), raw, hash, size / rows).map_err(bad)?)
                })
                .collect(),
            Err(e) => {
                vec![Err(
                    BadRecord::new(&name, Some(number + 1), format!("cannot be read further: {e}")).into()
                )]
            }
        };
        documents
    })))
}

fn raw(batch: &RecordBatch, row: usize) -> Result<Raw, String> {
    let mut raw = Raw::default();
    let mut seen = HashSet::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let key = field.name().as_str();
        if !seen.insert(key) {
            return Err(format!("there are two columns `{key}`; only one of them could be kept"));
        }
        if column.is_null(row) {
            continue;
        }
        if key == "embedding" {
            raw.embedding = Some(floats(column, row).ok_or("`embedding` is no list of floats")?);
            continue;
        }
        if let Some(number) = number(column, row) {
            raw.set(key, number)?;
            continue;
        }
        let value =
            value(column, row).ok_or_else(|| format!("column `{key}` has a type that ingest cannot read"))?;
        let value = match &value {
            Value::String(text) if key == "metadata" => {
                Json::parse(text).map_err(|e| format!("`metadata` is no JSON object: {e}"))?
            }
            value => Json::of(value),
        };
        raw.set(key, value)?;
    }
    raw.settle_text()?;
    Ok(raw)
}

/// A decimal or a float with the digits it has; what is no number is text, `NaN`.
fn number(column: &ArrayRef, row: usize) -> Option<Json> {
    let text = if let Some(decimals) = column.as_primitive_opt::<Decimal128Type>() {
        decimals.value_as_string(row)
    } else if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
        floats.value(row).to_string()
    } else {
        column.as_primitive_opt::<Float32Type>()?.value(row).to_string()
    };
    Some(Json::parse(&text).unwrap_or_else(|_| Json::text(&text)))
}

fn list(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    column
        .as_list_opt::<i32>()
        .map(|list| list.value(row))
        .or_else(|| column.as_list_opt::<i64>().map(|list| list.value(row)))
        .or_else(|| column.as_fixed_size_list_opt().map(|list| list.value(row)))
}

fn floats(column: &ArrayRef, row: usize) -> Option<Vec<f32>> {
    let list = list(column, row)?;
    if list.null_count() > 0 {
        return None;
    }
    if let Some(floats) = list.as_primitive_opt::<Float32Type>() {
        return Some(floats.values().to_vec());
    }
    list.as_primitive_opt::<Float64Type>().map(|floats| floats.values().iter().map(|x| *x as f32).collect())
}

fn value(column: &ArrayRef, row: usize) -> Option<Value> {
    if let Some(list) = list(column, row) {
        return (0..list.len()).map(|item| value(&list, item)).collect::<Option<Vec<_>>>().map(Value::Array);
    }
    scalar(column, row).or_else(|| whole(column, row))
}

fn scalar(column: &ArrayRef, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return Some(Value::Null);
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Some(texts.value(row).into());
    }
    if let Some(texts) = column.as_string_opt::<i64>() {
        return Some(texts.value(row).into());
    }
    if let Some(texts) = column.as_string_view_opt() {
        return Some(texts.value(row).into());
    }
    if let Some(truths) = column.as_boolean_opt() {
        return Some(truths.value(row).into());
    }
    if let Some(days) = column.as_primitive_opt::<Date32Type>() {
        let date = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(days.value(row))).ok()?;
        return Some(date.to_string().into());
    }
    if let Some(time) = time(column, row) {
        return Some(time.into());
    }
    if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
        return Some(floats.value(row).into());
    }
    column.as_primitive_opt::<Float32Type>().map(|floats| f64::from(floats.value(row)).into())
}

/// A time in UTC.
fn time(column: &ArrayRef, row: usize) -> Option<String> {
    macro_rules! first_of {
        ($($kind:ty),*) => { $(if let Some(times) = column.as_primitive_opt::<$kind>() {
            return times.value_as_datetime(row).map(|time| time.to_string());
        })* };
    }
    first_of!(
        TimestampMicrosecondType,
        TimestampMillisecondType,
        TimestampNanosecondType,
        TimestampSecondType
    );
    None
}

fn whole(column: &ArrayRef, row: usize) -> Option<Value> {
    macro_rules! first_of {
        ($($kind:ty),*) => { $(if let Some(numbers) = column.as_primitive_opt::<$kind>() {
            return Some(numbers.value(row).into());
        })* };
    }
    first_of!(Int64Type, Int32Type, Int16Type, Int8Type, UInt64Type, UInt32Type, UInt16Type, UInt8Type);
    None
}
