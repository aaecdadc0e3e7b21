//! What it costs the read model to index a record, in processor time of its writer thread.
//!
//! Not a sample of short runs, since what costs is a file that grows: blocks of records go in until there are as many
//! as asked for (`cargo bench --bench read_model -- 4000000`), and each quarter of them is reported. Linux only.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use eroam_chain::block::Block;
use eroam_chain::read_model::{PAGE_MAX, ReadModel};
use eroam_domain::agreement::{Limits, PriceRule, RoamingAgreement, Shares, Terms, VatTreatment};
use eroam_domain::cdr::{
    AgreementRef, Cdr, CdrId, ChargingPeriod, EvsePseudonym, GridZone, Payer, SessionId, TariffRef,
    session_digest,
};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money, Price, Rounding};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{LocalClock, PeriodKind, SettlementPeriod, UnixMillis};
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::reject::{Item, ItemOutcome};
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, Tx, VERSION};
use eroam_light::block::{Body, Header};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records of an envelope, and of a block.
const BATCH: usize = 250;
const BLOCK: usize = 5_000;
/// Each of so many operators has an agreement with each of so many home utilities.
const OPERATORS: usize = 10;
const UTILITIES: usize = 10;
const NETWORK: Digest = Digest([7; 32]);

fn main() {
    let records = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let batch = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).nth(1).unwrap_or(BATCH);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index.redb");
    let (model, feed) = ReadModel::open(&path, NETWORK).unwrap();
    let mut chain = Chain::new(batch);
    feed.block(chain.agreements());
    assert!(model.wait_for(1, Duration::from_secs(60)));
    let quarter = (records / BLOCK).div_ceil(4).max(1);
    for part in 1..=4 {
        let mut spent = Duration::ZERO;
        let mut waited = Duration::ZERO;
        for _ in 0..quarter {
            // Made, and decoded as the engine has done already, while the writer has nothing to do.
            let block = chain.block();
            assert!(block.contents().is_some());
            let (before, began) = (writer_time(), Instant::now());
            feed.block(Arc::clone(&block));
            assert!(model.wait_for(block.header().height, Duration::from_secs(600)));
            waited += began.elapsed();
            spent += writer_time() - before;
        }
        let of = u32::try_from(quarter * BLOCK).unwrap();
        println!(
            "{:>9} records: {:>6} ns of CPU for each, {:>6} ns until readers see it; the file has {:>4} bytes for each",
            part * quarter * BLOCK,
            (spent / of).as_nanos(),
            (waited / of).as_nanos(),
            std::fs::metadata(&path).unwrap().len() / u64::try_from(part * quarter * BLOCK).unwrap(),
        );
    }
    let last = &chain.last.clone().unwrap();
    let known = chain.known.clone();
    time("the place of an envelope", || assert!(model.place_of(&known.0, 1).unwrap().is_some()));
    time("an item by its hash", || assert_eq!(model.item(&known.1, None, 9).unwrap().rows.len(), 1));
    time("a record by its id", || assert!(model.record(known.2, &known.3).unwrap().is_some()));
    time("a page of 500 records of an operator", || {
        assert_eq!(model.records_of(known.2, None, PAGE_MAX).unwrap().rows.len(), PAGE_MAX);
    });
    time("a page of 500 records between two", || {
        let rows = model.records_between(utility(0), operator(0), known.4, None, PAGE_MAX).unwrap().rows;
        assert!(!rows.is_empty());
    });
    time("a page of 500 transactions", || {
        assert!(!model.transactions(None, None, PAGE_MAX).unwrap().rows.is_empty())
    });
    assert_eq!(model.block(last.header().height).unwrap().unwrap().rejected, 0);
    let began = Instant::now();
    drop(feed);
    println!("{:>9} ms to close", began.elapsed().as_millis());
    let began = Instant::now();
    let (_, feed) = ReadModel::open(&path, NETWORK).unwrap();
    println!("{:>9} ms to open", began.elapsed().as_millis());
    drop(feed);
}

