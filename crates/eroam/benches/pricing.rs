//! What pricing and the ledger's rules cost for each record, and the crate `ocpi-tariffs` beside them.
//!
//! ```text
//! price/eroam                the price of one record, itemised, with the agreement's factor and rounding
//! price/ocpi-tariffs         the same record as parsed OCPI 2.2.1 JSON, with the tariff that it carries
//! price/ocpi-tariffs, tariff given   the same with the tariff parsed beforehand too
//! execute/256 records        a signed batch of as many: signature, checks, pricing again, bookings
//! ```
//! Nobody's time includes parsing text. The crate reads numbers and dates out of its JSON tree each time it prices;
//! it has no other entry. Before anything is measured, both must agree on every record to within a cent.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eroam::bench::{Rule, Workload};
use eroam::consortium::{Seed, founders};
use eroam::ledger::LedgerSetup;
use eroam_domain::agreement::PriceRule;
use eroam_domain::cdr::{Cdr, SessionId};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Rounding, RoundingMode};
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::quantity::BasisPoints;
use eroam_domain::tariff::Tariff;
use eroam_domain::time::UnixMillis;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::execute::{Header, execute};
use eroam_ledger::state::MemoryState;
use eroam_ledger::tx::{BATCH_MAX, Envelope, PublicKey, SignedEnvelope, Tx, VERSION};
use eroam_wire::ocpi::cdr::{
    AuthMethod, CdrLocation, CdrObject, CdrToken, Connector, ConnectorFormat, Coordinates, PowerType,
    TokenKind,
};
use ocpi_tariffs::Version;
use ocpi_tariffs::price::TariffSource;
use std::collections::BTreeMap;
use std::hint::black_box;

/// Records that are priced in turn: every tariff, partner, length and hour of the week comes up.
const RECORDS: u64 = 2_910;
/// The generated clocks are an hour ahead of UTC; POSIX counts west of Greenwich.
const ZONE: chrono_tz::Tz = chrono_tz::Tz::Etc__GMTMinus1;

/// A record as OCPI JSON, and its price by the tariff alone, in millionths with VAT.
fn as_ocpi(cdr: &Cdr, tariff: &Tariff) -> (String, i64) {
    let price = pricing::price(&PricingInputs {
        tariff,
        rule: &PriceRule::Static { factor: BasisPoints::WHOLE },
        rounding: Rounding::new(1, RoundingMode::Down).unwrap(),
        clock: cdr.clock,
        periods: &cdr.periods,
        end: cdr.end,
        forecast: None,
    })
    .unwrap();
    let object = CdrObject {
        party: tariff.party(),
        id: cdr.id.clone(),
        session_id: SessionId::new(cdr.id.as_str()).unwrap(),
        start: cdr.start,
        end: cdr.end,
        token: CdrToken {
            uid: "012345678".into(),
            kind: TokenKind::Rfid,
            contract: "DE-RHN-C12345678".parse().unwrap(),
            party: "DE-RHN".parse().unwrap(),
        },
        auth_method: AuthMethod::Whitelist,
        authorization_reference: None,
        location: CdrLocation {
            id: "LOC1".into(),
            name: None,
            address: "Rua 1".into(),
            city: "Lisboa".into(),
            postal_code: None,
            country: "PRT".into(),
            coordinates: Coordinates { latitude: "38.722300".into(), longitude: "-9.139300".into() },
            evse_uid: "1".into(),
            evse_id: "PT*LUZ*E1".parse().unwrap(),
            connector: Connector {
                id: "1".into(),
                standard: "IEC_62196_T2".into(),
                format: ConnectorFormat::Socket,
                power_type: PowerType::Ac3Phase,
            },
        },
        tariff: (tariff, UnixMillis::EPOCH),
        periods: &cdr.periods,
        price: &price,
        credits: None,
        remark: None,
        last_updated: cdr.end,
    };
    (object.to_json().unwrap(), price.total.incl_vat)
}

fn oracle(cdr: &ocpi_tariffs::cdr::Versioned<'_>, source: TariffSource<'_>) -> ocpi_tariffs::price::Report {
    ocpi_tariffs::cdr::price(cdr, source, ZONE).expect("the oracle prices every record").ignore_warnings()
}

/// Both must agree to within a cent.
fn assert_agreement(cdr: &ocpi_tariffs::cdr::Versioned<'_>, ours_micros: i64) {
    let total = oracle(cdr, TariffSource::UseCdr).total_cost.calculated.expect("every record has a price");
    let theirs: f64 = format!("{:#}", total.incl_vat.expect("with VAT")).parse().unwrap();
    let ours = ours_micros as f64 / 1e6;
    assert!((ours - theirs).abs() <= 0.01, "ours {ours}, theirs {theirs}");
}

