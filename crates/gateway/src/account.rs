//! Accounting: the two halves of a session become a record that the ledger can price again.
//!
//! Source: Paper A, sections 2.1.3 and 3.1 ("upon completion of the service, the AAA node of the VUN sends an
//! invoice").

use crate::sessions::{Accepted, Consumption};
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{
    AcceptanceSignature, AgreementRef, Cdr, CdrId, EvsePseudonym, GridZone, Payer, SessionId, session_digest,
};
use eroam_domain::charge::acceptance_digest;
use eroam_domain::codec::{Digest, to_bytes};
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::pricing::{self, ForecastInput, ItemisedPrice, PriceError, PricingInputs};
use eroam_domain::tariff::Tariff;
use eroam_ledger::settlement::CreditReservation;
use eroam_ledger::tx::PublicKey;

/// What a record is made from besides the two halves.
#[derive(Clone, Copy, Debug)]
pub struct RecordInputs<'a> {
    /// The operator.
    pub operator: PartyId,
    /// The session.
    pub session: &'a SessionId,
    /// Who pays.
    pub payer: Payer,
    /// The signature of the acceptance.
    pub acceptance: AcceptanceSignature,
    /// The agreement in force when the quote was accepted.
    pub agreement: (AgreementRef, &'a RoamingAgreement),
    /// The tariff that was quoted.
    pub tariff: &'a Tariff,
    /// The pseudonym of the EVSE.
    pub evse: EvsePseudonym,
    /// Its grid zone.
    pub zone: &'a GridZone,
    /// The forecast that the price follows: [`crate::forecasts::of_session`].
    pub forecast: Option<&'a ForecastInput>,
}

/// The record of a session.
///
/// # Errors
/// [`PriceError`]: a session without a price is not recorded, and stays visible as pending.
pub fn record(
    inputs: &RecordInputs<'_>,
    accepted: &Accepted,
    consumption: &Consumption,
) -> Result<Cdr, PriceError> {
    let (agreement, terms) = inputs.agreement;
    let price = wholesale(terms, inputs.tariff, consumption, inputs.forecast)?.total;
    Ok(Cdr {
        id: cdr_id(inputs.session),
        session: session_digest(inputs.operator, inputs.session),
        agreement,
        tariff: accepted.quote.tariff.clone(),
        evse: inputs.evse,
        zone: inputs.zone.clone(),
        accepted_at: accepted.at,
        start: consumption.start,
        end: consumption.end,
        clock: consumption.clock,
        periods: consumption.periods.clone(),
        energy: consumption.energy,
        attestation: inputs.forecast.map(|forecast| forecast.attestation),
        price,
        currency: terms.currency,
        quote: accepted.quote.digest(),
        readings: consumption.readings,
        acceptance: inputs.acceptance,
        payer: inputs.payer,
    })
}

/// The itemised wholesale price of what was consumed.
///
/// # Errors
/// [`PriceError`].
pub fn wholesale(
    terms: &RoamingAgreement,
    tariff: &Tariff,
    consumption: &Consumption,
    forecast: Option<&ForecastInput>,
) -> Result<ItemisedPrice, PriceError> {
    pricing::price(&PricingInputs {
        tariff,
        rule: &terms.price_rule,
        rounding: terms.rounding,
        clock: consumption.clock,
        periods: &consumption.periods,
        end: consumption.end,
        forecast,
    })
}

/// The itemised wholesale price of a record, with the forecast that it names ([`crate::forecasts::of_booked`]).
///
/// # Errors
/// [`PriceError`].
pub fn wholesale_of(
    terms: &RoamingAgreement,
    tariff: &Tariff,
    cdr: &Cdr,
    forecast: Option<&ForecastInput>,
) -> Result<ItemisedPrice, PriceError> {
    pricing::price(&PricingInputs::of_record(terms, tariff, cdr, forecast))
}

/// A session's record has the session's id: one session, one record.
#[must_use]
pub fn cdr_id(session: &SessionId) -> CdrId {
    session.widen()
}

/// The pseudonym of an EVSE: stable for the operator, meaningless without its secret.
#[must_use]
pub fn evse_pseudonym(secret: &Digest, evse: &EvseId) -> EvsePseudonym {
    let Digest(bytes) = Digest::of_parts("eroam/evse/1", &[&secret.0, evse.normalised().as_bytes()]);
    let mut short = [0; 16];
    for (slot, byte) in short.iter_mut().zip(bytes) {
        *slot = byte;
    }
    EvsePseudonym(short)
}

/// How much more than the estimate is reserved: a session may take a little more than the driver said.
pub const RESERVE_BPS: i128 = 12_000;

/// The credit to reserve for an accepted quote: the estimate and a fifth, within the agreement's limit; expiring when
/// the longest session of the agreement would end.
#[must_use]
pub fn reservation(
    operator: PartyId,
    session: &SessionId,
    agreement: (AgreementRef, &RoamingAgreement),
    accepted: &Accepted,
) -> Option<CreditReservation> {
    let (reference, terms) = agreement;
    let estimate = i128::from(terms.due(accepted.quote.wholesale));
    let wanted = i64::try_from(estimate.checked_mul(RESERVE_BPS)?.checked_div_euclid(10_000)?).ok()?;
    Some(CreditReservation {
        agreement: reference,
        session: session_digest(operator, session),
        // A free session still reserves the smallest amount: every session is announced before power.
        amount: wanted.clamp(1, terms.limits.amount_max),
        reserved_at: accepted.at,
        expires_at: accepted.at.checked_add(terms.limits.duration_max)?,
    })
}

/// Whether the operator's key signed the acceptance that a record carries.
#[must_use]
pub fn acceptance_is_signed(cdr: &Cdr, operator_key: &PublicKey) -> bool {
    operator_key.verifies(&acceptance_digest(cdr.quote, cdr.accepted_at).0, &cdr.acceptance.0)
}

/// SHA-256 over the readings of a session that came with totals only: its periods.
#[must_use]
pub fn readings_digest(periods: &[eroam_domain::cdr::ChargingPeriod]) -> Digest {
    Digest::of_parts("eroam/readings/1", &[&to_bytes(&periods.to_vec())])
}
