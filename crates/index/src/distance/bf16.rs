//! The 16-bit numbers that pages keep: the upper half of an `f32`.

/// bf16 of a number, rounded to nearest; NaN stays NaN.
#[must_use]
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    // Never rounds up to infinity: a factor that large is kept at the greatest finite value.
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    if value.is_finite() && rounded & 0x7F80_0000 == 0x7F80_0000 {
        return (bits >> 16) as u16;
    }
    (rounded >> 16) as u16
}

/// The number that a bf16 stands for.
#[must_use]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
