//! From a station that proved itself to an agreement with it.
//!
//! ```text
//! plan(station, purse) ──► Planned ──request──► station ──quote──► Planned::check ──► Offer ──driver agrees──► SpentVoucher
//! ```
//! Each step demands what the one before it gave. A quote is checked against what the station's credential said and
//! what the driver allowed, before anything is shown: the proof's nonce comes out of the check.
//!
//! Source: paper B, figure 4; DESIGN.md, "Who sees what".

use crate::purse::{Purse, PurseError};
use eroam_domain::cdr::session_digest;
use eroam_domain::charge::Quote;
use eroam_domain::codec::Digest;
use eroam_domain::ids::{CredentialDefinitionId, PartyId, RevocationRegistryId};
use eroam_domain::money::{Currency, Money};
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_domain::visit::{ChargeLimits, StationClaims, VisitQuote, VisitRequest};
use eroam_domain::voucher::{PROOF_NONCE_BYTES, SignedVoucher, SpentVoucher, VoucherAcceptance, proof_nonce};

/// Why there is no charge, in words for the driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VisitError {
    /// No voucher.
    #[error("no voucher in your wallet pays {amount} now: renew your vouchers, or allow less")]
    NoVoucher {
        /// What it would have to pay.
        amount: Money,
    },
    /// Nothing is allowed.
    #[error("an amount above zero must be allowed")]
    NothingAllowed,
    /// Another operator than the station's credential says.
    #[error("the price is by {found}, but the station belongs to {expected}: do not charge here")]
    OtherOperator {
        /// As the credential says.
        expected: PartyId,
        /// As the quote says.
        found: PartyId,
    },
    /// It came too late.
    #[error("the offer has expired: ask again")]
    Expired,
    /// The quote is of a time that is not now.
    #[error("the station's clock differs from yours by more than {} minutes: one of them is wrong", CLOCKS_DIFFER_MS / 60_000)]
    Clock,
    /// Another currency.
    #[error("the price is in {found}, your voucher in {expected}")]
    Currency {
        /// The voucher's.
        expected: Currency,
        /// The quote's.
        found: Currency,
    },
    /// The voucher cannot be spent.
    #[error("the voucher cannot be used")]
    Purse(#[from] PurseError),
}

/// So far a station's clock may be from the wallet's.
const CLOCKS_DIFFER_MS: u64 = 10 * 60_000;

/// A visit that is about to begin.
#[derive(Clone, Debug)]
pub struct Planned {
    station: StationClaims,
    request: VisitRequest,
    voucher: SignedVoucher,
    limit: Money,
}

/// What a station is told about a contract before anything is proved: what all contracts of its kind share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractKind {
    /// Whose.
    pub emsp: PartyId,
    /// Its credential definition.
    pub definition: CredentialDefinitionId,
    /// Its revocation registry.
    pub registry: RevocationRegistryId,
}

/// Plans a charge at a station that proved itself, with a voucher of the contract's provider for as much as the driver allows.
///
/// # Errors
/// [`VisitError::NoVoucher`], [`VisitError::NothingAllowed`].
pub fn plan(
    station: StationClaims,
    contract: &ContractKind,
    purse: &Purse,
    limits: ChargeLimits,
    allowed: Money,
    now: UnixMillis,
) -> Result<Planned, VisitError> {
    let amount = limits.amount_max.map_or(allowed.micros, |max| max.min(allowed.micros));
    if amount <= 0 {
        return Err(VisitError::NothingAllowed);
    }
    let limit = Money { micros: amount, currency: allowed.currency };
    let fits = |signed: &&SignedVoucher| signed.voucher.cap.currency == allowed.currency;
    let voucher = purse.choose(now, amount).filter(fits).ok_or(VisitError::NoVoucher { amount: limit })?;
    let request = VisitRequest {
        emsp: contract.emsp,
        definition: contract.definition.clone(),
        registry: contract.registry.clone(),
        limits: ChargeLimits { amount_max: Some(amount), ..limits },
        voucher: voucher.commitment(),
    };
    Ok(Planned { station, request, voucher: *voucher, limit })
}

impl Planned {
    /// What the station is asked.
    #[must_use]
    pub const fn request(&self) -> &VisitRequest {
        &self.request
    }

