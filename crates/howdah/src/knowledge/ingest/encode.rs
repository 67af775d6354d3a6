//! Rows as PostgreSQL's binary COPY has them.

use bytes::{BufMut, Bytes, BytesMut};
use half::f16;

use super::plan::{Change, Row};
use super::writable::{Role, WritableTable};

/// A message to the server holds about so many bytes.
const MESSAGE: usize = 256 << 10;
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Collects rows into messages.
pub struct Copy {
    buffer: BytesMut,
    full: Vec<Bytes>,
    rows: u64,
}

impl Default for Copy {
    fn default() -> Self {
        let mut buffer = BytesMut::with_capacity(MESSAGE + (16 << 10));
        buffer.put_slice(HEADER);
        Copy { buffer, full: Vec::new(), rows: 0 }
    }
}

impl Copy {
    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Begins a row of so many columns.
    pub fn begin(&mut self, columns: usize) {
        if self.buffer.len() >= MESSAGE {
            self.full.push(self.buffer.split().freeze());
            self.buffer.reserve(MESSAGE + (16 << 10));
        }
        self.rows += 1;
        self.buffer.put_i16(columns as i16);
    }

    /// A value of so many bytes follows.
    fn value(&mut self, length: usize) {
        self.buffer.put_i32(length as i32);
    }

    /// NULL, or bytes.
    pub fn bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.buffer.put_i32(-1),
            Some(bytes) => {
                self.value(bytes.len());
                self.buffer.put_slice(bytes);
            }
        }
    }

    /// A vector, as pgvector has it: dimensions, an unused number, the components.
    pub fn vector(&mut self, vector: &[f32], half: bool) {
        let width = if half { 2 } else { 4 };
        self.value(4 + vector.len() * width);
        self.buffer.put_u16(vector.len() as u16);
        self.buffer.put_u16(0);
        let start = self.buffer.len();
        self.buffer.resize(start + vector.len() * width, 0);
        let places = self.buffer[start..].chunks_exact_mut(width).zip(vector);
        if half {
            places.for_each(|(there, x)| there.copy_from_slice(&f16::from_f32(*x).to_be_bytes()));
        } else {
            places.for_each(|(there, x)| there.copy_from_slice(&x.to_be_bytes()));
        }
    }

    /// The messages; none when there are no rows.
    pub fn finish(mut self) -> Vec<Bytes> {
        if self.rows == 0 {
            return Vec::new();
        }
        self.buffer.put_i16(-1);
        self.full.push(self.buffer.freeze());
        self.full
    }
}

/// A row of the collection's table.
pub(super) fn row(copy: &mut Copy, target: &WritableTable, source: &str, row: &Row) {
    copy.begin(target.columns.len());
    for column in &target.columns {
        match column.role {
            Role::Source => copy.bytes(Some(source.as_bytes())),
            Role::Chunk => match column.kind.as_str() {
                "int2" => copy.bytes(Some(&(row.chunk as i16).to_be_bytes())),
                "int8" => copy.bytes(Some(&i64::from(row.chunk).to_be_bytes())),
                _ => copy.bytes(Some(&row.chunk.to_be_bytes())),
            },
            Role::Title => copy.bytes(row.title.as_deref().map(str::as_bytes)),
            Role::Content => copy.bytes(Some(row.content.as_bytes())),
            Role::Hash => copy.bytes(Some(&row.hash)),
            Role::Metadata if column.kind == "jsonb" => {
                copy.value(1 + row.metadata.len());
                // The one version of jsonb's binary format there is.
                copy.buffer.put_u8(1);
                copy.buffer.put_slice(row.metadata.as_bytes());
            }
            Role::Metadata => copy.bytes(Some(row.metadata.as_bytes())),
            Role::Field(number) => copy.bytes(row.fields.get(number).and_then(Option::as_deref)),
            Role::Embedding => match &row.embedding {
                Some(vector) => copy.vector(vector, target.half),
                None => copy.bytes(None),
            },
        }
    }
}

/// A row of `howdah.sources`.
pub(super) fn source(copy: &mut Copy, collection: &str, change: &Change) {
    copy.begin(5);
    copy.bytes(Some(collection.as_bytes()));
    copy.bytes(Some(change.source.as_bytes()));
    copy.bytes(Some(&change.hash));
    copy.bytes(Some(&change.rows.to_be_bytes()));
    copy.bytes(Some(change.file.as_deref().unwrap_or_default().as_bytes()));
}
