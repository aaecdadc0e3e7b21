//! Vouchers and the keys that spend them.
//!
//! ```text
//! withdraw: new one-time keys ──► home utility signs ──► deposit: checked, kept ──► spend: once, at one station
//!                      └─ what came is over, or nothing came ──► give up: the key is forgotten
//! ```
//! A key is used for one voucher, and a voucher for one session: whoever sees two sessions sees nothing that they share.
//! A voucher that was shown to a station is spent, whatever came of it: the key has signed.

use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{Nullifier, OneTimeKey, SignedVoucher, SpentVoucher, VoucherAcceptance};
use eroam_ssi::did::VerificationKey;
use eroam_ssi::didcomm::{CryptoRngCore, SigningKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zeroize::{Zeroize as _, Zeroizing};

/// So many keys may wait for their vouchers.
pub const WITHDRAWN_MAX: usize = 256;
/// So many vouchers are kept.
pub const VOUCHERS_MAX: usize = 4_096;

/// Why a voucher is not taken into the purse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DepositError {
    /// Its key was not made here.
    #[error("voucher {0} is for a key that this wallet did not make")]
    ForeignKey(Nullifier),
    /// It is of another network.
    #[error("voucher {0} is of another network")]
    OtherNetwork(Nullifier),
    /// Another provider promises to pay.
    #[error("voucher {nullifier} is by {found}, expected {expected}")]
    OtherProvider {
        /// Which.
        nullifier: Nullifier,
        /// Whose contract it is.
        expected: PartyId,
        /// Who made it.
        found: PartyId,
    },
    /// The provider's key did not sign it.
    #[error("voucher {0} is not signed by its provider: withdraw again")]
    Forged(Nullifier),
    /// It pays nothing, whenever it is shown.
    #[error("voucher {0} pays nothing")]
    Worthless(Nullifier),
    /// Its time was over before it came.
    #[error("voucher {0} was over before it came")]
    Over(Nullifier),
    /// The purse is full.
    #[error("the purse holds {VOUCHERS_MAX} vouchers: spend some first")]
    Full,
}

/// Why nothing is spent or withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurseError {
    /// No such voucher, or it was spent.
    #[error("voucher {0} is not in the purse, or was spent")]
    NotThere(Nullifier),
    /// More keys than may wait.
    #[error("{wanted} vouchers are too many to withdraw at once: at most {WITHDRAWN_MAX} may be under way")]
    TooMany {
        /// How many would be under way.
        wanted: usize,
    },
    /// The limit is not one that the voucher pays.
    #[error("the limit of {limit} millionths is not between 1 and the voucher's {cap}")]
    Limit {
        /// The limit.
        limit: i64,
        /// The cap.
        cap: i64,
    },
    /// It is not valid then.
    #[error("voucher {0} is not valid at that time")]
    NotValid(Nullifier),
    /// The stored purse cannot be read.
    #[error("the stored purse cannot be read: {0}")]
    Malformed(String),
}

/// A voucher in the purse.
struct Kept {
    voucher: SignedVoucher,
    key: SigningKey,
}

/// The vouchers of one contract.
#[derive(Default)]
pub struct Purse {
    /// Keys whose vouchers have not come.
    withdrawn: BTreeMap<OneTimeKey, SigningKey>,
    kept: BTreeMap<Nullifier, Kept>,
}

impl std::fmt::Debug for Purse {
    /// How many, and not which.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Purse({} vouchers, {} under way)", self.kept.len(), self.withdrawn.len())
    }
}

/// A one-time key as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    seed: Digest,
    voucher: Option<SignedVoucher>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.seed.0.zeroize();
    }
}

impl Purse {
    /// An empty purse.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes keys to withdraw vouchers for. They are kept until the vouchers come.
    ///
    /// # Errors
    /// [`PurseError::TooMany`].
    pub fn withdraw(
        &mut self,
        count: usize,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<OneTimeKey>, PurseError> {
        let wanted = self.withdrawn.len().saturating_add(count);
        if wanted > WITHDRAWN_MAX {
            return Err(PurseError::TooMany { wanted });
        }
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            let key = SigningKey::generate(rng);
            let public = OneTimeKey(*key.verification_key().as_bytes());
            self.withdrawn.insert(public, key);
            keys.push(public);
        }
        Ok(keys)
    }