    /// Checks what the station offers. `station_key` is the key that it speaks with on this connection, as text.
    ///
    /// # Errors
    /// [`VisitError`].
    pub fn check(self, offered: VisitQuote, station_key: &str, now: UnixMillis) -> Result<Offer, VisitError> {
        let VisitQuote { quote, clock, random } = offered;
        if quote.operator != self.station.operator {
            let (expected, found) = (self.station.operator, quote.operator);
            return Err(VisitError::OtherOperator { expected, found });
        }
        let differ = now.get().abs_diff(quote.made_at.get());
        if differ > CLOCKS_DIFFER_MS {
            return Err(VisitError::Clock);
        }
        if now > quote.expires_at {
            return Err(VisitError::Expired);
        }
        if quote.currency != self.limit.currency {
            return Err(VisitError::Currency { expected: self.limit.currency, found: quote.currency });
        }
        // An estimate above the limit is no reason to refuse: the station stops at the limit.
        let session = session_digest(quote.operator, &quote.session);
        let nonce = proof_nonce(&random.0, session, station_key, quote.digest(), self.request.voucher);
        Ok(Offer { planned: self, session, quote, clock, nonce })
    }
}

/// An offer that is what was asked for: the driver decides.
#[derive(Clone, Debug)]
pub struct Offer {
    planned: Planned,
    session: Digest,
    quote: Quote,
    clock: LocalClock,
    nonce: [u8; PROOF_NONCE_BYTES],
}

impl Offer {
    /// The nonce that the station's proof request must have.
    #[must_use]
    pub const fn nonce(&self) -> [u8; PROOF_NONCE_BYTES] {
        self.nonce
    }

    /// What was offered.
    #[must_use]
    pub const fn quote(&self) -> &Quote {
        &self.quote
    }

    /// The station's clock, as it says.
    #[must_use]
    pub const fn clock(&self) -> &LocalClock {
        &self.clock
    }

    /// What was asked for, which the station has read.
    #[must_use]
    pub const fn request(&self) -> &VisitRequest {
        &self.planned.request
    }

    /// The most that the operator can be paid: there the station stops.
    #[must_use]
    pub const fn limit(&self) -> Money {
        self.planned.limit
    }

    /// The station.
    #[must_use]
    pub const fn station(&self) -> &StationClaims {
        &self.planned.station
    }

    /// The voucher that will be spent, which the station reads when the driver agrees.
    #[must_use]
    pub const fn voucher(&self) -> &SignedVoucher {
        &self.planned.voucher
    }

