//! The home utility's part for vouchers: it signs them for its customers, remembers whose each is, blocks lost ones and
//! takes back those of which nothing can come any more.

mod standing;

pub(super) use standing::is_of_revoked_key;

use super::{Gateway, GatewayError, Outgoing};
use crate::authorize::{self, Promise};
use crate::ports::Store;
use crate::profiles::HomeProfile;
use crate::vouchers::{
    DAYS_AHEAD_MAX, IssuedVoucher, PER_DAY_MAX, VoucherRefusal, VoucherRules, VoucherStatus,
};
use ed25519_dalek::{Signer as _, SigningKey};
use eroam_domain::charge::Denial;
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::ContractId;
use eroam_domain::retail::Tier;
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{Nullifier, OneTimeKey, SignedVoucher, SpentVoucher, Voucher};
use eroam_ledger::query;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::state::{StateKey, StateView};
use eroam_ledger::tx::{PublicKey, Tx};
use eroam_ledger::voucher::{RESERVABLE_AFTER, VoucherKey, VoucherState, VoucherTx};
use standing::Standing;
use std::collections::BTreeSet;

/// So many lapsed vouchers are looked at in one call.
const LAPSED_AT_ONCE: u32 = 4_096;

impl<S: Store> Gateway<S> {
    /// Signs vouchers with another key from now on: the one before was revoked ([`VoucherTx::RevokeKey`]).
    pub fn set_voucher_key(&mut self, key: SigningKey) {
        self.secrets.voucher = Some(key);
    }

    /// The transaction that publishes the organisation's voucher key; `None` when it has none. The host signs it
    /// ([`Gateway::sign`]) and sends it.
    pub fn publish_voucher_key(&self, valid_from: UnixMillis, valid_until: UnixMillis) -> Option<Tx> {
        let public = PublicKey::of(self.secrets.voucher.as_ref()?);
        Some(Tx::Voucher(VoucherTx::PublishKey { public, valid_from, valid_until }))
    }

