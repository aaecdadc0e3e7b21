//! Vouchers: how a driver who stays unknown is billed. A home utility signs one-use promises to pay; the wallet spends
//! one with a key that appears nowhere else.
//!
//! ```text
//! wallet: one-time key --> emsp: signs {key, cap, validity}, remembers whose it is        (withdrawn ahead)
//! wallet: signs {session, operator, quote, limit, time} with the one-time key              (at the station)
//! operator: reserves it on the ledger before power, its record spends it                   (up to the limit)
//! ```
//! Here are the values and what is signed of them; signatures are made and checked by whoever has keys. A voucher
//! names no customer: what leads to one is the list that its home utility keeps.
//!
//! Source: paper B ("EVSEO is sure to be paid"); DESIGN.md, "Who sees what".

use crate::codec::{Digest, SignatureBytes, write_hex};
use crate::ids::PartyId;
use crate::money::Money;
use crate::quantity::DurationMs;
use crate::time::UnixMillis;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest validity of a voucher: unspent ones must not pile up at either side.
pub const VALIDITY_MAX: DurationMs = DurationMs::from_millis(60 * 86_400_000);

/// An Ed25519 public key that spends one voucher, shown as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct OneTimeKey(pub [u8; 32]);

impl OneTimeKey {
    /// What stands for the voucher on the ledger and in records.
    #[must_use]
    pub fn nullifier(&self) -> Nullifier {
        Nullifier(Digest::of_parts("eroam/nullifier/1", &[&self.0]))
    }
}

impl fmt::Display for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for OneTimeKey {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let Digest(bytes) = s.parse().map_err(|_| "a one-time key is 64 hexadecimal digits".to_owned())?;
        Ok(Self(bytes))
    }
}

text_serde!(OneTimeKey);

/// SHA-256 of a voucher's one-time key: under it the ledger remembers that the voucher was spent.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Nullifier(pub Digest);

impl fmt::Display for Nullifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Nullifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Nullifier {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        s.parse().map(Self)
    }
}

/// A home utility's promise to pay whoever shows that the holder of the one-time key asked for it, up to the cap.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Voucher {
    /// The network: SHA-256 of its genesis.
    pub network: Digest,
    /// Who pays.
    pub emsp: PartyId,
    /// Which of its voucher keys on the ledger signed, from 0.
    pub key: u32,
    /// Who may spend it.
    pub holder: OneTimeKey,
    /// The most that is paid.
    pub cap: Money,
    /// A quote may be accepted with it from here on.
    pub valid_from: UnixMillis,
    /// The last instant at which a quote may be accepted with it.
    pub valid_until: UnixMillis,
}

impl Voucher {
    /// What the home utility signs.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value("eroam/voucher/1", self)
    }

    /// What stands for it on the ledger.
    #[must_use]
    pub fn nullifier(&self) -> Nullifier {
        self.holder.nullifier()
    }

    /// Whether a quote may be accepted with it at `at`.
    #[must_use]
    pub fn is_valid_at(&self, at: UnixMillis) -> bool {
        (self.valid_from..=self.valid_until).contains(&at)
    }
}

/// A voucher with its home utility's signature, which nobody has checked yet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct SignedVoucher {
    /// The promise.
    pub voucher: Voucher,
    /// Over [`Voucher::digest`].
    pub signature: SignatureBytes,
}

impl SignedVoucher {
    /// What a wallet says before it shows the voucher, so that the proof it makes is bound to it. It hides the voucher:
    /// the one-time key is in it, and nobody else knows that.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        Digest::of_value("eroam/voucher-commitment/1", self)
    }
}

/// What the holder of a voucher agrees to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct VoucherAcceptance {
    /// The session: [`crate::cdr::session_digest`].
    pub session: Digest,
    /// Who is paid.
    pub operator: PartyId,
    /// SHA-256 of the quote.
    pub quote: Digest,
    /// The most that the session may cost, in millionths of the voucher's currency.
    pub limit: i64,
    /// When.
    pub accepted_at: UnixMillis,
}

impl VoucherAcceptance {
    /// What the one-time key signs.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value("eroam/voucher-acceptance/1", self)
    }
}

/// A voucher spent on a session: everything that the ledger needs to reserve it, and a dispute to decide.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct SpentVoucher {
    /// The promise.
    pub voucher: SignedVoucher,
    /// What was agreed to.
    pub acceptance: VoucherAcceptance,
    /// By the one-time key, over [`VoucherAcceptance::digest`].
    pub signature: SignatureBytes,
}

/// Bytes in a nonce of an AnonCreds proof request.
pub const PROOF_NONCE_BYTES: usize = 10;