    /// The driver agrees: the voucher is spent on it.
    ///
    /// # Errors
    /// [`PurseError`].
    pub fn agree(&self, purse: &mut Purse, now: UnixMillis) -> Result<SpentVoucher, PurseError> {
        let acceptance = VoucherAcceptance {
            session: self.session,
            operator: self.planned.station.operator,
            quote: self.quote.digest(),
            limit: self.planned.limit.micros,
            accepted_at: now,
        };
        purse.spend(self.voucher().voucher.nullifier(), acceptance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::cdr::TariffRef;
    use eroam_domain::codec::SignatureBytes;
    use eroam_domain::money::Price;
    use eroam_domain::quantity::{WattHours, Watts};
    use eroam_domain::voucher::Voucher;
    use eroam_ssi::didcomm::{OsRng, SigningKey};

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn euros(micros: i64) -> Money {
        Money::new(micros, Currency::new("EUR").unwrap())
    }

    fn emsp() -> PartyId {
        "PT-LUZ".parse().unwrap()
    }

    fn station() -> StationClaims {
        StationClaims {
            operator: "ES-SLV".parse().unwrap(),
            evse: "ES*SLV*E0001".parse().unwrap(),
            zone: "ES-1".parse().unwrap(),
            place: "Valencia 1".to_owned(),
            power: Watts::new(11_000),
            meter_key: "04".to_owned(),
            meter_certified: false,
            time_zone: None,
        }
    }

    fn purse() -> Purse {
        let provider = SigningKey::from_seed(&[9; 32]);
        let mut purse = Purse::new();
        let holder = purse.withdraw(1, &mut OsRng).unwrap()[0];
        let voucher = Voucher {
            network: Digest::ZERO,
            emsp: emsp(),
            key: 0,
            holder,
            cap: euros(30_000_000),
            valid_from: at(0),
            valid_until: at(10_000_000),
        };
        let signature = SignatureBytes(provider.sign(&voucher.digest().0));
        let signed = SignedVoucher { voucher, signature };
        purse.deposit(signed, Digest::ZERO, emsp(), &provider.verification_key(), at(1)).unwrap();
        purse
    }

    fn quote() -> Quote {
        Quote {
            session: "S1".parse().unwrap(),
            operator: station().operator,
            agreement: None,
            tariff: TariffRef { id: "AC".parse().unwrap(), version: 1 },
            energy: WattHours::ZERO,
            until: at(9_000_000),
            currency: Currency::new("EUR").unwrap(),
            wholesale: Price { excl_vat: 8_000_000, incl_vat: 9_000_000 },
            retail: None,
            forecast: None,
            made_at: at(1_000_000),
            expires_at: at(1_300_000),
        }
    }

    fn offered(quote: Quote) -> VisitQuote {
        VisitQuote { quote, clock: LocalClock::UTC, random: Digest::of(b"random") }
    }

    fn contract() -> ContractKind {
        let did = format!("did:eroam:{:016x}:{:032x}/anoncreds/v1", 1, 2);
        let definition = format!("{did}/credential-definition/{:016x}/1", 3);
        let registry = format!("{did}/revocation-registry/{:016x}/1", 4);
        let (definition, registry) = (definition.parse().unwrap(), registry.parse().unwrap());
        ContractKind { emsp: emsp(), definition, registry }
    }

    fn planned(purse: &Purse, amount: i64) -> Result<Planned, VisitError> {
        plan(station(), &contract(), purse, ChargeLimits::default(), euros(amount), at(1_000_000))
    }

    #[test]
    fn an_agreement_is_over_the_quote_and_spends_the_voucher() {
        let mut purse = purse();
        let planned = planned(&purse, 12_000_000).unwrap();
        let voucher = *purse.vouchers().next().unwrap();
        assert_eq!(planned.request().voucher, voucher.commitment());
        assert_eq!(planned.request().limits.amount_max, Some(12_000_000));
        let offer = planned.check(offered(quote()), "z6Mk", at(1_000_500)).unwrap();
        let session = session_digest(station().operator, &quote().session);
        let expected =
            proof_nonce(&Digest::of(b"random").0, session, "z6Mk", quote().digest(), voucher.commitment());
        assert_eq!((offer.nonce(), offer.quote(), offer.limit()), (expected, &quote(), euros(12_000_000)));
        let spent = offer.agree(&mut purse, at(1_000_600)).unwrap();
        let acceptance = spent.acceptance;
        assert_eq!((acceptance.session, acceptance.quote), (session, quote().digest()));
        assert_eq!((acceptance.limit, acceptance.operator), (12_000_000, station().operator));
        assert!(matches!(offer.agree(&mut purse, at(1_000_600)), Err(PurseError::NotThere(_))));
    }

    #[test]
    fn what_is_not_what_was_asked_for_is_refused_before_anything_is_shown() {
        let purse = purse();
        let other: PartyId = "NO-FJL".parse().unwrap();
        let nok = Currency::new("NOK").unwrap();
        let table = [
            (
                Quote { operator: other, ..quote() },
                VisitError::OtherOperator { expected: station().operator, found: other },
            ),
            (Quote { made_at: at(399_999), ..quote() }, VisitError::Clock),
            (Quote { made_at: at(1_600_501), ..quote() }, VisitError::Clock),
            (Quote { expires_at: at(1_000_499), ..quote() }, VisitError::Expired),
            (
                Quote { currency: nok, ..quote() },
                VisitError::Currency { expected: quote().currency, found: nok },
            ),
        ];
        for (quote, expected) in table {
            let refused = planned(&purse, 12_000_000).unwrap().check(offered(quote), "z", at(1_000_500));
            assert_eq!(refused.err(), Some(expected));
        }
    }

    #[test]
    fn less_than_the_estimate_may_be_allowed_and_is_what_the_voucher_signs() {
        let mut purse = purse();
        let dear = Price { excl_vat: 1, incl_vat: 12_000_001 };
        let offer = planned(&purse, 2_000_000).unwrap();
        let offer = offer.check(offered(Quote { wholesale: dear, ..quote() }), "z", at(1_000_500)).unwrap();
        assert_eq!(offer.limit(), euros(2_000_000));
        assert_eq!(offer.agree(&mut purse, at(1_000_600)).unwrap().acceptance.limit, 2_000_000);
    }

    #[test]
    fn without_a_voucher_that_pays_it_nothing_is_asked() {
        let purse = purse();
        let refused = |amount| planned(&purse, amount).err();
        assert_eq!(refused(30_000_001), Some(VisitError::NoVoucher { amount: euros(30_000_001) }));
        assert_eq!(refused(0), Some(VisitError::NothingAllowed));
        let nok = Money { currency: Currency::new("NOK").unwrap(), ..euros(1) };
        let limits = ChargeLimits::default();
        let other = plan(station(), &contract(), &purse, limits, nok, at(1_000_000)).err();
        assert_eq!(other, Some(VisitError::NoVoucher { amount: nok }));
    }
}