    /// Whether another voucher key has to be made and published: the one at hand is not on the ledger, is revoked there, or
    /// ends before a voucher would that somebody may ask for now. An organisation that makes no vouchers needs none.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn needs_voucher_key(&self, ledger: &dyn StateView, now: UnixMillis) -> Result<bool, GatewayError> {
        let Some(rules) = self.rules.vouchers else { return Ok(false) };
        let today = now.utc_day();
        let days = [today, today.saturating_add(DAYS_AHEAD_MAX)].map(|day| rules.validity(day));
        let [Some((from, _)), Some((_, until))] = days else { return Ok(false) };
        let Some(secret) = self.secrets.voucher.as_ref() else { return Ok(true) };
        let published = query::voucher_keys(ledger, self.party)?;
        Ok(number_of(&published, &PublicKey::of(secret), from, until).is_none())
    }

    /// What [`Gateway::issue_vouchers`] is going to look up in the ledger besides the organisation's voucher keys: what became
    /// of vouchers that were signed before for these one-time keys, and of those of the day whose key is revoked. For a host
    /// that fetches it in one request, and not while it holds the gateway; `ledger` needs to know the voucher keys alone.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn voucher_lookups(
        &mut self,
        ledger: &dyn StateView,
        contract: &ContractId,
        keys: &[OneTimeKey],
        day: i64,
    ) -> Result<Vec<StateKey>, GatewayError> {
        let published = query::voucher_keys(ledger, self.party)?;
        let error = self.store_error();
        let mut wanted = BTreeSet::new();
        for key in keys.iter().take(PER_DAY_MAX) {
            if self.store.voucher(&key.nullifier()).map_err(&error)?.is_some() {
                wanted.insert(key.nullifier());
            }
        }
        // Of no other is it asked what became of it.
        if published.iter().any(VoucherKey::is_revoked) {
            let of_the_day = self.store.vouchers_on(contract, day).map_err(&error)?;
            let doubtful = of_the_day.iter().filter(|issued| is_of_revoked_key(&issued.voucher, &published));
            wanted.extend(doubtful.map(IssuedVoucher::nullifier));
        }
        Ok(wanted.into_iter().map(|nullifier| StateKey::Voucher(self.party, nullifier)).collect())
    }

    /// Signs a voucher for each of a customer's one-time keys, to be valid from the UTC day number `day` on (days since
    /// 1970); who asks has been authenticated by the caller. All of them or none.
    ///
    /// A wallet asks for the same keys again when an answer was lost. It gets the same vouchers, also when the limit is used
    /// up by now; another one where the voucher's key was revoked meanwhile; and none for a key whose voucher was used, blocked
    /// or taken back, or is over: the answer leaves it out, and the wallet makes another key.
    ///
    /// Checks, in order: how many are asked for, and that no key is weak or there twice; the organisation makes vouchers;
    /// the contract is in force and includes charging at other operators; no key is another customer's; then, unless all
    /// keys have had their vouchers: the day; the daily limit; a voucher key on the ledger that is valid as long.
    ///
    /// # Errors
    /// [`GatewayError`]; inside `Ok`, the [`VoucherRefusal`] to tell the customer.
    pub fn issue_vouchers(
        &mut self,
        ledger: &dyn StateView,
        network: Digest,
        contract: &ContractId,
        keys: &[OneTimeKey],
        day: i64,
        now: UnixMillis,
    ) -> Result<Result<Vec<SignedVoucher>, VoucherRefusal>, GatewayError> {
        if keys.is_empty() || keys.len() > PER_DAY_MAX {
            return Ok(Err(VoucherRefusal::Count));
        }
        let mut seen = BTreeSet::new();
        if let Some(bad) = keys.iter().find(|k| !PublicKey(k.0).is_usable() || !seen.insert(**k)) {
            return Ok(Err(VoucherRefusal::BadKey(*bad)));
        }
        let Some(rules) = self.rules.vouchers else { return Ok(Err(VoucherRefusal::NoVouchers)) };
        let error = self.store_error();
        let profile = match self.store.home_profile(contract).map_err(&error)? {
            None => return Ok(Err(VoucherRefusal::Contract(Denial::UnknownContract))),
            Some(profile) => profile,
        };
        let allowed = authorize::in_force(&profile, now);
        let allowed = allowed.and(if profile.portfolio.roaming { Ok(()) } else { Err(Denial::NoRoaming) });
        if let Err(denial) = allowed {
            return Ok(Err(VoucherRefusal::Contract(denial)));
        }
        let published = query::voucher_keys(ledger, self.party)?;
        let (mut given, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            let Some(issued) = self.store.voucher(&key.nullifier()).map_err(&error)? else {
                missing.push(*key);
                given.push(None);
                continue;
            };
            if issued.contract != *contract {
                return Ok(Err(VoucherRefusal::UsedKey(*key)));
            }
            match Standing::of(ledger, &issued, &published, now)? {
                Standing::Good => given.push(Some(issued.voucher)),
                Standing::Void => {
                    missing.push(*key);
                    given.push(None);
                }
                Standing::Over => {}
            }
        }
        if !missing.is_empty() {
            let made = match self
                .make_vouchers(ledger, network, &profile, &rules, &published, &missing, day, now)?
            {
                Ok(made) => made,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let mut made = made.into_iter();
            given.iter_mut().filter(|slot| slot.is_none()).for_each(|slot| *slot = made.next());
        }
        Ok(Ok(given.into_iter().flatten().collect()))
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    fn make_vouchers(
        &mut self,
        ledger: &dyn StateView,
        network: Digest,
        profile: &HomeProfile,
        rules: &VoucherRules,
        published: &[VoucherKey],
        keys: &[OneTimeKey],
        day: i64,
        now: UnixMillis,
    ) -> Result<Result<Vec<SignedVoucher>, VoucherRefusal>, GatewayError> {
        let today = now.utc_day();
        let days = today..=today.saturating_add(DAYS_AHEAD_MAX);
        let Some((valid_from, valid_until)) = rules.validity(day).filter(|_| days.contains(&day)) else {
            return Ok(Err(VoucherRefusal::WrongDay));
        };
        // A contract that ends before a voucher begins needs none: no station would take its proof.
        if let Err(denial) = authorize::in_force(profile, valid_from.max(now)) {
            return Ok(Err(VoucherRefusal::Contract(denial)));
        }
        let error = self.store_error();
        let mut of_the_day = Vec::new();
        for issued in self.store.vouchers_on(&profile.contract, day).map_err(&error)? {
            // Nobody can spend it: its holder gets another one for it.
            let is_void = is_of_revoked_key(&issued.voucher, published)
                && Standing::of(ledger, &issued, published, now)? == Standing::Void;
            if !is_void {
                of_the_day.push(issued);
            }
        }
        let wanted = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        let left = left_for(rules, &of_the_day);
        if wanted > left {
            return Ok(Err(VoucherRefusal::DailyLimit { left, wanted }));
        }
        let Some(secret) = self.secrets.voucher.as_ref() else { return Ok(Err(VoucherRefusal::NoKey)) };
        let Some(key) = number_of(published, &PublicKey::of(secret), valid_from, valid_until) else {
            return Ok(Err(VoucherRefusal::NoKey));
        };
        let mut made = Vec::with_capacity(keys.len());
        for holder in keys {
            let voucher = Voucher {
                network,
                emsp: self.party,
                key,
                holder: *holder,
                cap: rules.cap,
                valid_from,
                valid_until,
            };
            let signature = SignatureBytes(secret.sign(&voucher.digest().0).to_bytes());
            let voucher = SignedVoucher { voucher, signature };
            let issued = IssuedVoucher {
                contract: profile.contract,
                day,
                tier: profile.tier,
                voucher,
                status: VoucherStatus::Issued,
            };
            self.store.put_voucher(&issued).map_err(&error)?;
            made.push(voucher);
        }
        Ok(Ok(made))
    }

    /// After loss or theft: asks the ledger to block every voucher that the customer's wallet has. Gives how many; one
    /// that is reserved already stays so, since its operator relies on it. The contract itself is suspended apart from
    /// this.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn block_vouchers(&mut self, contract: &ContractId) -> Result<usize, GatewayError> {
        let error = self.store_error();
        let held = self.store.vouchers_in_wallet(contract).map_err(error)?;
        self.ask_about(held, VoucherStatus::Blocking)
    }

    /// What [`Gateway::refund_vouchers`] is going to look up in the ledger at `now`, for a host that does not wait for it while it
    /// holds the gateway.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn refund_lookups(&mut self, now: UnixMillis) -> Result<Vec<StateKey>, GatewayError> {
        let Some(before) = now.checked_sub(RESERVABLE_AFTER) else { return Ok(Vec::new()) };
        let error = self.store_error();
        let lapsed = self.store.lapsed_vouchers(before, LAPSED_AT_ONCE).map_err(error)?;
        Ok(lapsed.iter().map(|issued| StateKey::Voucher(self.party, issued.nullifier())).collect())
    }

    /// Takes back vouchers of which nothing can come any more. Gives about how many the ledger is asked; what it knows of
    /// the others already is taken over.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn refund_vouchers(
        &mut self,
        ledger: &dyn StateView,
        now: UnixMillis,
    ) -> Result<usize, GatewayError> {
        let Some(before) = now.checked_sub(RESERVABLE_AFTER) else { return Ok(0) };
        let error = self.store_error();
        let mut due = Vec::new();
        for issued in self.store.lapsed_vouchers(before, LAPSED_AT_ONCE).map_err(&error)? {
            let status = match query::voucher(ledger, self.party, issued.nullifier())? {
                None => None,
                Some(VoucherState::Reserved { final_after, .. }) if now > final_after => None,
                Some(VoucherState::Reserved { .. }) => continue,
                Some(VoucherState::Spent { .. }) => Some(VoucherStatus::Spent),
                Some(VoucherState::Refunded) => Some(VoucherStatus::Refunded),
                Some(VoucherState::Blocked) => Some(VoucherStatus::Blocked),
            };
            match status {
                None => due.push(issued),
                Some(status) => {
                    self.store.put_voucher(&IssuedVoucher { status, ..issued }).map_err(&error)?;
                }
            }
        }
        self.ask_about(due, VoucherStatus::Refunding)
    }

    fn ask_about(
        &mut self,
        vouchers: Vec<IssuedVoucher>,
        status: VoucherStatus,
    ) -> Result<usize, GatewayError> {
        let error = self.store_error();
        let count = vouchers.len();
        for issued in vouchers {
            let issued = IssuedVoucher { status: status.clone(), ..issued };
            self.store.put_voucher(&issued).map_err(&error)?;
            self.queue_voucher(&issued);
        }
        Ok(count)
    }

    /// Puts into the outbox what the ledger is to be asked about a voucher.
    pub(super) fn queue_voucher(&mut self, issued: &IssuedVoucher) {
        match issued.status {
            VoucherStatus::Blocking => self.outbox.push(Outgoing::Block(issued.nullifier())),
            VoucherStatus::Refunding => self.outbox.push(Outgoing::Refund(Box::new(issued.voucher))),
            _ => {}
        }
    }

    /// What the ledger answered about a voucher that it was asked to block or to take back.
    pub(super) fn voucher_answered(
        &mut self,
        nullifier: &Nullifier,
        outcome: ItemOutcome,
    ) -> Result<(), GatewayError> {
        let error = self.store_error();
        let Some(issued) = self.store.voucher(nullifier).map_err(&error)? else { return Ok(()) };
        match issued.status.after(outcome.rejection()).filter(|_| issued.status.is_awaited()) {
            Some(status) => self.store.put_voucher(&IssuedVoucher { status, ..issued }).map_err(error),
            None => Ok(()),
        }
    }

    /// The ledger did not block an own voucher for an own station's session: unless somebody else has it, the wallet can
    /// use it again.
    pub(super) fn give_back(&mut self, nullifier: &Nullifier, code: RejectCode) -> Result<(), GatewayError> {
        let error = self.store_error();
        let Some(issued) = self.store.voucher(nullifier).map_err(&error)? else { return Ok(()) };
        let status = issued.status.after(Some(code)).unwrap_or(VoucherStatus::Issued);
        self.store.put_voucher(&IssuedVoucher { status, ..issued }).map_err(error)
    }

    /// Whose voucher was spent, and what the customer was promised when it was; or why nobody can be billed.
    pub(super) fn voucher_customer(
        &mut self,
        spent: &SpentVoucher,
        tier: Tier,
    ) -> Result<Result<(IssuedVoucher, Promise), String>, GatewayError> {
        let voucher = &spent.voucher.voucher;
        if voucher.emsp != self.party {
            return Ok(Err(format!("the voucher is one of {}, not of {}", voucher.emsp, self.party)));
        }
        let error = self.store_error();
        let Some(issued) = self.store.voucher(&voucher.nullifier()).map_err(&error)? else {
            return Ok(Err("the voucher was never issued".into()));
        };
        if issued.voucher != spent.voucher {
            return Ok(Err("the voucher is not as it was issued".into()));
        }
        let Some(profile) = self.store.home_profile(&issued.contract).map_err(error)? else {
            return Ok(Err("the voucher's customer is not known any more".into()));
        };
        // The tier may have changed since the wallet got its vouchers and credential.
        if tier != issued.tier && tier != profile.tier {
            return Ok(Err(format!(
                "the session was charged in tier {tier}, and the customer has {}",
                profile.tier
            )));
        }
        let Some((retail_version, _)) = self.rules.home.in_force(spent.acceptance.accepted_at) else {
            return Ok(Err("there were no retail rules when the quote was accepted".into()));
        };
        Ok(Ok((issued, Promise { tier, payment: profile.payment, retail_version })))
    }

    /// The voucher has paid for a session.
    pub(super) fn note_spent(&mut self, issued: IssuedVoucher) -> Result<(), GatewayError> {
        let error = self.store_error();
        self.store.put_voucher(&IssuedVoucher { status: VoucherStatus::Spent, ..issued }).map_err(error)
    }
}