    /// Keys that were made and whose vouchers have not come: to ask again after an answer was lost.
    pub fn under_way(&self) -> impl Iterator<Item = OneTimeKey> {
        self.withdrawn.keys().copied()
    }

    /// Forgets which of these keys still wait, since nothing that pays is going to come for them: a home utility gives the
    /// same voucher for the same key, however late. Gives how many that were.
    pub fn give_up(&mut self, keys: &[OneTimeKey]) -> usize {
        keys.iter().filter(|key| self.withdrawn.remove(key).is_some()).count()
    }

    /// Takes a voucher that came, if it is what was asked for. `provider` is the key with which the ledger says that
    /// `emsp` signs vouchers.
    ///
    /// # Errors
    /// [`DepositError`]; the key goes on waiting, until it is [given up](Self::give_up).
    pub fn deposit(
        &mut self,
        signed: SignedVoucher,
        network: Digest,
        emsp: PartyId,
        provider: &VerificationKey,
        now: UnixMillis,
    ) -> Result<(), DepositError> {
        let voucher = signed.voucher;
        let nullifier = voucher.nullifier();
        if self.kept.get(&nullifier).is_some_and(|kept| kept.voucher == signed) {
            return Ok(());
        }
        if !self.withdrawn.contains_key(&voucher.holder) {
            return Err(DepositError::ForeignKey(nullifier));
        }
        if voucher.network != network {
            return Err(DepositError::OtherNetwork(nullifier));
        }
        if voucher.emsp != emsp {
            let (expected, found) = (emsp, voucher.emsp);
            return Err(DepositError::OtherProvider { nullifier, expected, found });
        }
        if !provider.verifies(&voucher.digest().0, &signed.signature.0) {
            return Err(DepositError::Forged(nullifier));
        }
        if voucher.cap.micros <= 0 || voucher.valid_until < voucher.valid_from {
            return Err(DepositError::Worthless(nullifier));
        }
        if voucher.valid_until < now {
            return Err(DepositError::Over(nullifier));
        }
        if self.kept.len() >= VOUCHERS_MAX {
            return Err(DepositError::Full);
        }
        if let Some(key) = self.withdrawn.remove(&voucher.holder) {
            self.kept.insert(nullifier, Kept { voucher: signed, key });
        }
        Ok(())
    }

    /// The vouchers that are there.
    pub fn vouchers(&self) -> impl Iterator<Item = &SignedVoucher> {
        self.kept.values().map(|kept| &kept.voucher)
    }

    /// The voucher to use for an amount in millionths: the smallest that pays it, of these the one that ends first, and
    /// of these in an order that nobody else can see: by their public keys, each would say how many came before it.
    #[must_use]
    pub fn choose(&self, at: UnixMillis, amount: i64) -> Option<&SignedVoucher> {
        let order = |key: &SigningKey| Digest::of_parts("eroam/purse-order/1", &[&*key.to_seed()]);
        self.kept
            .values()
            .filter(|kept| {
                let voucher = &kept.voucher.voucher;
                voucher.is_valid_at(at) && voucher.cap.micros >= amount
            })
            .min_by_key(|kept| {
                let voucher = &kept.voucher.voucher;
                (voucher.cap.micros, voucher.valid_until, order(&kept.key))
            })
            .map(|kept| &kept.voucher)
    }

    /// What can be spent at `at`, by currency.
    #[must_use]
    pub fn value_at(&self, at: UnixMillis) -> Vec<Money> {
        let mut sums: BTreeMap<_, i64> = BTreeMap::new();
        for signed in self.vouchers().filter(|signed| signed.voucher.is_valid_at(at)) {
            let sum = sums.entry(signed.voucher.cap.currency).or_default();
            *sum = sum.checked_add(signed.voucher.cap.micros).unwrap_or(i64::MAX);
        }
        sums.into_iter().map(|(currency, micros)| Money { micros, currency }).collect()
    }

