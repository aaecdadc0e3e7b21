//! How much work a guess at the passphrase is.

use super::error::VaultError;
use std::ops::RangeInclusive;

/// The cost of Argon2id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// 19 MiB, two passes, one lane: what OWASP's password storage cheat sheet asks for.
    pub const USUAL: Self = Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
    /// Memory in KiB: 8 MiB to 256 MiB, which a telephone has.
    pub const MEMORY_KIB: RangeInclusive<u32> = 8 * 1024..=256 * 1024;
    /// Passes over the memory.
    pub const PASSES: RangeInclusive<u32> = 1..=8;
    /// Lanes.
    pub const LANES: RangeInclusive<u32> = 1..=4;

    /// A cost within the bounds.
    ///
    /// # Errors
    /// [`VaultError::Cost`].
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, VaultError> {
        let table = [
            ("memory in KiB", memory_kib, Self::MEMORY_KIB),
            ("passes", passes, Self::PASSES),
            ("lanes", lanes, Self::LANES),
        ];
        for (what, found, bounds) in table {
            if !bounds.contains(&found) {
                return Err(VaultError::Cost { what, found, min: *bounds.start(), max: *bounds.end() });
            }
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// Memory in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes.
    #[must_use]
    pub const fn lanes(self) -> u32 {
        self.lanes
    }
}