fn time(what: &str, mut query: impl FnMut()) {
    query();
    let began = Instant::now();
    for _ in 0..20 {
        query();
    }
    println!("{:>9} µs for {what}", (began.elapsed() / 20).as_micros());
}

/// The processor time of the thread that writes.
fn writer_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of_writer = tasks.map(|task| task.unwrap().path()).find(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "read model")
    });
    let spent = std::fs::read_to_string(of_writer.unwrap().join("schedstat")).unwrap();
    Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap())
}

fn operator(n: usize) -> PartyId {
    format!("PT-C{n:02}").parse().unwrap()
}

fn utility(n: usize) -> PartyId {
    format!("PT-E{n:02}").parse().unwrap()
}

/// Blocks one after the other, with made-up outcomes.
struct Chain {
    batch: usize,
    last: Option<Arc<Block>>,
    sequence: u64,
    number: usize,
    agreements: Vec<Vec<AgreementRef>>,
    proposals: Vec<(SignedEnvelope, Vec<Item>)>,
    /// An envelope, and of one of its records the hash, the operator, the id and the period.
    known: (Digest, Digest, PartyId, CdrId, SettlementPeriod),
}

fn start() -> UnixMillis {
    UnixMillis::new(1_737_374_400_000).unwrap()
}

impl Chain {
    fn new(batch: usize) -> Self {
        let eur = Currency::new("EUR").unwrap();
        let mut chain = Self {
            batch,
            last: None,
            sequence: 0,
            number: 0,
            agreements: Vec::new(),
            proposals: Vec::new(),
            known: (
                NETWORK,
                NETWORK,
                operator(0),
                CdrId::new("none").unwrap(),
                SettlementPeriod::containing(PeriodKind::Month, start()),
            ),
        };
        for cpo in (0..OPERATORS).map(operator) {
            let mut of_operator = Vec::new();
            for emsp in (0..UTILITIES).map(utility) {
                let terms = RoamingAgreement {
                    emsp,
                    cpo,
                    price_rule: PriceRule::Static { factor: BasisPoints::WHOLE },
                    shares: Shares::OPERATOR_ONLY,
                    limits: Limits {
                        energy_max: WattHours::from_wh(100_000).unwrap(),
                        duration_max: DurationMs::from_millis(86_400_000),
                        power_max: Watts::new(50_000),
                        amount_max: 100_000_000,
                    },
                    credit_limit: Money::new(1_000_000_000, eur),
                    period: PeriodKind::Month,
                    currency: eur,
                    rounding: Rounding::cents(),
                    vat: VatTreatment::Charged,
                    resolver: "PT-RES".parse().unwrap(),
                    contest_window: DurationMs::from_millis(86_400_000),
                    resolve_window: DurationMs::from_millis(86_400_000),
                    record_window: DurationMs::from_millis(86_400_000),
                    terms: Terms::Clear,
                };
                let at = AgreementRef { id: agreement_id(&terms, start()), version: 1 };
                let accept =
                    AgreementTx::Accept { id: at.id, version: 1, terms: terms_digest(&terms, start()) };
                let propose = AgreementTx::Propose { terms, effective_from: start() };
                for (member, tx) in [(emsp, propose), (cpo, accept)] {
                    let signed = chain.envelope(member, Tx::Agreement(tx));
                    let item = Item { hash: signed.digest(), outcome: ItemOutcome::ACCEPTED };
                    chain.proposals.push((signed, vec![item]));
                }
                of_operator.push(at);
            }
            chain.agreements.push(of_operator);
        }
        chain
    }

    fn envelope(&mut self, member: PartyId, tx: Tx) -> SignedEnvelope {
        self.sequence += 1;
        let envelope = Envelope {
            version: VERSION,
            network: NETWORK,
            member,
            key: 0,
            lane: 0,
            sequence: self.sequence,
            expires_at: start(),
            tx,
        };
        envelope.sign(&SigningKey::from_bytes(&[1; 32]))
    }