/// The nonce of a proof that a driver makes for a session: unpredictable by the verifier's `random` 256 bits, and bound
/// to the session, the station's DID, the quote and the voucher that is going to be shown.
#[must_use]
pub fn proof_nonce(
    random: &[u8; 32],
    session: Digest,
    station: &str,
    quote: Digest,
    voucher: Digest,
) -> [u8; PROOF_NONCE_BYTES] {
    let parts: [&[u8]; 5] = [random, &session.0, station.as_bytes(), &quote.0, &voucher.0];
    let Digest(bytes) = Digest::of_parts("eroam/proof-nonce/1", &parts);
    let mut nonce = [0; PROOF_NONCE_BYTES];
    for (slot, byte) in nonce.iter_mut().zip(bytes) {
        *slot = byte;
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{from_bytes, to_bytes};
    use crate::money::Currency;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn spent() -> SpentVoucher {
        let voucher = Voucher {
            network: Digest::of(b"network"),
            emsp: PartyId::new("PT", "EDP").unwrap(),
            key: 3,
            holder: OneTimeKey([7; 32]),
            cap: Money::new(30_000_000, Currency::new("EUR").unwrap()),
            valid_from: at(1_000),
            valid_until: at(2_000),
        };
        SpentVoucher {
            voucher: SignedVoucher { voucher, signature: SignatureBytes([1; 64]) },
            acceptance: VoucherAcceptance {
                session: Digest::of(b"session"),
                operator: PartyId::new("PT", "GLP").unwrap(),
                quote: Digest::of(b"quote"),
                limit: 12_500_000,
                accepted_at: at(1_500),
            },
            signature: SignatureBytes([2; 64]),
        }
    }

    #[test]
    fn it_is_valid_from_its_first_to_its_last_instant() {
        let voucher = spent().voucher.voucher;
        let valid: Vec<bool> = [999, 1_000, 2_000, 2_001].map(|ms| voucher.is_valid_at(at(ms))).into();
        assert_eq!(valid, [false, true, true, false]);
    }

    #[test]
    fn bytes_and_text_go_there_and_back() {
        let spent = spent();
        assert_eq!(from_bytes::<SpentVoucher>(&to_bytes(&spent)), Ok(spent));
        let text = serde_json::to_string(&spent).unwrap();
        assert_eq!(serde_json::from_str::<SpentVoucher>(&text).unwrap(), spent);
        assert!(text.contains(&"07".repeat(32)), "a key is shown as hexadecimal: {text}");
        let odd = text.replace(&"02".repeat(64), "02");
        let error = serde_json::from_str::<SpentVoucher>(&odd).unwrap_err().to_string();
        assert!(error.contains("128 hexadecimal digits"), "{error}");
    }

    #[test]
    fn every_field_is_signed() {
        let SpentVoucher { voucher: SignedVoucher { voucher, .. }, acceptance, .. } = spent();
        let others = [
            Voucher { network: Digest::ZERO, ..voucher },
            Voucher { emsp: acceptance.operator, ..voucher },
            Voucher { key: 4, ..voucher },
            Voucher { holder: OneTimeKey([8; 32]), ..voucher },
            Voucher { cap: Money { micros: 1, ..voucher.cap }, ..voucher },
            Voucher { valid_from: at(1_001), ..voucher },
            Voucher { valid_until: at(2_001), ..voucher },
        ];
        assert!(others.iter().all(|other| other.digest() != voucher.digest()));
        let others = [
            VoucherAcceptance { session: Digest::ZERO, ..acceptance },
            VoucherAcceptance { operator: voucher.emsp, ..acceptance },
            VoucherAcceptance { quote: Digest::ZERO, ..acceptance },
            VoucherAcceptance { limit: 1, ..acceptance },
            VoucherAcceptance { accepted_at: at(1_501), ..acceptance },
        ];
        assert!(others.iter().all(|other| other.digest() != acceptance.digest()));
    }

    #[test]
    fn a_nonce_depends_on_everything_it_binds() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        let nonces = [
            proof_nonce(&[0; 32], a, "did:x", a, a),
            proof_nonce(&[1; 32], a, "did:x", a, a),
            proof_nonce(&[0; 32], b, "did:x", a, a),
            proof_nonce(&[0; 32], a, "did:y", a, a),
            proof_nonce(&[0; 32], a, "did:x", b, a),
            proof_nonce(&[0; 32], a, "did:x", a, b),
        ];
        let distinct: std::collections::BTreeSet<_> = nonces.into_iter().collect();
        assert_eq!(distinct.len(), nonces.len());
    }
}
