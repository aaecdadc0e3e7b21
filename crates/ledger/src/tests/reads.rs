//! What an envelope declares is enough to execute it, but for what only the state can say.

use super::batches::full_batch;
use super::fixture::*;
use super::formats::kind;
use super::world::{World, step};
use crate::cdr::CdrTx;
use crate::execute::{Header, Outcome, claimed_key, execute, execute_verified};
use crate::reads::{Attempt, attempt, reads};
use crate::settlement::PeriodPairs;
use crate::state::{Account, MemoryState, StateError, StateKey, StateView};
use crate::tx::{SignedEnvelope, Tx};
use eroam_domain::codec;
use eroam_domain::time::{PeriodKind, SettlementPeriod};
use proptest::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A state of which only some keys are loaded.
struct Loaded<'a> {
    state: &'a MemoryState,
    keys: BTreeSet<Vec<u8>>,
}

impl StateView for Loaded<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        if self.keys.contains(key) { self.state.get(key) } else { Err(StateError::NotLoaded(key.to_vec())) }
    }
}

impl<'a> Loaded<'a> {
    /// What the envelope declares.
    fn declared(state: &'a MemoryState, signed: &SignedEnvelope) -> Self {
        Self { state, keys: reads(signed.envelope()).iter().map(StateKey::to_bytes).collect() }
    }
}

