//! Drivers who prove a contract and pay with vouchers, in the [`World`].

use super::world::*;
use crate::gateway::Effect;
use crate::unknown_driver::{ProvenContract, UnknownDriverRequest};
use ed25519_dalek::{Signer as _, SigningKey};
use eroam_domain::cdr::session_digest;
use eroam_domain::charge::{AllowedZones, Quote};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::retail::Tier;
use eroam_domain::time::LocalClock;
use eroam_domain::voucher::{OneTimeKey, SignedVoucher, SpentVoucher, VoucherAcceptance};

/// A voucher with the key that spends it.
#[derive(Clone)]
pub(super) struct Purse {
    pub(super) key: SigningKey,
    pub(super) voucher: SignedVoucher,
}

/// A one-time key by name.
pub(super) fn one_time(name: &str) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(name.as_bytes()).0)
}

/// Its public half.
pub(super) fn holder(key: &SigningKey) -> OneTimeKey {
    OneTimeKey(key.verifying_key().to_bytes())
}

impl Purse {
    /// Agrees to what was quoted, at the moment when the quote was made.
    pub(super) fn spend(&self, quote: &Quote, limit: i64) -> SpentVoucher {
        self.sign(VoucherAcceptance {
            session: session_digest(quote.operator, &quote.session),
            operator: quote.operator,
            quote: quote.digest(),
            limit,
            accepted_at: quote.made_at,
        })
    }

    pub(super) fn sign(&self, acceptance: VoucherAcceptance) -> SpentVoucher {
        let signature = SignatureBytes(self.key.sign(&acceptance.digest().0).to_bytes());
        SpentVoucher { voucher: self.voucher, acceptance, signature }
    }
}

/// What a proof reveals of a customer of EDP who may charge everywhere.
pub(super) fn proof(tier: Tier) -> ProvenContract {
    ProvenContract::after_verification(edp(), tier, AllowedZones::All)
}

impl World {
    /// A voucher for the customer from today on, with the one-time key of that name.
    #[track_caller]
    pub(super) fn withdraw(&mut self, customer: &str, name: &str) -> Purse {
        let (key, now, network) = (one_time(name), self.now, self.ledger.network);
        let (holder, customer, mut vouchers) = (holder(&key), contract(customer), Vec::new());
        self.call(customer.party(), |gateway, ledger| {
            let day = now.utc_day();
            vouchers = gateway.issue_vouchers(ledger, network, &customer, &[holder], day, now)?.unwrap();
            Ok(Vec::new())
        })
        .unwrap();
        let [voucher] = vouchers.try_into().unwrap();
        Purse { key, voucher }
    }

    pub(super) fn ask_unknown(&self, session: &str, evse: &str, purse: &Purse) -> UnknownDriverRequest {
        UnknownDriverRequest {
            session: id(session),
            evse: evse.parse().unwrap(),
            emsp: purse.voucher.voucher.emsp,
            voucher: purse.voucher.commitment(),
            energy_wanted: None,
            energy_max: None,
            leaves_at: None,
            at: self.now,
            clock: LocalClock::UTC,
        }
    }

    /// A station asks for a driver whom it does not know.
    pub(super) fn request_unknown(&mut self, request: &UnknownDriverRequest) -> Vec<Effect> {
        let operator = request.evse.operator().unwrap();
        self.operators.insert(request.session.clone(), operator);
        self.call(operator, |gateway, ledger| gateway.request_unknown(ledger, request)).unwrap();
        self.shown()
    }

    /// The station has checked a proof.
    pub(super) fn prove(&mut self, session: &str, proof: &ProvenContract) -> Vec<Effect> {
        let (operator, now) = (self.operators[&id(session)], self.now);
        self.call(operator, |gateway, ledger| gateway.proven(ledger, &id(session), proof, now)).unwrap();
        self.shown()
    }

    /// The driver accepts with a voucher.
    pub(super) fn pay(&mut self, session: &str, spent: &SpentVoucher) -> Vec<Effect> {
        let (operator, now, network) = (self.operators[&id(session)], self.now, self.ledger.network);
        self.call(operator, |gateway, ledger| {
            gateway.accept_with_voucher(ledger, network, &id(session), spent, now)
        })
        .unwrap();
        self.shown()
    }

    /// As far as the quote that can be accepted, by a standard customer of EDP.
    #[track_caller]
    pub(super) fn quote_unknown(&mut self, session: &str, evse: &str, purse: &Purse) -> Quote {
        let quote = quoted(&self.request_unknown(&self.ask_unknown(session, evse, purse)));
        assert_eq!(quoted(&self.prove(session, &proof(Tier::Standard))), quote);
        quote
    }

    /// A whole charge of one hour by a standard customer of EDP, up to 20 EUR.
    #[track_caller]
    pub(super) fn charge_unknown(
        &mut self,
        session: &str,
        evse: &str,
        purse: &Purse,
        energy_wh: u64,
    ) -> Quote {
        let quote = self.quote_unknown(session, evse, purse);
        assert!(is_power_on(&self.pay(session, &purse.spend(&quote, 20 * EUR))), "power");
        let consumption = hour_of(self.now, energy_wh);
        self.wait(HOUR);
        assert_eq!(self.consumed(session, consumption), []);
        quote
    }
}
