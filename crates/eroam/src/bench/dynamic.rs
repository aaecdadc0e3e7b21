//! The same workload priced by a forecast: what its agreements say, and what is attested for them.
//!
//! ```text
//! round of the EVSEs (seven hours) -> one attestation by each agreement's forecaster, before the round begins
//! record of that round             -> the hours of its session -> their rates
//! ```

use eroam_domain::agreement::{Actuals, DynamicRule, Knot, Panel, PriceRule, RoamingAgreement};
use eroam_domain::cdr::{Cdr, GridZone};
use eroam_domain::codec::Digest;
use eroam_domain::forecast::{AttestedForecast, of_record};
use eroam_domain::ids::PartyId;
use eroam_domain::pricing::ForecastInput;
use eroam_domain::quantity::{BasisPoints, DurationMs};
use eroam_domain::time::UnixMillis;
use eroam_ledger::forecast::{ForecastAttestation, attestation_id};

/// Hours of a round.
pub(super) const ROUND_HOURS: u64 = 7;
/// What the zone can carry, in kilowatts.
const CAPACITY_KW: u32 = 1_000;

/// How an agreement's price follows a forecast by `forecaster`: five knots, as in the study of paper A.
fn rule(zone: GridZone, forecaster: PartyId, fallback: BasisPoints) -> DynamicRule {
    let knots = [(4_500, -2_000), (6_000, 0), (7_500, 3_000), (8_500, 8_000), (10_000, 15_000)];
    DynamicRule {
        fallback,
        base_micros_per_kwh: 240_000,
        time_of_use: Vec::new(),
        capacity_kw: CAPACITY_KW,
        knots: knots.map(|(utilisation_bps, surcharge_bps)| Knot { utilisation_bps, surcharge_bps }).to_vec(),
        floor_micros: 60_000,
        cap_micros: 600_000,
        band_bps: BasisPoints::new(300),
        vat: None,
        zone,
        forecasters: Panel { parties: vec![forecaster], quorum: 1 },
        actuals: Actuals::Independent { attester: forecaster },
        true_up_cap_bps: BasisPoints::WHOLE,
        renewable: Vec::new(),
    }
}

/// The terms with a price that follows a forecast by the first of `parties` who gains nothing by it. `None` if all do.
pub(super) fn terms(
    terms: RoamingAgreement,
    zone: GridZone,
    parties: impl IntoIterator<Item = PartyId>,
) -> Option<RoamingAgreement> {
    let forecaster = parties.into_iter().find(|party| terms.side(*party).is_none())?;
    let rule = rule(zone, forecaster, terms.price_rule.static_factor());
    Some(RoamingAgreement { price_rule: PriceRule::Dynamic(rule), ..terms })
}

/// Whose forecast the price follows.
pub(super) fn forecaster(terms: &RoamingAgreement) -> Option<PartyId> {
    match &terms.price_rule {
        PriceRule::Dynamic(rule) => rule.forecasters.parties.first().copied(),
        PriceRule::Static { .. } => None,
    }
}

/// What is attested for the round that begins with `first_hour`: loads between 40 and 110 % of the capacity.
pub(super) fn attestation(zone: GridZone, first_hour: i64) -> ForecastAttestation {
    let hours = (0i64..).take(ROUND_HOURS as usize);
    let load = |hour: i64| 400 + u32::try_from((first_hour + hour).rem_euclid(71) * 10).unwrap_or(0);
    let load_kw: Vec<u32> = hours.map(load).collect();
    let band = |per_cent: u32| load_kw.iter().map(|kw| kw * per_cent / 100).collect();
    ForecastAttestation {
        zone,
        first_hour,
        low_kw: band(95),
        high_kw: band(105),
        load_kw,
        renewable_bps: None,
        model: Digest::ZERO,
        window: Digest::ZERO,
    }
}

/// Names the forecast in a record of the round that begins at `begin`, and gives it.
pub(super) fn follow(terms: &RoamingAgreement, cdr: &mut Cdr, begin: UnixMillis) -> Option<ForecastInput> {
    let attester = forecaster(terms)?;
    let attestation = attestation(cdr.zone.clone(), begin.utc_hour());
    let attested = AttestedForecast {
        attester,
        id: attestation_id(attester, &attestation),
        since: begin.checked_sub(DurationMs::from_millis(3_600_000))?,
        first_hour: attestation.first_hour,
        load_kw: attestation.load_kw,
        renewable_bps: None,
    };
    cdr.attestation = Some(eroam_domain::forecast::set_digest(&[attested.id].into()));
    of_record(terms, &[attested], cdr).ok()?
}
