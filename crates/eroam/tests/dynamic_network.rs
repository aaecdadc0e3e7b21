//! A price by forecast on a network of four validators with their sockets: attested, recorded, trued up, and the same state
//! everywhere, which is that of a network of one.

use ed25519_dalek::SigningKey;
use eroam::consortium::{Seed, founders};
use eroam::ledger::{Ledger, LedgerSetup};
use eroam_domain::agreement::{Actuals, DynamicRule, Knot, Panel, PriceRule, RoamingAgreement};
use eroam_domain::cdr::{
    Adjustment, AgreementRef, Cdr, CdrId, ChargingPeriod, EvsePseudonym, GridZone, Payer, SessionId,
    TariffRef, session_digest,
};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::forecast::{combine, session_hours};
use eroam_domain::ids::PartyId;
use eroam_domain::money::Price;
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours};
use eroam_domain::tariff::Tariff;
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::forecast::{ForecastAttestation, ForecastTx, LoadAttestation};
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::state::{ledger_balance, state_digest};
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::{Envelope, PublicKey, Tx, VERSION};
use std::time::Duration;

const SEED: Seed = Seed(7);
const HOUR_MS: u64 = 3_600_000;
/// 2026-11-22T10:00Z, in hours since 1970.
const TEN: i64 = 498_706;
/// So long a validator may take for the blocks that the others have: a limit for a test that fails, not a wait.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(120);

fn hour(hour: i64) -> UnixMillis {
    UnixMillis::from_utc_hour(hour).unwrap()
}

fn zone() -> GridZone {
    GridZone::new("AEP").unwrap()
}

/// 0.24 per kWh at 60 % of a megawatt, and 0.0006 more for each kilowatt above; trued up beyond 5 %.
fn terms(emsp: PartyId, cpo: PartyId, attester: PartyId) -> RoamingAgreement {
    let knot = |utilisation_bps, surcharge_bps| Knot { utilisation_bps, surcharge_bps };
    let rule = DynamicRule {
        fallback: BasisPoints::WHOLE,
        base_micros_per_kwh: 240_000,
        time_of_use: Vec::new(),
        capacity_kw: 1_000,
        knots: vec![knot(6_000, 0), knot(10_000, 10_000)],
        floor_micros: 60_000,
        cap_micros: 600_000,
        band_bps: BasisPoints::new(500),
        vat: None,
        zone: zone(),
        // Three say what will be, and the one who gains nothing says what was.
        forecasters: Panel { parties: vec![emsp, cpo, attester], quorum: 2 },
        actuals: Actuals::Independent { attester },
        true_up_cap_bps: BasisPoints::new(5_000),
        renewable: Vec::new(),
    };
    RoamingAgreement {
        price_rule: PriceRule::Dynamic(rule),
        ..founders::terms(&founders::founders(), emsp, cpo)
    }
}

/// A network, and what its members sign.
struct Network {
    ledger: Ledger,
    now: UnixMillis,
}

impl Network {
    fn open(validators: usize) -> Self {
        let founders = founders::founders();
        let parties: Vec<PartyId> = founders.iter().map(|founder| founder.party).collect();
        let setup = LedgerSetup { validators, ..LedgerSetup::default() };
        let key = |party| PublicKey::of(&SEED.signing_key(party));
        // The same genesis but for the validators, so that the same transactions are of two networks.
        let genesis = founders::genesis(&founders, setup.consensus(SEED, &parties), key);
        Self { ledger: Ledger::open(SEED, &genesis, &setup).unwrap(), now: hour(TEN) }
    }

    /// Submits to one validator, the next one each time, and gives why an item was refused.
    fn submit(&self, turn: usize, member: PartyId, tx: Tx) -> Option<RejectCode> {
        let nodes = self.ledger.nodes();
        let mut client = nodes[turn % nodes.len()].client().clone();
        let key: SigningKey = SEED.signing_key(member);
        let envelope = Envelope {
            version: VERSION,
            network: client.network(),
            member,
            key: 0,
            lane: 1,
            sequence: query::next_sequence(self.ledger.client(), member, 1).unwrap(),
            expires_at: self.now.checked_add(DurationMs::from_millis(HOUR_MS)).unwrap(),
            tx,
        };
        let receipts = client.submit(self.now, vec![envelope.sign(&key)]).unwrap();
        // The next one of this member is numbered by what the first validator knows.
        self.follow_to(receipts.iter().filter_map(|receipt| receipt.height).max().unwrap_or(0));
        receipts.iter().flat_map(|receipt| &receipt.items).find_map(|item| item.outcome.rejection())
    }