/// Executes on what was declared; a missing key is fetched and all is done again. Gives the fetched keys in their order.
fn one_by_one(state: &MemoryState, signed: &SignedEnvelope, header: &Header) -> (Outcome, Vec<StateKey>) {
    let key = claimed_key(state, signed.envelope()).unwrap();
    let verified = key.and_then(|key| signed.verify(&key));
    let mut view = Loaded::declared(state, signed);
    let mut fetched = Vec::new();
    loop {
        match execute_verified(&view, signed, verified.as_ref(), header) {
            Ok(outcome) => return (outcome, fetched),
            Err(StateError::NotLoaded(key)) => {
                fetched.push(codec::from_bytes(&key).unwrap());
                assert!(view.keys.insert(key), "asked for twice");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// As [`one_by_one`], with everything that is missing fetched at once. Gives the number of attempts.
fn all_at_once(state: &MemoryState, signed: &SignedEnvelope, header: &Header) -> (Outcome, usize) {
    let key = claimed_key(state, signed.envelope()).unwrap();
    let verified = key.and_then(|key| signed.verify(&key));
    let mut view = Loaded::declared(state, signed);
    for attempts in 1.. {
        match attempt(&view, signed, verified.as_ref(), header).unwrap() {
            Attempt::Done(outcome) => return (outcome, attempts),
            Attempt::Missing(missing) => {
                assert!(!missing.is_empty() && missing.is_disjoint(&view.keys));
                view.keys.extend(missing);
            }
        }
    }
    unreachable!()
}

/// Whether only the state can say that the key is needed.
fn depends_on_state(tx: &Tx, key: &StateKey) -> bool {
    match kind(tx) {
        "RecordCdrs" => match key {
            StateKey::Account(Account::Payable(..) | Account::Receivable(..)) | StateKey::Voucher(..) => true,
            StateKey::ForecastDay(..) | StateKey::ForecastTimes(..) => true,
            // Later than the record's own.
            StateKey::ClosedPeriod(period, _) | StateKey::PeriodPairs(period, _) => {
                let Tx::Cdr(CdrTx::RecordCdrs(cdrs)) = tx else { panic!("records") };
                cdrs.iter().all(|cdr| SettlementPeriod::containing(period.kind(), cdr.end) != *period)
            }
            _ => false,
        },
        "ReserveCredit" | "ReserveVouchers" => {
            matches!(key, StateKey::Unpaid(_) | StateKey::Account(Account::Net(..)))
        }
        "Propose" => matches!(key, StateKey::Agreement(_)),
        "Accept" => matches!(key, StateKey::ZoneAttester(..)),
        // Whose they are is in the agreement, and what they are about in its terms.
        "TrueUp" => matches!(
            key,
            StateKey::Cdr(..)
                | StateKey::Tariff(..)
                | StateKey::ForecastDay(..)
                | StateKey::ForecastTimes(..)
                | StateKey::LoadDay(..)
                | StateKey::ClosedPeriod(..)
                | StateKey::PeriodPairs(..)
                | StateKey::Account(Account::Payable(..) | Account::Receivable(..))
        ),
        "Amend" | "Contest" => matches!(key, StateKey::AgreementTerms(..)),
        "Terminate" => matches!(key, StateKey::AgreementOf(..)),
        "Resolve" | "Credit" => matches!(
            key,
            StateKey::AgreementTerms(..)
                | StateKey::ClosedPeriod(..)
                | StateKey::PeriodPairs(..)
                | StateKey::Account(_)
                | StateKey::Exposure(_)
        ),
        "ClosePeriod" => matches!(key, StateKey::Account(_) | StateKey::Exposure(_)),
        "AttestDeposit" | "AttestPayout" => {
            matches!(key, StateKey::Account(_) | StateKey::ClosedPeriod(..))
        }
        _ => false,
    }
}

fn header(chain: &Chain) -> Header {
    Header { network: chain.network, height: 1, time: chain.now }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn an_outcome_does_not_depend_on_what_was_loaded_beforehand(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        let mut again = Chain::new();
        for (time, signed, items) in &world.chain.log {
            again.now = *time;
            let header = header(&again);
            let expected = execute(&again.state, signed, &header).unwrap();
            prop_assert_eq!(&expected.items, items);
            prop_assert_eq!(expected.is_admitted(), !expected.writes.is_empty());
            let (outcome, fetched) = one_by_one(&again.state, signed, &header);
            prop_assert_eq!(&outcome, &expected);
            let tx = &signed.envelope().tx;
            let forgotten: Vec<_> = fetched.iter().filter(|key| !depends_on_state(tx, key)).collect();
            prop_assert!(forgotten.is_empty(), "{}: {:?}", kind(tx), forgotten);
            prop_assert_eq!(&all_at_once(&again.state, signed, &header).0, &expected);
            again.state.apply(expected.writes);
        }
    }
}

/// A month in which a first record of each hour was booked and credit is reserved for the others, and the others.
fn steady() -> (Chain, Vec<eroam_domain::cdr::Cdr>) {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms(hom(), vis()));
    let cdrs = full_batch(&roaming);
    chain.record(&roaming.cdr(999, on(1, 18, 8), 10_000), vis());
    chain.ok(vis(), reserve((0..256).map(|n| roaming.reservation(n, on(1, 20, 0), EUR))));
    (chain, cdrs)
}

#[test]
fn only_the_accounts_are_fetched_however_many_records_there_are() {
    let (chain, cdrs) = steady();
    for count in [1, 16, 256] {
        let signed = chain.sign(chain.envelope(vis(), records(cdrs[..count].to_vec())));
        let (outcome, fetched) = one_by_one(&chain.state, &signed, &header(&chain));
        assert!(outcome.items.iter().all(|item| item.outcome.is_accepted()));
        let (period, euro) = (month(1), eur());
        let accounts =
            [Account::Payable(period, hom(), vis(), euro), Account::Receivable(period, vis(), hom(), euro)];
        assert_eq!(fetched, accounts.map(StateKey::Account), "{count} records");
        assert_eq!(all_at_once(&chain.state, &signed, &header(&chain)), (outcome, 2));
    }
}

#[test]
fn reservations_fetch_what_is_unpaid_however_many_there_are() {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms(hom(), vis()));
    for count in [1, 256] {
        let items = (0..count).map(|n| roaming.reservation(n, on(1, 20, 0), EUR));
        let signed = chain.sign(chain.envelope(vis(), reserve(items)));
        let (_, fetched) = one_by_one(&chain.state, &signed, &header(&chain));
        assert_eq!(fetched, [StateKey::Unpaid(eur())]);
    }
}

#[test]
fn records_of_many_agreements_are_fetched_in_one_go() {
    let mut chain = Chain::new();
    let mut cdrs = Vec::new();
    for (day, emsp, kind) in [(5, hom(), PeriodKind::Month), (8, uti(), PeriodKind::Week)] {
        let mut terms = terms(emsp, vis());
        terms.period = kind;
        let roaming = chain.agree(terms);
        cdrs.extend((0..60).map(|hour| {
            roaming.cdr(u32::from(day) * 100 + hour, later(on(1, day, 0), u64::from(hour) * HOUR), 1_000)
        }));
    }
    let signed = chain.sign(chain.envelope(vis(), records(cdrs)));
    let (outcome, attempts) = all_at_once(&chain.state, &signed, &header(&chain));
    assert!(outcome.items.iter().all(|item| item.outcome.is_accepted()));
    assert_eq!(attempts, 2);
}

#[test]
fn a_large_period_is_closed_after_a_few_attempts() {
    let mut chain = Chain::new();
    chain.put(&StateKey::PeriodPairs(month(1), eur()), &full_period());
    let PeriodPairs { pairs, .. } = full_period();
    for (place, (debtor, creditor)) in pairs.into_iter().enumerate() {
        let amount = i64::try_from(place % 7 + 1).unwrap();
        chain.put(&StateKey::Account(Account::Payable(month(1), debtor, creditor, eur())), &-amount);
        chain.put(&StateKey::Account(Account::Receivable(month(1), creditor, debtor, eur())), &amount);
    }
    chain.now = on(2, 10, 0);
    let signed = chain.sign(chain.envelope(arb(), close(month(1))));
    let expected = execute(&chain.state, &signed, &header(&chain)).unwrap();
    assert!(expected.items[0].outcome.is_accepted());
    let (outcome, attempts) = all_at_once(&chain.state, &signed, &header(&chain));
    assert_eq!(outcome, expected);
    assert!(attempts <= 3, "{attempts} attempts");
}

#[test]
fn what_is_refused_before_it_is_looked_at_declares_nothing() {
    let (chain, mut cdrs) = steady();
    cdrs.push(cdrs[0].clone());
    let envelope = chain.envelope(vis(), records(cdrs));
    assert_eq!(reads(&envelope), [StateKey::Member(vis()), StateKey::Lane(vis(), 0)]);
}

#[test]
fn a_session_beyond_every_limit_declares_no_days() {
    let (chain, mut cdrs) = steady();
    cdrs.truncate(1);
    cdrs[0].end = later(cdrs[0].start, 4_000 * DAY);
    let keys = reads(&chain.envelope(vis(), records(cdrs)));
    assert!(!keys.iter().any(|key| matches!(key, StateKey::EvseDay(..))));
}

#[test]
fn an_attempt_whose_missing_values_led_to_an_error_asks_for_them() {
    // Without the parameters of the genesis the state would be no ledger's.
    let mut chain = Chain::new();
    chain.deposit(hom(), EUR, "first");
    let signed = chain.sign(chain.envelope(tr1(), deposit(hom(), EUR, "second")));
    let mut view = Loaded::declared(&chain.state, &signed);
    view.keys.remove(&StateKey::Parameters.to_bytes());
    let key = claimed_key(&chain.state, signed.envelope()).unwrap().unwrap();
    let verified = signed.verify(&key);
    let outcome = attempt(&view, &signed, verified.as_ref(), &header(&chain)).unwrap();
    assert_eq!(outcome, Attempt::Missing([StateKey::Parameters.to_bytes()].into()));
}

/// Fails at one key and has nothing else loaded.
struct Failing(Vec<u8>);

impl StateView for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        Err(if key == self.0 {
            StateError::Storage("disk".into())
        } else {
            StateError::NotLoaded(key.to_vec())
        })
    }
}

