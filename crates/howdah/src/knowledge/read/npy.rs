//! NumPy's file of an array: ready-made vectors, a row each.
//!
//! Versions 1 to 3 of the format, little endian `f2`, `f4` and `f8`, C order, two dimensions. Rows come in blocks, so a
//! file of any size is read in bounded memory.

use std::io::{self, Read};

use half::f16;

/// An open array.
pub struct Array<R> {
    input: R,
    kind: Kind,
    /// Rows in the file.
    pub rows: u64,
    /// Numbers in a row.
    pub columns: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F16,
    F32,
    F64,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::F16 => 2,
            Kind::F32 => 4,
            Kind::F64 => 8,
        }
    }
}

impl<R: Read> Array<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub fn open(mut input: R) -> Result<Self, String> {
        let mut start = [0u8; 8];
        input.read_exact(&mut start).map_err(|_| "it is too short for a NumPy file".to_owned())?;
        if &start[..6] != b"\x93NUMPY" {
            return Err("it is no NumPy file".to_owned());
        }
        let length = match start[6] {
            1 => u32::from(u16::from_le_bytes(exact(&mut input)?)),
            2 | 3 => u32::from_le_bytes(exact(&mut input)?),
            version => return Err(format!("version {version} of NumPy's format is unknown")),
        };
        if length > 1 << 20 {
            return Err(format!("its header claims {length} bytes"));
        }
        let mut header = vec![0u8; length as usize];
        input.read_exact(&mut header).map_err(|_| "its header is cut off".to_owned())?;
        let header = String::from_utf8_lossy(&header);
        let kind = kind(&header)?;
        let (rows, columns) = shape(&header)?;
        Ok(Array { input, kind, rows, columns })
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.columns * self.kind.bytes()
    }

    /// The bytes of the next `rows` rows, to be read with [`Array::numbers`].
    ///
    /// # Errors
    /// When the file is cut off or cannot be read.
    pub fn block(&mut self, rows: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0u8; rows * self.row_bytes()];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The numbers of a row's bytes.
    pub fn numbers(&self, row: &[u8]) -> Vec<f32> {
        match self.kind {
            Kind::F16 => row.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Kind::F32 => row.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Kind::F64 => row
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
                .collect(),
        }
    }
}

fn exact<const N: usize>(input: &mut impl Read) -> Result<[u8; N], String> {
    let mut bytes = [0u8; N];
    input.read_exact(&mut bytes).map_err(|_| "its header is cut off".to_owned())?;
    Ok(bytes)
}

/// The text after `'key':` in the header, a Python literal of which NumPy writes one form.
fn after<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let quoted = format!("'{key}':");
    header
        .split_once(&quoted)
        .map(|(_, rest)| rest.trim_start())
        .ok_or_else(|| format!("its header has no `{key}`"))
}

fn kind(header: &str) -> Result<Kind, String> {
    let text = after(header, "descr")?;
    let name = text.strip_prefix('\'').and_then(|rest| rest.split('\'').next()).unwrap_or("a structure");
    let kind = match name {
        "<f2" => Kind::F16,
        "<f4" => Kind::F32,
        "<f8" => Kind::F64,
        other => {
            return Err(format!(
                "it holds `{other}`; Howdah reads little-endian floats: `<f2`, `<f4`, `<f8`"
            ));
        }
    };
    if !after(header, "fortran_order")?.starts_with("False") {
        return Err("it is in Fortran order; save it with numpy.ascontiguousarray".to_owned());
    }
    Ok(kind)
}

fn shape(header: &str) -> Result<(u64, usize), String> {
    let text = after(header, "shape")?;
    let inner =
        text.strip_prefix('(').and_then(|rest| rest.split(')').next()).ok_or("its shape is no tuple")?;
    let sizes: Vec<&str> = inner.split(',').map(str::trim).filter(|size| !size.is_empty()).collect();
    match sizes.as_slice() {
        [rows, columns] => match (rows.parse(), columns.parse()) {
            (Ok(rows), Ok(columns)) if columns > 0 && columns <= 1 << 20 => Ok((rows, columns)),
            _ => Err(format!("its shape ({inner}) makes no sense")),
        },
        _ => Err(format!("its shape is ({inner}); a row a vector is expected: (rows, dimensions)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as NumPy writes it.
    pub fn file(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn the_three_widths_are_read() {
        let numbers = [1.5f64, -2.0];
        let wide: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let single: Vec<u8> = numbers.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
        let half: Vec<u8> = numbers.iter().flat_map(|x| f16::from_f64(*x).to_le_bytes()).collect();
        for (descr, data) in [("<f8", wide), ("<f4", single), ("<f2", half)] {
            let bytes = file(descr, "False", "(1, 2)", &data);
            let mut array = Array::open(&bytes[..]).unwrap();
            assert_eq!((array.rows, array.columns), (1, 2));
            let block = array.block(1).unwrap();
            assert_eq!(array.numbers(&block), [1.5, -2.0]);
            assert!(array.block(1).is_err(), "one row only");
        }
    }

    #[test]
    fn whatever_else_is_refused_in_one_sentence() {
        for (bytes, part) in [
            (file("<i4", "False", "(1, 2)", &[]), "<i4"),
            (file(">f4", "False", "(1, 2)", &[]), ">f4"),
            (file("<f4", "True", "(1, 2)", &[]), "Fortran"),
            (file("<f4", "False", "(2,)", &[]), "(2,)"),
            (file("<f4", "False", "(2, 0)", &[]), "no sense"),
            (b"\x93NUMPY\x01".to_vec(), "too short"),
            (b"PK\x03\x04aaaaaaaaa".to_vec(), "no NumPy"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "claims"),
        ] {
            let reason = Array::open(&bytes[..]).err().unwrap();
            assert!(reason.contains(part), "{reason}");
        }
    }
}