    /// Spends a voucher: its key signs what is agreed to, and is forgotten.
    ///
    /// # Errors
    /// [`PurseError`]; the voucher is still there, but for [`PurseError::NotThere`].
    pub fn spend(
        &mut self,
        nullifier: Nullifier,
        acceptance: VoucherAcceptance,
    ) -> Result<SpentVoucher, PurseError> {
        let kept = self.kept.get(&nullifier).ok_or(PurseError::NotThere(nullifier))?;
        let voucher = kept.voucher.voucher;
        let (limit, cap) = (acceptance.limit, voucher.cap.micros);
        if limit < 1 || limit > cap {
            return Err(PurseError::Limit { limit, cap });
        }
        if !voucher.is_valid_at(acceptance.accepted_at) {
            return Err(PurseError::NotValid(nullifier));
        }
        let Some(Kept { voucher, key }) = self.kept.remove(&nullifier) else {
            return Err(PurseError::NotThere(nullifier));
        };
        let signature = SignatureBytes(key.sign(&acceptance.digest().0));
        Ok(SpentVoucher { voucher, acceptance, signature })
    }

    /// Forgets a voucher of which is known that it was spent elsewhere; says whether it was there.
    pub fn forget(&mut self, nullifier: Nullifier) -> bool {
        self.kept.remove(&nullifier).is_some()
    }

    /// Forgets the vouchers that a home utility signed with a key that it has revoked; gives how many that were.
    pub fn forget_signed_with(&mut self, emsp: PartyId, key: u32) -> usize {
        let before = self.kept.len();
        self.kept.retain(|_, kept| (kept.voucher.voucher.emsp, kept.voucher.voucher.key) != (emsp, key));
        before.saturating_sub(self.kept.len())
    }

    /// Forgets what is over; gives how many vouchers that were.
    pub fn forget_over(&mut self, now: UnixMillis) -> usize {
        let before = self.kept.len();
        self.kept.retain(|_, kept| kept.voucher.voucher.valid_until >= now);
        before.saturating_sub(self.kept.len())
    }