#[test]
fn an_attempt_on_a_storage_that_fails_fails() {
    let chain = Chain::new();
    let signed = chain.sign(chain.envelope(tr1(), deposit(hom(), EUR, "in")));
    let failing = Failing(StateKey::Member(tr1()).to_bytes());
    assert!(matches!(attempt(&failing, &signed, None, &header(&chain)), Err(StateError::Storage(_))));
    let failing = Failing(Vec::new());
    let missing = attempt(&failing, &signed, None, &header(&chain)).unwrap();
    assert_eq!(missing, Attempt::Missing([StateKey::Member(tr1()).to_bytes()].into()));
}

#[test]
fn what_a_registrys_transactions_touch_follows_from_them_alone() {
    use super::registry::{
        definition_id, grant, make_issuer, publish_dated_registry, schema_id, update, with_registry,
    };
    use crate::registry::RegistryTx;
    let mut chain = Chain::new();
    make_issuer(&mut chain, arb());
    let mut again = chain.fork();
    let id = with_registry(&mut chain, 20);
    chain.ok(hom(), update(&id, 1, chain.now, &[], &[]));
    chain.ok(hom(), update(&id, 2, later(chain.now, 1000), &[1], &[]));
    let definition = definition_id(id.did, &schema_id(id.did));
    let mut dated = publish_dated_registry(definition, 20, on(1, 1, 0), on(2, 1, 0));
    let Tx::Registry(RegistryTx::PublishDatedRegistry { id: next, .. }) = &mut dated else { panic!() };
    next.tag = super::registry::text("2");
    chain.ok(hom(), dated);
    chain.ok(hom(), grant(arb(), schema_id(id.did), on(1, 1, 0), on(2, 1, 0)));
    chain.ok(hom(), Tx::Registry(RegistryTx::RevokeMandate { agent: arb(), schema: schema_id(id.did) }));
    for (_, signed, _) in &chain.log {
        let header = header(&again);
        let (outcome, fetched) = one_by_one(&again.state, signed, &header);
        assert!(fetched.is_empty(), "{}: {fetched:?}", kind(&signed.envelope().tx));
        assert_eq!(outcome, execute(&again.state, signed, &header).unwrap());
        let declared: BTreeSet<Vec<u8>> = reads(signed.envelope()).iter().map(StateKey::to_bytes).collect();
        assert!(outcome.writes.keys().all(|key| declared.contains(key)));
        again.state.apply(outcome.writes);
    }
}