    fn agreements(&mut self) -> Arc<Block> {
        let proposals = std::mem::take(&mut self.proposals);
        self.seal(proposals)
    }

    fn block(&mut self) -> Arc<Block> {
        let mut envelopes = Vec::new();
        for envelope in 0..BLOCK / self.batch {
            let cpo = envelope % OPERATORS;
            let cdrs: Vec<Cdr> = (0..self.batch).map(|_| self.cdr(cpo)).collect();
            let items = cdrs.iter().map(|cdr| {
                let period = SettlementPeriod::containing(PeriodKind::Month, cdr.end);
                Item { hash: cdr.digest(), outcome: ItemOutcome::Accepted { booked_in: Some(period) } }
            });
            let items: Vec<Item> = items.collect();
            let known = (items[0].hash, operator(cpo), cdrs[0].id.clone());
            let signed = self.envelope(operator(cpo), Tx::Cdr(CdrTx::RecordCdrs(cdrs)));
            if self.number <= BLOCK {
                self.known = (signed.digest(), known.0, known.1, known.2, self.known.4);
            }
            envelopes.push((signed, items));
        }
        self.seal(envelopes)
    }

    fn cdr(&mut self, cpo: usize) -> Cdr {
        self.number += 1;
        let number = self.number;
        let at = self.agreements[cpo][number / 13 % UTILITIES];
        // As long as a UUID.
        let id = format!("{number:036}");
        let energy = WattHours::from_wh(7_000 + number as u64 % 1_000).unwrap();
        let end = start().checked_add(DurationMs::from_millis(3_600_000)).unwrap();
        let period = ChargingPeriod {
            start: start(),
            energy,
            charging: DurationMs::from_millis(3_600_000),
            parking: DurationMs::ZERO,
            reservation: DurationMs::ZERO,
            power: None,
            current: None,
        };
        Cdr {
            id: CdrId::new(&id).unwrap(),
            session: session_digest(operator(cpo), &SessionId::new(&id).unwrap()),
            agreement: at,
            tariff: TariffRef { id: TariffId::new("T1").unwrap(), version: 1 },
            evse: EvsePseudonym([1; 16]),
            zone: GridZone::new("PT-N").unwrap(),
            accepted_at: start(),
            start: start(),
            end,
            clock: LocalClock::UTC,
            periods: vec![period; 2],
            energy,
            attestation: None,
            price: Price { excl_vat: 5_000_000, incl_vat: 6_000_000 },
            currency: Currency::new("EUR").unwrap(),
            quote: Digest([3; 32]),
            readings: Digest([4; 32]),
            acceptance: SignatureBytes([5; 64]),
            payer: Payer::Contract { commitment: Digest([6; 32]) },
        }
    }

    fn seal(&mut self, envelopes: Vec<(SignedEnvelope, Vec<Item>)>) -> Arc<Block> {
        let height = self.last.as_ref().map_or(0, |block| block.header().height) + 1;
        let (envelopes, items) =
            envelopes.into_iter().map(|(signed, items)| (signed.bytes().to_vec(), items)).unzip();
        let bytes = Bytes::from(Body { envelopes, items }.to_bytes());
        let header = Header {
            version: eroam_light::block::VERSION,
            height,
            epoch: 0,
            view: height,
            leader: PublicKey::of(&SigningKey::from_bytes(&[1; 32])),
            parent_view: 0,
            parent: self.last.as_ref().map_or(NETWORK, |block| block.header().digest()),
            time: start(),
            body: Body::digest(&bytes),
            receipts: Digest::ZERO,
            state: Digest::ZERO,
            operations: Digest::ZERO,
            operations_start: 0,
            operations_end: 1,
        };
        let block = Arc::new(Block::new(header, bytes).unwrap());
        self.last = Some(Arc::clone(&block));
        block
    }
}
