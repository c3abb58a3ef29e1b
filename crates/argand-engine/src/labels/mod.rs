//! From scores of frames to labels: connectionist temporal classification and conditional random fields.

pub mod crf;
pub mod ctc;

/// `ln(e^a + e^b)`, also where one of them is nothing.
fn add(a: f64, b: f64) -> f64 {
    let (most, least) = if a > b { (a, b) } else { (b, a) };
    if most == f64::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}