/// Which of the published keys this one is, if vouchers with that validity can be signed with it.
fn number_of(
    published: &[VoucherKey],
    public: &PublicKey,
    valid_from: UnixMillis,
    valid_until: UnixMillis,
) -> Option<u32> {
    let lasts = |key: &VoucherKey| key.valid_from <= valid_from && key.valid_until >= valid_until;
    (0u32..).zip(published).find(|(_, key)| key.public == *public && lasts(key)).map(|(number, _)| number)
}

/// How many more vouchers of today's cap the limit of a day allows, after those that were issued for it. What was
/// issued in another currency cannot be compared, so nothing is left then.
fn left_for(rules: &VoucherRules, issued: &[IssuedVoucher]) -> u64 {
    let count = u64::try_from(PER_DAY_MAX.saturating_sub(issued.len())).unwrap_or(0);
    let left = issued.iter().try_fold(rules.daily_limit, |left, issued| {
        let cap = issued.voucher.voucher.cap;
        (cap.currency == rules.cap.currency).then(|| left.checked_sub(cap.micros)).flatten()
    });
    let vouchers = left.filter(|left| *left > 0).and_then(|left| match rules.cap.micros {
        cap if cap > 0 => left.checked_div_euclid(cap),
        _ => None,
    });
    vouchers.and_then(|vouchers| u64::try_from(vouchers).ok()).unwrap_or(0).min(count)
}