    /// Waits until every validator has what the first among them has; gives the height.
    fn follow(&self) -> u64 {
        let clients = || self.ledger.nodes().iter().map(|node| node.client());
        let height = clients().map(|client| client.latest().height).max().unwrap();
        self.follow_to(height);
        height
    }

    /// Waits until every validator has a block.
    fn follow_to(&self, height: u64) {
        for client in self.ledger.nodes().iter().map(|node| node.client()) {
            assert!(client.wait_for_height(height, FOLLOWS_WITHIN), "block {height}");
            assert!(client.read_model().wait_for(height, FOLLOWS_WITHIN), "block {height}");
        }
    }

    fn ok(&self, turn: usize, member: PartyId, tx: Tx) {
        assert_eq!(self.submit(turn, member, tx), None, "turn {turn}");
    }

    /// The digest of every validator's state, at the same height.
    fn digests(&self) -> Vec<Digest> {
        let height = self.follow();
        let digest = |client: &eroam_chain::client::Client| {
            let (header, entries) = client.entries().unwrap();
            assert!(header.height >= height, "{} and not {height}", header.height);
            let of = || entries.iter().map(|(key, value)| (&key[..], &value[..]));
            assert!(ledger_balance(of()).unwrap().values().all(|sum| *sum == 0));
            state_digest(of())
        };
        self.ledger.nodes().iter().map(|node| digest(node.client())).collect()
    }
}

fn forecast(load_kw: [u32; 4]) -> Tx {
    Tx::Forecast(ForecastTx::AttestForecast(ForecastAttestation {
        zone: zone(),
        first_hour: TEN + 1,
        low_kw: load_kw.map(|kw| kw - 50).to_vec(),
        high_kw: load_kw.map(|kw| kw + 50).to_vec(),
        load_kw: load_kw.to_vec(),
        renewable_bps: None,
        model: Digest::of(b"model"),
        window: Digest::of(b"window"),
    }))
}

/// 20 kWh from 11:00 to 13:00, accepted at 10:50, priced by what is in force on the ledger.
fn record(network: &Network, terms: &RoamingAgreement, agreement: AgreementRef, tariff: &Tariff) -> Cdr {
    let (start, end) = (hour(TEN + 1), hour(TEN + 3));
    let accepted_at = start.checked_sub(DurationMs::from_millis(600_000)).unwrap();
    let energy = WattHours::from_wh(20_000).unwrap();
    let period = ChargingPeriod {
        start,
        energy,
        charging: DurationMs::from_millis(2 * HOUR_MS),
        parking: DurationMs::ZERO,
        reservation: DurationMs::ZERO,
        power: None,
        current: None,
    };
    let session = SessionId::new("S1").unwrap();
    let mut cdr = Cdr {
        id: CdrId::new("S1").unwrap(),
        session: session_digest(terms.cpo, &session),
        agreement,
        tariff: TariffRef { id: tariff.id().clone(), version: 1 },
        evse: EvsePseudonym([1; 16]),
        zone: zone(),
        accepted_at,
        start,
        end,
        clock: LocalClock::UTC,
        periods: vec![period],
        energy,
        attestation: None,
        price: Price::ZERO,
        currency: terms.currency,
        quote: Digest::of(b"quote"),
        readings: Digest::of(b"readings"),
        acceptance: SignatureBytes([7; 64]),
        payer: Payer::Contract { commitment: Digest::of(b"contract") },
    };
    let rule = terms.forecast_rule(&zone()).unwrap();
    let hours = session_hours(start, end, accepted_at);
    let attested = query::forecasts(network.ledger.client(), rule, &hours).unwrap();
    let forecast = combine(rule, &attested, accepted_at, hours).unwrap();
    cdr.attestation = Some(forecast.attestation);
    cdr.price =
        pricing::price(&PricingInputs::of_record(terms, tariff, &cdr, Some(&forecast))).unwrap().total;
    cdr
}

