//! Instruction-set tiers: which SIMD token the kernels of this process run on.
//!
//! A [`Tier`] is chosen once per process and handed to every kernel. Kernels never ask the CPU
//! themselves; the [`dispatch!`](crate::dispatch) macro turns a tier into a token, and refuses a
//! tier that the CPU cannot run.

use std::fmt;
use std::str::FromStr;

/// Environment variable that forces a tier: `scalar`, `scalar16`, `avx2` or `avx512`.
pub const TIER_VARIABLE: &str = "ARGAND_TIER";

/// An instruction-set tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Plain arrays of 8 lanes; runs anywhere.
    Scalar,
    /// Plain arrays of 16 lanes; runs anywhere. It exists to test the layouts of [`Tier::Avx512`]
    /// on machines without it, and is never detected, only forced.
    Scalar16,
    /// AVX2, FMA and F16C: 8 lanes.
    Avx2,
    /// AVX-512 F, BW, DQ, VL, VNNI and VBMI: 16 lanes.
    Avx512,
}

/// Why a tier could not be chosen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// The name is not a tier.
    #[error("`{found}` is not an instruction tier: use scalar, scalar16, avx2 or avx512")]
    Unknown {
        /// What was found.
        found: String,
    },
    /// The tier is known, but this CPU lacks its instructions.
    #[error("this CPU cannot run tier `{tier}`: its best tier is `{best}`")]
    Unsupported {
        /// The tier asked for.
        tier: Tier,
        /// The best tier of this CPU.
        best: Tier,
    },
}

impl Tier {
    /// Every tier, from the simplest to the fastest.
    pub const ALL: [Tier; 4] = [Tier::Scalar, Tier::Scalar16, Tier::Avx2, Tier::Avx512];

    /// The fastest tier of this CPU.
    pub fn detect() -> Tier {
        match () {
            () if Tier::Avx512.is_supported() => Tier::Avx512,
            () if Tier::Avx2.is_supported() => Tier::Avx2,
            () => Tier::Scalar,
        }
    }

    /// The tier named by [`TIER_VARIABLE`], or the fastest one when the variable is unset or empty.
    ///
    /// # Errors
    /// The name is unknown, or the CPU lacks the tier.
    pub fn from_env_or_detect() -> Result<Tier, TierError> {
        match std::env::var_os(TIER_VARIABLE) {
            Some(name) if !name.is_empty() => name.to_string_lossy().parse(),
            _ => Ok(Tier::detect()),
        }
    }

    /// The tiers that this CPU can run, emulated ones included: what tests iterate over.
    pub fn supported() -> impl Iterator<Item = Tier> {
        Tier::ALL.into_iter().filter(|tier| tier.is_supported())
    }

    /// Whether this CPU can run the tier. After the first call this costs one load.
    #[inline]
    pub fn is_supported(self) -> bool {
        match self {
            Tier::Scalar | Tier::Scalar16 => true,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => crate::simd::Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => crate::simd::Avx512::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Avx2 | Tier::Avx512 => false,
        }
    }

    /// `f32` lanes of one vector.
    pub const fn lanes(self) -> usize {
        match self {
            Tier::Scalar | Tier::Avx2 => 8,
            Tier::Scalar16 | Tier::Avx512 => 16,
        }
    }

    /// The name that [`TIER_VARIABLE`] takes and that reports print.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Scalar16 => "scalar16",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Tier {
    type Err = TierError;

    fn from_str(name: &str) -> Result<Tier, TierError> {
        let tier = Tier::ALL
            .into_iter()
            .find(|tier| tier.name() == name)
            .ok_or_else(|| TierError::Unknown { found: name.to_owned() })?;
        match tier.is_supported() {
            true => Ok(tier),
            false => Err(TierError::Unsupported { tier, best: Tier::detect() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_or_say_why_not() {
        for tier in Tier::ALL {
            match tier.name().parse() {
                Ok(parsed) => assert_eq!((parsed, tier.is_supported()), (tier, true)),
                Err(error) => {
                    assert_eq!(error, TierError::Unsupported { tier, best: Tier::detect() })
                }
            }
        }
        assert_eq!("sse9".parse::<Tier>(), Err(TierError::Unknown { found: "sse9".into() }));
    }

    #[test]
    fn the_detected_tier_is_supported() {
        assert!(Tier::detect().is_supported());
    }
}
