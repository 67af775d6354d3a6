//! Query vectors from `.npy` files.

use std::path::Path;

use howdah_plan::problem::{Kind, Problem};

/// Reads query vectors from an `.npy` file of two dimensions, `float32` or `float16`, in row order.
///
/// # Errors
/// `usage` when the file is not one.
pub fn read_npy(path: &Path) -> Result<Vec<Vec<f32>>, Problem> {
    let wrong = |why: &str| {
        Problem::new(Kind::Usage, format!("`{}` is not a table of query vectors", path.display()))
            .detail(why.to_owned())
            .hint("Give an .npy file of two dimensions, float32 or float16, in C order.")
    };
    let bytes = std::fs::read(path).map_err(|e| wrong(&e.to_string()))?;
    if bytes.len() < 12 || !bytes.starts_with(b"\x93NUMPY") {
        return Err(wrong("the magic bytes are missing"));
    }
    let (start, length) = if bytes[6] == 1 {
        (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]])))
    } else {
        (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize)
    };
    let header =
        bytes.get(start..start + length).map(String::from_utf8_lossy).ok_or_else(|| wrong("cut short"))?;
    let shape = header.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default();
    let shape: Vec<usize> = shape.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let [rows, dimensions] = shape[..] else { return Err(wrong("it does not have two dimensions")) };
    let size = match () {
        () if header.contains("'<f4'") => 4,
        () if header.contains("'<f2'") => 2,
        () => return Err(wrong("its numbers are neither float32 nor float16")),
    };
    let data = &bytes[start + length..];
    if header.contains("'fortran_order': True") || dimensions == 0 || data.len() < rows * dimensions * size {
        return Err(wrong("its order or its length does not fit"));
    }
    let number = |raw: &[u8]| match *raw {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b] => half::f16::from_le_bytes([a, b]).to_f32(),
        _ => 0.0,
    };
    let table = data.chunks_exact(dimensions * size).take(rows);
    Ok(table.map(|row| row.chunks_exact(size).map(number).collect()).collect())
}