#[test]
fn what_vouchers_touch_follows_from_them_but_for_what_is_unpaid_and_the_record_that_spends_one() {
    use super::voucher::{World, block, paid_with, refund, reserve_vouchers, voucher_of};
    let World { mut chain, roaming, .. } = World::new();
    let mut again = chain.fork();
    chain.log.clear();
    let held = [1, 2, 3].map(|n| voucher_of(chain.network, hom(), n));
    let cdrs = [1, 2].map(|n| roaming[0].cdr(n, on(1, 19, n.into()), 10_000));
    let reservations = [0, 1].map(|n: usize| held[n].reservation(&cdrs[n], 20 * EUR));
    let paid = [0, 1].map(|n: usize| paid_with(&cdrs[n], &reservations[n]));
    chain.ok(vis(), reserve_vouchers(reservations));
    chain.ok(vis(), records(paid));
    chain.ok(hom(), block([held[2].nullifier()]));
    chain.submit(hom(), refund(held.each_ref().map(|held| held.signed)));
    let mut found = Vec::new();
    for (_, signed, items) in &chain.log {
        let header = header(&again);
        let (outcome, fetched) = one_by_one(&again.state, signed, &header);
        assert_eq!(outcome.items, *items);
        found.push(fetched);
        let (at_once, attempts) = all_at_once(&again.state, signed, &header);
        assert_eq!(at_once, outcome);
        assert!(attempts <= 3, "{attempts} attempts");
        let declared: BTreeSet<Vec<u8>> = reads(signed.envelope()).iter().map(StateKey::to_bytes).collect();
        let vouchers = outcome.writes.keys().filter(|key| {
            matches!(codec::from_bytes(key), Ok(StateKey::Voucher(..) | StateKey::VoucherKeys(_)))
        });
        let is_record = kind(&signed.envelope().tx) == "RecordCdrs";
        assert!(is_record || vouchers.into_iter().all(|key| declared.contains(key)));
        again.state.apply(outcome.writes);
    }
    let vouchers = [0, 1].map(|n: usize| StateKey::Voucher(hom(), held[n].nullifier()));
    let (period, euro) = (month(1), eur());
    let accounts =
        [Account::Payable(period, hom(), vis(), euro), Account::Receivable(period, vis(), hom(), euro)]
            .map(StateKey::Account);
    assert_eq!(found[0], [StateKey::Unpaid(euro)]);
    assert_eq!(found[1], [&vouchers[..1], &accounts, &vouchers[1..]].concat());
    assert_eq!(found[2..], [Vec::new(), Vec::new()]);
}
