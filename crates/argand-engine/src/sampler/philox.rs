//! Random numbers without a state: Philox4x32-10, a bijection of a counter under a key.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). A number depends only on
//! (seed, stream, position), so what other sequences do, and how work is cut into steps, cannot change a draw.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds of Philox4x32.
pub fn philox4x32_10(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    let split = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for _ in 0..10 {
        let (hi0, lo0) = split(MULTIPLIERS[0], c[0]);
        let (hi1, lo1) = split(MULTIPLIERS[1], c[2]);
        c = [hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// The uniform number in `[0, 1)` (53 bits) that belongs to `position` of `stream` under `seed`.
pub fn uniform(seed: u64, stream: u64, position: u64) -> f64 {
    let counter = [position as u32, (position >> 32) as u32, stream as u32, (stream >> 32) as u32];
    let [a, b, ..] = philox4x32_10(counter, [seed as u32, (seed >> 32) as u32]);
    let bits = (u64::from(a) << 32 | u64::from(b)) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the paper's reference implementation (Random123, `kat_vectors`).
    #[test]
    fn known_answers() {
        let cases: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn uniform_fills_the_unit_interval_and_separates_its_keys() {
        let mean = (0..4096).map(|p| uniform(1, 2, p)).sum::<f64>() / 4096.0;
        // Five standard errors of a mean of 4096 uniforms.
        assert!((mean - 0.5).abs() < 5.0 / (12.0f64 * 4096.0).sqrt(), "{mean}");
        let draws =
            [uniform(1, 2, 3), uniform(2, 2, 3), uniform(1, 3, 3), uniform(1, 2, 4), uniform(1, 2, 3 + (1 << 32))];
        for (i, a) in draws.iter().enumerate() {
            assert!((0.0..1.0).contains(a) && draws[..i].iter().all(|b| a != b));
        }
    }
}
