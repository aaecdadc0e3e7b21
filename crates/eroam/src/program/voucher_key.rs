//! The key with which a home utility signs vouchers: made, published, and revoked when somebody else may have it.
//!
//! ```text
//! start, or a customer for whom it ends too early
//!       ──► is the key on the ledger? ── no ───────────────► publish it
//!                                     ── revoked, or ends ─► make another, publish it
//! revoke ─► revoked on the ledger ──► make another, publish it        ended in between: the next start goes on
//! ```
//! The ledger is told first: from then on nobody can spend what was signed with the key, whoever signed it. What was reserved
//! before is paid.

use super::ProgramError;
use super::organisation::{Keys, OFFICE_LANE};
use crate::charging::offices::{Office, OfficeError};
use crate::charging::state::AgentState;
use crate::clock;
use ed25519_dalek::SigningKey;
use eroam_domain::time::UnixMillis;
use eroam_ledger::query;
use eroam_ledger::tx::{PublicKey, Tx};
use eroam_ledger::voucher::{VoucherKey, VoucherTx};
use std::sync::{Mutex, PoisonError};

/// The days before and after today for which a key is published: vouchers are valid from the beginning of the stretch of days
/// that they are withdrawn in.
const VALID_DAYS: (i64, i64) = (40, 350);
const DAY_MS: i64 = 86_400_000;

/// The key of a home utility that runs.
pub(super) struct VoucherSigner {
    office: Office,
    state: AgentState,
    /// One changes it at a time.
    turn: Mutex<()>,
}

impl VoucherSigner {
    pub(super) fn new(office: Office, state: AgentState) -> Self {
        Self { office, state, turn: Mutex::default() }
    }

    /// Sees to it that the ledger has a key that this home utility signs with.
    pub(super) fn publish(&self) -> Result<(), ProgramError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish_in_turn().map(drop)
    }

    fn publish_in_turn(&self) -> Result<PublicKey, ProgramError> {
        let mut keys = Keys::of(&self.state)?;
        let known = |keys: &Keys| Ok::<_, ProgramError>(self.known(&keys.voucher_key())?.map(|(_, key)| key));
        let mut found = known(&keys)?;
        let ends = self.office.with(|gateway, ledger| gateway.needs_voucher_key(ledger, clock::now()));
        if found.is_some() && ends.map_err(OfficeError::from)? {
            keys.renew_voucher_key(&self.state)?;
            found = known(&keys)?;
        }
        let signing = keys.voucher_key();
        let public = PublicKey::of(&signing);
        if found.is_none() {
            let today = clock::now().utc_day();
            let at = |day: i64| day.checked_mul(DAY_MS).and_then(UnixMillis::new);
            let (before, after) = VALID_DAYS;
            let window = at(today - before).zip(at(today + after));
            let (valid_from, valid_until) =
                window.ok_or_else(|| ProgramError::rule("the machine's clock", "set it"))?;
            let tx = Tx::Voucher(VoucherTx::PublishKey { public, valid_from, valid_until });
            self.office.submit(OFFICE_LANE, tx)?;
        }
        self.office.with(|gateway, _| gateway.set_voucher_key(signing));
        Ok(public)
    }

    /// Revokes the key and signs with another one from now on. Gives both, the revoked one first.
    pub(super) fn revoke(&self) -> Result<(PublicKey, PublicKey), ProgramError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let signing = Keys::of(&self.state)?.voucher_key();
        let (number, key) = self.known(&signing)?.ok_or_else(|| {
            ProgramError::rule("the key of the vouchers", "the ledger does not have it yet")
        })?;
        if !key.is_revoked() {
            self.office.submit(OFFICE_LANE, Tx::Voucher(VoucherTx::RevokeKey { key: number }))?;
        }
        Ok((key.public, self.publish_in_turn()?))
    }

    /// A key as the ledger has it, and its number.
    fn known(&self, key: &SigningKey) -> Result<Option<(u32, VoucherKey)>, OfficeError> {
        let public = PublicKey::of(key);
        let published = query::voucher_keys(self.office.client(), self.office.party())?;
        Ok((0u32..).zip(published).find(|(_, key)| key.public == public))
    }
}
