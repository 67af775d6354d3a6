//! What every implementation of the inner loops has to do, and the layout of what it reads.

/// Codes in a block: what one pass of a scan kernel compares.
pub const LANES: usize = 32;
/// Greatest entry of a coarse look-up table: four of them fit in a byte.
pub const COARSE_MAX: u8 = 63;

/// A block of sign codes with its factors, as it lies on a page. All slices are little-endian.
#[derive(Clone, Copy, Debug)]
pub struct ScanBlock<'a> {
    /// `width / 4` rows of 16 bytes. Row g holds the signs of dimensions 4g..4g+4: byte v has those of code v in its
    /// low and those of code v + 16 in its high half.
    pub codes: &'a [u8],
    /// 32 × f32.
    pub add: &'a [u8],
    /// 32 × bf16.
    pub scale: &'a [u8],
    /// 32 × bf16.
    pub error: &'a [u8],
}

/// What a query brings to a block: estimate of code v is
/// `base + add[v] + scale[v] · (step · sum[v] + shift)`, and its lower bound is that less `error[v] · slack`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScanTerms {
    /// Part of the distance that is the same for the whole list.
    pub base: f32,
    /// Value of one unit of the sums.
    pub step: f32,
    /// Value of the sum 0.
    pub shift: f32,
    /// Factor of the error terms.
    pub slack: f32,
    /// Codes whose lower bound is not below this are dropped.
    pub threshold: f32,
}

/// Codes, the two halves of a query, room for the products.
type DotEach = fn(&[u8], &[i8], &[i8], &mut [i32]);

/// One implementation of every inner loop.
pub struct Kernels {
    /// The instruction set.
    pub name: &'static str,
    /// Inner product of two slices of equal length.
    pub dot: fn(&[f32], &[f32]) -> f32,
    /// Squared Euclidean distance of two slices of equal length.
    pub l2_squared: fn(&[f32], &[f32]) -> f32,
    /// Inner products of one vector with four others, all of equal length.
    pub dot4: fn(&[f32], [&[f32]; 4]) -> [f32; 4],
    /// Fast Hadamard transform in place (length a power of two, at least 2), then every value times the factor.
    pub hadamard: fn(&mut [f32], f32),
    /// Sums of look-up table entries over a block's codes: table `rows × 16` entries of at most [`COARSE_MAX`],
    /// codes `rows × 16` bytes.
    pub sums_coarse: fn(&[u8], &[u8], &mut [u32; LANES]),
    /// The same with entries up to 255.
    pub sums_fine: fn(&[u8], &[u8], &mut [u32; LANES]),
    /// `sums_coarse`, then the mask of codes whose lower bound is below the threshold. The mask never has a code whose
    /// bound is a NaN. [`super::scalar::estimate`] makes an estimate of a sum.
    pub scan: fn(&ScanBlock<'_>, &[u8], &ScanTerms, &mut [u32; LANES]) -> u32,
    /// Σ code · query over packed 4-bit codes: byte i holds a code for `low[i]` in its low and one for `high[i]` in
    /// its high half. All slices have equal length, a multiple of 16.
    pub dot_nibbles: fn(&[u8], &[i8], &[i8]) -> i32,
    /// The same for vector after vector of codes that follow each other.
    pub dot_nibbles_each: DotEach,
    /// Σ code · query over packed 3-bit codes: chunks of 48 bytes for 128 dimensions. Of the first 32 bytes, byte
    /// 16h + i has the lower two bits of dimensions 64h + 16j + i for j in 0..4, from its lowest bits up; bit j of byte
    /// 32 + i is the upper bit of dimension 16j + i. The query has 128 values a chunk.
    pub dot_triples: fn(&[u8], &[i8]) -> i32,
}