/// The story; gives every validator's state digest and what the true-up came to.
fn settle(validators: usize) -> (Vec<Digest>, i64) {
    let mut network = Network::open(validators);
    let founders = founders::founders();
    let [emsp, cpo, attester] = [&founders[0], &founders[3], &founders[2]].map(|founder| founder.party);
    let (terms, tariff) = (terms(emsp, cpo, attester), founders[3].tariff("AC-FLAT"));
    assert_eq!(terms.check(), Ok(()));
    let effective_from = UnixMillis::EPOCH;
    let agreement = AgreementRef { id: agreement_id(&terms, effective_from), version: 1 };
    let accepted = terms_digest(&terms, effective_from);
    network.ok(0, emsp, Tx::Agreement(AgreementTx::Propose { terms: terms.clone(), effective_from }));
    network.ok(1, cpo, Tx::Agreement(AgreementTx::Accept { id: agreement.id, version: 1, terms: accepted }));
    network.ok(2, cpo, Tx::Tariff(TariffTx::PublishTariff { version: 1, tariff: tariff.clone() }));
    // Two honest ones, and one who would like it dearer: the middle one counts.
    network.ok(3, attester, forecast([600, 650, 700, 700]));
    network.ok(0, emsp, forecast([610, 640, 700, 700]));
    network.ok(1, cpo, forecast([990, 990, 990, 990]));

    let mut cdr = record(&network, &terms, agreement, &tariff);
    network.now = hour(TEN + 4);
    // 10 kWh at 0.24 * 1.025 and 10 at 0.24 * 1.125, and the fee of 0.35.
    assert_eq!(cdr.price.excl_vat, 2_460_000 + 2_700_000 + 350_000);
    let dearer = Cdr { price: Price { excl_vat: cdr.price.excl_vat + 1, ..cdr.price }, ..cdr.clone() };
    let refused = network.submit(2, cpo, Tx::Cdr(CdrTx::RecordCdrs(vec![dearer])));
    assert!(matches!(refused, Some(RejectCode::PriceMismatch(_))), "{refused:?}");
    let named = cdr.attestation.replace(Digest::of(b"of no ledger"));
    let refused = network.submit(3, cpo, Tx::Cdr(CdrTx::RecordCdrs(vec![cdr.clone()])));
    assert_eq!(refused, Some(RejectCode::UnknownForecast));
    cdr.attestation = named;
    network.ok(0, cpo, Tx::Cdr(CdrTx::RecordCdrs(vec![cdr.clone()])));

    let true_up = || Tx::Cdr(CdrTx::TrueUp(vec![cdr.clone()]));
    assert_eq!(network.submit(1, cpo, true_up()), Some(RejectCode::ActualsAwaited));
    // The first hour was within the band, the second was 800 in place of 650: 0.24 * 1.5 in place of 0.24 * 1.125.
    let loads = LoadAttestation {
        zone: zone(),
        first_hour: TEN + 1,
        load_kw: vec![620, 800],
        source: Digest::of(b"meters"),
    };
    network.ok(2, attester, Tx::Forecast(ForecastTx::AttestLoad(loads)));
    network.ok(3, emsp, true_up());
    assert_eq!(network.submit(0, cpo, true_up()), Some(RejectCode::AlreadyTruedUp));
    let booked = query::cdr(network.ledger.client(), cpo, &cdr.id).unwrap().unwrap();
    let [Adjustment::TrueUp { micros }] = booked.adjustments[..] else { panic!("{:?}", booked.adjustments) };
    (network.digests(), micros)
}

#[test]
fn four_validators_agree_on_forecasts_records_and_true_ups_as_one_does() {
    let (four, trued_up) = settle(4);
    assert_eq!(four.len(), 4);
    assert!(four.iter().all(|digest| *digest == four[0]), "{four:?}");
    assert_eq!(trued_up, 900_000);
    let (one, alone) = settle(1);
    assert_eq!((one.as_slice(), alone), (&four[..1], trued_up));
}
