//! What a voucher that the organisation signed is still good for, by its own records and the ledger: when a wallet asks for
//! it again, and when the limit of a day is counted.

use crate::vouchers::{IssuedVoucher, VoucherStatus};
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::SignedVoucher;
use eroam_ledger::query;
use eroam_ledger::state::{StateError, StateView};
use eroam_ledger::voucher::VoucherKey;

/// What a voucher is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its holder can spend it, now or when its time comes.
    Good,
    /// Its key was revoked before anybody reserved it: nobody can spend it any more, so that another one can be signed for
    /// the same one-time key.
    Void,
    /// It was used, blocked or taken back, or its time is over: its one-time key has done its work, and the ledger or a
    /// station that was offline may still know of it.
    Over,
}

impl Standing {
    /// How a voucher stands at `now`. `keys` are those that the organisation has published.
    pub(super) fn of(
        ledger: &dyn StateView,
        issued: &IssuedVoucher,
        keys: &[VoucherKey],
        now: UnixMillis,
    ) -> Result<Self, StateError> {
        let voucher = &issued.voucher.voucher;
        if issued.status != VoucherStatus::Issued
            || query::voucher(ledger, voucher.emsp, issued.nullifier())?.is_some()
        {
            return Ok(Self::Over);
        }
        Ok(if is_of_revoked_key(&issued.voucher, keys) {
            Self::Void
        } else if voucher.valid_until < now {
            Self::Over
        } else {
            Self::Good
        })
    }
}

/// Whether a voucher of the organisation's own is signed with a key that it has revoked.
pub(in crate::gateway) fn is_of_revoked_key(signed: &SignedVoucher, keys: &[VoucherKey]) -> bool {
    let key = usize::try_from(signed.voucher.key).ok().and_then(|key| keys.get(key));
    key.is_some_and(VoucherKey::is_revoked)
}