    /// Writes the purse for the wallet's encrypted file: whoever reads it spends it.
    ///
    /// # Errors
    /// [`PurseError::Malformed`].
    pub fn export_secret(&self) -> Result<Zeroizing<Vec<u8>>, PurseError> {
        let seed = |key: &SigningKey| Digest(*key.to_seed());
        let waiting = self.withdrawn.values().map(|key| Stored { seed: seed(key), voucher: None });
        let kept =
            self.kept.values().map(|kept| Stored { seed: seed(&kept.key), voucher: Some(kept.voucher) });
        let all: Vec<Stored> = waiting.chain(kept).collect();
        // Written in one go into room enough, so that no buffer grows and leaves seeds behind.
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(all.len().saturating_mul(1_024).saturating_add(16)));
        serde_json::to_writer(&mut *bytes, &all).map_err(|error| PurseError::Malformed(error.to_string()))?;
        Ok(bytes)
    }

    /// Reads what [`Purse::export_secret`] wrote.
    ///
    /// # Errors
    /// [`PurseError::Malformed`].
    pub fn import_secret(bytes: &[u8]) -> Result<Self, PurseError> {
        let all: Vec<Stored> =
            serde_json::from_slice(bytes).map_err(|error| PurseError::Malformed(error.to_string()))?;
        if all.len() > VOUCHERS_MAX.saturating_add(WITHDRAWN_MAX) {
            return Err(PurseError::Malformed(format!("{} entries", all.len())));
        }
        let mut purse = Self::new();
        for stored in &all {
            let key = SigningKey::from_seed(&stored.seed.0);
            let public = OneTimeKey(*key.verification_key().as_bytes());
            match stored.voucher {
                None => drop(purse.withdrawn.insert(public, key)),
                Some(voucher) if voucher.voucher.holder == public => {
                    purse.kept.insert(public.nullifier(), Kept { voucher, key });
                }
                Some(_) => return Err(PurseError::Malformed("a voucher beside another's key".to_owned())),
            }
        }
        Ok(purse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::money::Currency;
    use eroam_domain::voucher::Voucher;
    use eroam_ssi::didcomm::OsRng;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn emsp() -> PartyId {
        "PT-LUZ".parse().unwrap()
    }

    fn provider() -> SigningKey {
        SigningKey::from_seed(&[9; 32])
    }

    fn promise(holder: OneTimeKey, micros: i64, until: i64) -> Voucher {
        Voucher {
            network: Digest::ZERO,
            emsp: emsp(),
            key: 0,
            holder,
            cap: Money::new(micros, Currency::new("EUR").unwrap()),
            valid_from: at(0),
            valid_until: at(until),
        }
    }

    fn sign(voucher: Voucher) -> SignedVoucher {
        SignedVoucher { voucher, signature: SignatureBytes(provider().sign(&voucher.digest().0)) }
    }

    fn deposit(purse: &mut Purse, signed: SignedVoucher) -> Result<(), DepositError> {
        purse.deposit(signed, Digest::ZERO, emsp(), &provider().verification_key(), at(10))
    }

    /// A purse with vouchers of these caps and ends.
    fn filled(of: &[(i64, i64)]) -> (Purse, Vec<Nullifier>) {
        let mut purse = Purse::new();
        let keys = purse.withdraw(of.len(), &mut OsRng).unwrap();
        for (key, (cap, until)) in keys.iter().zip(of) {
            deposit(&mut purse, sign(promise(*key, *cap, *until))).unwrap();
        }
        (purse, keys.iter().map(OneTimeKey::nullifier).collect())
    }

    fn acceptance(limit: i64, ms: i64) -> VoucherAcceptance {
        let operator = "PT-GLP".parse().unwrap();
        VoucherAcceptance { session: Digest::ZERO, operator, quote: Digest::ZERO, limit, accepted_at: at(ms) }
    }

    #[test]
    fn only_what_was_asked_for_and_signed_is_taken() {
        let mut purse = Purse::new();
        let key = purse.withdraw(1, &mut OsRng).unwrap()[0];
        let good = promise(key, 5_000_000, 100);
        let nullifier = good.nullifier();
        let foreign = promise(OneTimeKey([1; 32]), 5, 100);
        let other: PartyId = "PT-GLP".parse().unwrap();
        let table = [
            (sign(foreign), DepositError::ForeignKey(foreign.nullifier())),
            (sign(Voucher { network: Digest::of(b"x"), ..good }), DepositError::OtherNetwork(nullifier)),
            (
                sign(Voucher { emsp: other, ..good }),
                DepositError::OtherProvider { nullifier, expected: emsp(), found: other },
            ),
            (
                SignedVoucher { signature: SignatureBytes([0; 64]), ..sign(good) },
                DepositError::Forged(nullifier),
            ),
            (
                SignedVoucher {
                    voucher: Voucher { cap: Money { micros: 6_000_000, ..good.cap }, ..good },
                    ..sign(good)
                },
                DepositError::Forged(nullifier),
            ),
            (sign(promise(key, 0, 100)), DepositError::Worthless(nullifier)),
            (sign(Voucher { valid_from: at(51), ..promise(key, 5, 50) }), DepositError::Worthless(nullifier)),
            (sign(promise(key, 5, 9)), DepositError::Over(nullifier)),
        ];
        for (signed, error) in table {
            assert_eq!(deposit(&mut purse, signed), Err(error));
        }
        assert_eq!((purse.vouchers().count(), purse.under_way().count()), (0, 1));
        for _ in 0..2 {
            deposit(&mut purse, sign(good)).expect("the same one may come twice");
        }
        assert_eq!((purse.vouchers().count(), purse.under_way().count()), (1, 0));
    }

    #[test]
    fn a_key_for_which_nothing_comes_makes_room_for_another() {
        let mut purse = Purse::new();
        let keys = purse.withdraw(WITHDRAWN_MAX, &mut OsRng).unwrap();
        let late = promise(keys[0], 5, 9);
        assert_eq!(deposit(&mut purse, sign(late)), Err(DepositError::Over(late.nullifier())));
        assert_eq!(purse.give_up(&[keys[0], OneTimeKey([1; 32])]), 1);
        assert_eq!(purse.give_up(&keys[..1]), 0, "once");
        assert_eq!((purse.under_way().count(), purse.withdraw(1, &mut OsRng).unwrap().len()), (255, 1));
        // What comes for it after all is not ours any more.
        assert_eq!(deposit(&mut purse, sign(late)), Err(DepositError::ForeignKey(late.nullifier())));
    }

    #[test]
    fn the_smallest_that_suffices_and_ends_first_is_chosen() {
        let (purse, nullifiers) = filled(&[(30, 100), (20, 200), (20, 100), (10, 100), (20, 15)]);
        let chosen = |ms, amount| {
            let signed = purse.choose(at(ms), amount)?;
            nullifiers.iter().position(|nullifier| *nullifier == signed.voucher.nullifier())
        };
        let table =
            [(20, 1, Some(3)), (20, 11, Some(2)), (12, 11, Some(4)), (20, 21, Some(0)), (150, 1, Some(1))];
        for (ms, amount, expected) in table {
            assert_eq!(chosen(ms, amount), expected, "{amount} at {ms}");
        }
        assert_eq!((chosen(20, 31), chosen(300, 1)), (None, None));
        assert_eq!(purse.value_at(at(20))[0].micros, 80);
    }

    #[test]
    fn a_voucher_is_spent_once_within_its_cap_and_time() {
        let (mut purse, nullifiers) = filled(&[(20, 100)]);
        let nullifier = nullifiers[0];
        for limit in [0, -1, 21] {
            let error = purse.spend(nullifier, acceptance(limit, 50)).unwrap_err();
            assert_eq!(error, PurseError::Limit { limit, cap: 20 });
        }
        let late = purse.spend(nullifier, acceptance(20, 101));
        assert_eq!(late, Err(PurseError::NotValid(nullifier)));
        let spent = purse.spend(nullifier, acceptance(20, 100)).unwrap();
        let holder = VerificationKey::from_bytes(&spent.voucher.voucher.holder.0).unwrap();
        assert!(holder.verifies(&spent.acceptance.digest().0, &spent.signature.0));
        assert!(!holder.verifies(&acceptance(19, 100).digest().0, &spent.signature.0));
        let again = purse.spend(nullifier, acceptance(20, 100));
        assert_eq!(again, Err(PurseError::NotThere(nullifier)));
    }

    #[test]
    fn a_purse_is_kept_and_read_back_and_says_nothing_in_debug() {
        let (mut purse, nullifiers) = filled(&[(20, 100), (30, 5_000)]);
        purse.withdraw(1, &mut OsRng).unwrap();
        let bytes = purse.export_secret().unwrap();
        let mut again = Purse::import_secret(&bytes).unwrap();
        assert!(again.vouchers().eq(purse.vouchers()) && again.under_way().eq(purse.under_way()));
        assert_eq!(*again.export_secret().unwrap(), *bytes);
        assert_eq!(format!("{again:?}"), "Purse(2 vouchers, 1 under way)");
        assert!(again.spend(nullifiers[0], acceptance(20, 100)).is_ok(), "with the same key");
        assert_eq!(purse.forget_over(at(101)), 1);
        let swapped = String::from_utf8(bytes.to_vec()).unwrap();
        let holders: Vec<String> = purse.vouchers().map(|v| v.voucher.holder.to_string()).collect();
        let other = swapped.replace(&holders[0], &OneTimeKey([1; 32]).to_string());
        assert!(matches!(Purse::import_secret(other.as_bytes()), Err(PurseError::Malformed(_))));
        assert!(matches!(Purse::import_secret(b"[{"), Err(PurseError::Malformed(_))));
    }

    #[test]
    fn a_voucher_that_was_spent_elsewhere_is_forgotten() {
        let (mut purse, nullifiers) = filled(&[(20, 100), (30, 100)]);
        assert!(purse.forget(nullifiers[0]) && !purse.forget(nullifiers[0]));
        assert_eq!(purse.spend(nullifiers[0], acceptance(20, 100)), Err(PurseError::NotThere(nullifiers[0])));
        assert_eq!(purse.vouchers().count(), 1);
    }

    #[test]
    fn only_so_many_can_be_under_way() {
        let mut purse = Purse::new();
        purse.withdraw(WITHDRAWN_MAX, &mut OsRng).unwrap();
        let more = purse.withdraw(1, &mut OsRng);
        assert_eq!(more, Err(PurseError::TooMany { wanted: WITHDRAWN_MAX + 1 }));
    }
}