fn bench_price(c: &mut Criterion) {
    let workload = Workload::new(Rule::Static).unwrap();
    let records: Vec<Cdr> = (0..RECORDS).map(|n| workload.record(n).unwrap()).collect();
    let texts: Vec<(String, i64)> =
        records.iter().zip(0..).map(|(cdr, n)| as_ocpi(cdr, workload.tariff(n).unwrap())).collect();
    let parsed: Vec<_> = texts
        .iter()
        .map(|(text, _)| ocpi_tariffs::cdr::parse_with_version(text, Version::V221).unwrap().cdr)
        .collect();
    for (cdr, (_, ours)) in parsed.iter().zip(&texts) {
        assert_agreement(cdr, *ours);
    }
    let tariff_texts: Vec<String> = (0..founders::TARIFFS.len() as u64)
        .map(|n| {
            eroam_wire::ocpi::tariff::tariff_to_json(workload.tariff(n).unwrap(), UnixMillis::EPOCH).unwrap()
        })
        .collect();

    let mut group = c.benchmark_group("price");
    group.throughput(Throughput::Elements(1));
    let mut turns = (0..RECORDS).cycle();
    group.bench_function("eroam", |b| {
        b.iter(|| {
            let n = turns.next().unwrap();
            let inputs = workload.inputs(n, &records[n as usize], None).unwrap();
            pricing::price(black_box(&inputs)).unwrap()
        });
    });
    let mut turns = (0..RECORDS).cycle();
    group.bench_function("ocpi-tariffs", |b| {
        b.iter(|| oracle(black_box(&parsed[turns.next().unwrap() as usize]), TariffSource::UseCdr));
    });
    let mut turns = (0..RECORDS).cycle();
    group.bench_function("ocpi-tariffs, tariff given", |b| {
        b.iter_batched(
            || {
                let n = turns.next().unwrap() as usize;
                let text = &tariff_texts[n % tariff_texts.len()];
                let tariff = ocpi_tariffs::tariff::parse_with_version(text, Version::V221).unwrap().tariff;
                (&parsed[n], TariffSource::single(tariff))
            },
            |(cdr, source)| oracle(black_box(cdr), source),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A founded ledger and a signed batch of new records.
fn batch(workload: &Workload) -> (MemoryState, SignedEnvelope, Header) {
    let seed = Seed(1);
    let founders = founders::founders();
    let parties: Vec<PartyId> = founders.iter().map(|founder| founder.party).collect();
    let consensus = LedgerSetup::default().consensus(seed, &parties);
    let genesis = founders::genesis(&founders, consensus, |party| PublicKey::of(&seed.signing_key(party)));
    let network = genesis.network();
    let mut state = MemoryState::default();
    state.apply(genesis.state().unwrap());
    let mut header = Header { network, height: 1, time: UnixMillis::EPOCH };
    let expires_at = UnixMillis::new(253_402_300_799_999).unwrap();
    let sign = |member, sequence, lane, tx| {
        Envelope { version: VERSION, network, member, key: 0, lane, sequence, expires_at, tx }
            .sign(&seed.signing_key(member))
    };
    let mut sequences = BTreeMap::new();
    let (first, then) = founders::founding_transactions(&founders);
    for (party, tx) in first.into_iter().chain(then) {
        let sequence: &mut u64 = sequences.entry(party).or_default();
        let outcome = execute(&state, &sign(party, *sequence, 1, tx), &header).unwrap();
        *sequence += 1;
        assert!(outcome.items.iter().all(|item| item.outcome.rejection().is_none()));
        state.apply(outcome.writes);
    }
    let records: Vec<Cdr> = (0..BATCH_MAX as u64).map(|n| workload.record(n).unwrap()).collect();
    header.height = 2;
    header.time = records.iter().map(|cdr| cdr.end).max().unwrap();
    let operator = workload.tariff(0).unwrap().party();
    let signed = sign(operator, 0, 0, Tx::Cdr(CdrTx::RecordCdrs(records)));
    (state, signed, header)
}

fn bench_execute(c: &mut Criterion) {
    let (state, signed, header) = batch(&Workload::new(Rule::Static).unwrap());
    let outcome = execute(&state, &signed, &header).unwrap();
    assert!(outcome.items.iter().all(|item| item.outcome.rejection().is_none()), "every record is accepted");
    let mut group = c.benchmark_group("execute");
    group.throughput(Throughput::Elements(BATCH_MAX as u64));
    // Pure: the same batch over the same state is new every time.
    group.bench_function(format!("{BATCH_MAX} records"), |b| {
        b.iter(|| execute(black_box(&state), black_box(&signed), &header).unwrap());
    });
    group.finish();
}

criterion_group!(benches, bench_price, bench_execute);
criterion_main!(benches);
