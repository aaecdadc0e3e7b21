//! Vouchers at home: who gets how many, and what becomes of those that are not spent.

use super::wallet::{holder, one_time};
use super::world::*;
use crate::profiles::ContractState;
use crate::vouchers::{DAYS_AHEAD_MAX, PER_DAY_MAX, VoucherRefusal, VoucherRules, VoucherStatus};
use ed25519_dalek::SigningKey;
use eroam_domain::charge::Denial;
use eroam_domain::codec::Digest;
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::DurationMs;
use eroam_domain::voucher::{OneTimeKey, SignedVoucher};
use eroam_ledger::query;
use eroam_ledger::state::{StateError, StateKey, StateView};
use eroam_ledger::tx::{PublicKey, Tx};
use eroam_ledger::voucher::{VoucherState, VoucherTx};
use proptest::prelude::*;

fn keys(names: &[&str]) -> Vec<OneTimeKey> {
    names.iter().map(|name| holder(&one_time(name))).collect()
}

fn ask(
    world: &mut World,
    customer: &str,
    keys: &[OneTimeKey],
    ahead: i64,
) -> Result<Vec<SignedVoucher>, VoucherRefusal> {
    let (now, network, customer) = (world.now, world.ledger.network, contract(customer));
    let mut answer = None;
    world
        .call(edp(), |gateway, ledger| {
            let day = now.utc_day() + ahead;
            answer = Some(gateway.issue_vouchers(ledger, network, &customer, keys, day, now)?);
            Ok(Vec::new())
        })
        .unwrap();
    answer.unwrap()
}

fn status(world: &mut World, key: &OneTimeKey) -> VoucherStatus {
    world.store(edp()).vouchers[&key.nullifier()].status.clone()
}

#[test]
fn a_voucher_is_signed_for_its_key_and_says_nothing_about_its_holder() {
    let mut world = World::new();
    let [ana] = ask(&mut world, ANA, &keys(&["a"]), 0).unwrap().try_into().unwrap();
    let [gil] = ask(&mut world, GIL, &keys(&["g"]), 0).unwrap().try_into().unwrap();
    let public = PublicKey::of(&voucher_key_of(edp()));
    for signed in [ana, gil] {
        assert!(public.verifies(&signed.voucher.digest().0, &signed.signature.0));
    }
    assert_eq!(ana.voucher.holder, keys(&["a"])[0]);
    assert_eq!((ana.voucher.emsp, ana.voucher.network), (edp(), world.ledger.network));
    assert_eq!(ana.voucher.cap, Money::new(30 * EUR, eur()));
    assert_eq!(
        (ana.voucher.valid_from, ana.voucher.valid_until),
        (on(3, 10, 0, 0), { on(3, 12, 0, 0).checked_sub(DurationMs::from_millis(1)).unwrap() })
    );
    let mut same = gil.voucher;
    same.holder = ana.voucher.holder;
    assert_eq!(same, ana.voucher, "but for the key they are the same");
}

#[test]
fn what_was_asked_for_before_is_given_again_and_counts_once() {
    let mut world = World::new();
    let three = keys(&["a", "b", "c"]);
    let first = ask(&mut world, ANA, &three, 0).unwrap();
    // The limit is used up, and the day is over.
    assert_eq!(ask(&mut world, ANA, &three, 0).unwrap(), first);
    world.wait(DAY);
    assert_eq!(ask(&mut world, ANA, &three, -1).unwrap(), first);
    let more = ask(&mut world, ANA, &keys(&["b", "new", "a"]), 0).unwrap();
    assert_eq!((more[0], more[2]), (first[1], first[0]), "in the order of the keys");
    assert_eq!(world.store(edp()).vouchers.len(), 4);
}

#[test]
fn a_key_whose_voucher_can_pay_nothing_any_more_is_left_out_and_one_of_a_revoked_key_is_made_anew() {
    type Spoil = fn(&mut World);
    let lose: Spoil = |world| {
        world.call(edp(), |gateway, _| gateway.block_vouchers(&contract(ANA)).map(|_| Vec::new())).unwrap();
    };
    let cases: [(&str, Spoil, &[&str]); 5] = [
        ("nothing happened", |_| {}, &["a", "b"]),
        ("both are being blocked", lose, &[]),
        (
            "both are blocked",
            |world| {
                world
                    .call(edp(), |gateway, _| gateway.block_vouchers(&contract(ANA)).map(|_| Vec::new()))
                    .unwrap();
                world.drive();
            },
            &[],
        ),
        (
            "one was reserved by somebody of whom home has not heard",
            |world| {
                let voucher = world.store(edp()).vouchers[&keys(&["a"])[0].nullifier()].voucher;
                let purse = super::wallet::Purse { voucher, key: one_time("a") };
                let quote = world.quote_unknown("s1", AT_GLP, &purse);
                assert!(is_power_on(&world.pay("s1", &purse.spend(&quote, 20 * EUR))));
            },
            &["b"],
        ),
        ("their days are over", |world| world.wait(3 * DAY), &[]),
    ];
    for (name, spoil, want) in cases {
        let mut world = World::new();
        let first = ask(&mut world, ANA, &keys(&["a", "b"]), 0).unwrap();
        spoil(&mut world);
        let before = world.store(edp()).vouchers.clone();
        let again = ask(&mut world, ANA, &keys(&["a", "b"]), 0).unwrap();
        let holders: Vec<_> = again.iter().map(|signed| signed.voucher.holder).collect();
        assert_eq!(holders, keys(want), "{name}");
        assert!(again.iter().all(|signed| first.contains(signed)), "{name}: the same ones");
        assert_eq!(world.store(edp()).vouchers, before, "{name}");
    }

    let mut world = World::new();
    ask(&mut world, ANA, &keys(&["a", "b"]), 0).unwrap();
    world.ledger.office(edp(), Tx::Voucher(VoucherTx::RevokeKey { key: 0 }));
    assert_eq!(ask(&mut world, ANA, &keys(&["a", "b"]), 0), Err(VoucherRefusal::NoKey));
    world.org(edp()).set_voucher_key(SigningKey::from_bytes(&[9; 32]));
    let publish = world.org(edp()).publish_voucher_key(on(1, 1, 0, 0), on(12, 31, 0, 0)).unwrap();
    world.ledger.office(edp(), publish);
    // With another key beside them: the limit of the day is three, and what can pay nothing does not count.
    let again = ask(&mut world, ANA, &keys(&["a", "new", "b"]), 0).unwrap();
    assert_eq!(again.iter().map(|signed| signed.voucher.key).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(
        again.iter().map(|signed| signed.voucher.holder).collect::<Vec<_>>(),
        keys(&["a", "new", "b"])
    );
    assert_eq!(ask(&mut world, ANA, &keys(&["a", "new", "b"]), 0).unwrap(), again);
    let one = again[0];
    world.charge_unknown("s1", AT_GLP, &super::wallet::Purse { voucher: one, key: one_time("a") }, 10_000);
    assert!(world.session("s1").is_settled());
}

/// A view of the ledger that holds what was looked up and nothing else.
struct LookedUp(std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl LookedUp {
    fn of(ledger: &dyn StateView, keys: &[StateKey]) -> Self {
        let value = |key: &StateKey| {
            let key = key.to_bytes();
            let value = ledger.get(&key).unwrap().map(std::borrow::Cow::into_owned);
            (key, value)
        };
        Self(keys.iter().map(value).collect())
    }
}

impl StateView for LookedUp {
    fn get(&self, key: &[u8]) -> Result<Option<std::borrow::Cow<'_, [u8]>>, StateError> {
        let value = self.0.get(key).ok_or_else(|| StateError::NotLoaded(key.to_vec()))?;
        Ok(value.as_deref().map(Into::into))
    }
}

#[test]
fn what_is_looked_up_beforehand_is_all_that_issuing_asks_of_the_ledger() {
    for is_revoked in [false, true] {
        let mut world = World::new();
        ask(&mut world, ANA, &keys(&["a"]), 0).unwrap();
        ask(&mut world, ANA, &keys(&["b"]), 1).unwrap();
        if is_revoked {
            world.ledger.office(edp(), Tx::Voucher(VoucherTx::RevokeKey { key: 0 }));
            world.org(edp()).set_voucher_key(SigningKey::from_bytes(&[9; 32]));
            let publish = world.org(edp()).publish_voucher_key(on(1, 1, 0, 0), on(12, 31, 0, 0)).unwrap();
            world.ledger.office(edp(), publish);
        }
        let (network, now) = (world.ledger.network, world.now);
        let (day, asked) = (now.utc_day(), keys(&["b", "c"]));
        world
            .call(edp(), |gateway, ledger| {
                let mut lookups = vec![StateKey::VoucherKeys(edp())];
                let known = LookedUp::of(ledger, &lookups);
                lookups.extend(gateway.voucher_lookups(&known, &contract(ANA), &asked, day)?);
                // The one that is asked for again; those of the day only if one of them may have become void.
                assert_eq!(lookups.len(), if is_revoked { 3 } else { 2 });
                let known = LookedUp::of(ledger, &lookups);
                let given = gateway.issue_vouchers(&known, network, &contract(ANA), &asked, day, now)?;
                assert_eq!(given.unwrap().len(), 2);
                Ok(Vec::new())
            })
            .unwrap();
    }
}

#[test]
fn whoever_may_have_no_vouchers_gets_none_with_the_reason() {
    type Spoil = fn(&mut World);
    let nothing: Spoil = |_| {};
    /// Name, customer, keys, days ahead, what is wrong, what the customer is told.
    type Case = (&'static str, &'static str, Vec<OneTimeKey>, i64, Spoil, VoucherRefusal);
    let cases: [Case; 18] = [
        ("none asked for", ANA, vec![], 0, nothing, VoucherRefusal::Count),
        ("too many", ANA, vec![OneTimeKey([1; 32]); PER_DAY_MAX + 1], 0, nothing, VoucherRefusal::Count),
        (
            "twice the same key",
            ANA,
            keys(&["a", "b", "a"]),
            0,
            nothing,
            VoucherRefusal::BadKey(keys(&["a"])[0]),
        ),
        (
            "a key that verifies everything",
            ANA,
            vec![OneTimeKey([0; 32])],
            0,
            nothing,
            VoucherRefusal::BadKey(OneTimeKey([0; 32])),
        ),
        (
            "no vouchers",
            ANA,
            keys(&["a"]),
            0,
            |w| w.org(edp()).rules_mut().vouchers = None,
            VoucherRefusal::NoVouchers,
        ),
        (
            "nobody's contract",
            "PT-EDP-C99999999",
            keys(&["a"]),
            0,
            nothing,
            VoucherRefusal::Contract(Denial::UnknownContract),
        ),
        (
            "suspended",
            ANA,
            keys(&["a"]),
            0,
            |w| w.customer(ANA).state = ContractState::Suspended,
            VoucherRefusal::Contract(Denial::Suspended),
        ),
        (
            "ended",
            ANA,
            keys(&["a"]),
            0,
            |w| w.customer(ANA).valid_until = Some(start()),
            VoucherRefusal::Contract(Denial::Ended),
        ),
        (
            "ends before the voucher begins",
            ANA,
            keys(&["a"]),
            DAYS_AHEAD_MAX,
            |w| w.customer(ANA).valid_until = Some(later(start(), 1)),
            VoucherRefusal::Contract(Denial::Ended),
        ),
        (
            "not yet",
            ANA,
            keys(&["a"]),
            0,
            |w| w.customer(ANA).valid_from = later(start(), 1),
            VoucherRefusal::Contract(Denial::NotYetValid),
        ),
        (
            "without roaming",
            ANA,
            keys(&["a"]),
            0,
            |w| w.customer(ANA).portfolio.roaming = false,
            VoucherRefusal::Contract(Denial::NoRoaming),
        ),
        (
            "another's key",
            ANA,
            keys(&["a", "b"]),
            0,
            |w| drop(ask(w, GIL, &keys(&["b"]), 0).unwrap()),
            VoucherRefusal::UsedKey(keys(&["b"])[0]),
        ),
        ("yesterday", ANA, keys(&["a"]), -1, nothing, VoucherRefusal::WrongDay),
        ("too far ahead", ANA, keys(&["a"]), DAYS_AHEAD_MAX + 1, nothing, VoucherRefusal::WrongDay),
        (
            "no days at all",
            ANA,
            keys(&["a"]),
            0,
            |w| w.org(edp()).rules_mut().vouchers.as_mut().unwrap().valid_days = 0,
            VoucherRefusal::WrongDay,
        ),
        (
            "above the limit",
            ANA,
            keys(&["a", "b", "c", "d"]),
            0,
            nothing,
            VoucherRefusal::DailyLimit { left: 3, wanted: 4 },
        ),
        (
            "a cap in another currency than what was issued",
            ANA,
            keys(&["b"]),
            0,
            |w| {
                ask(w, ANA, &keys(&["a"]), 0).unwrap();
                let cap = Money::new(30 * EUR, Currency::new("NOK").unwrap());
                w.org(edp()).rules_mut().vouchers.as_mut().unwrap().cap = cap;
            },
            VoucherRefusal::DailyLimit { left: 0, wanted: 1 },
        ),
        (
            "a key that is not valid long enough",
            ANA,
            keys(&["a"]),
            0,
            |w| w.now = on(12, 31, 12, 0),
            VoucherRefusal::NoKey,
        ),
    ];
    for (name, customer, keys, ahead, spoil, want) in cases {
        let mut world = World::new();
        spoil(&mut world);
        let before = world.store(edp()).vouchers.clone();
        assert_eq!(ask(&mut world, customer, &keys, ahead), Err(want), "{name}");
        assert_eq!(world.store(edp()).vouchers, before, "{name}: all or none");
    }
}

#[test]
fn a_key_that_is_not_on_the_ledger_signs_nothing() {
    let mut world = World::new();
    let (network, now) = (world.ledger.network, world.now);
    for voucher in [None, Some(SigningKey::from_bytes(&[9; 32]))] {
        let secrets = crate::gateway::Secrets { signing: key_of(edp()), key: 0, salt: salt(edp()), voucher };
        let (store, policy) = (world.store(edp()).clone(), world.org(edp()).policy());
        let entropy = Box::new(crate::ports::SeededEntropy(Digest::ZERO));
        let mut gateway = crate::gateway::Gateway::new(edp(), "name", secrets, policy, store, entropy);
        gateway.rules_mut().vouchers =
            Some(VoucherRules { cap: Money::new(EUR, eur()), valid_days: 1, daily_limit: EUR });
        let answer =
            gateway.issue_vouchers(&world.ledger, network, &contract(ANA), &keys(&["a"]), now.utc_day(), now);
        assert_eq!(answer.unwrap(), Err(VoucherRefusal::NoKey));
    }
}

#[test]
fn another_key_is_needed_as_soon_as_a_voucher_could_outlive_the_one_at_hand() {
    let mut needed = Vec::new();
    for day in 15..=31 {
        let mut world = World::new();
        world.now = on(12, day, 12, 0);
        let refused = |world: &mut World, ahead| {
            ask(world, ANA, &keys(&[&format!("{ahead}")]), ahead) == Err(VoucherRefusal::NoKey)
        };
        let now = world.now;
        let mut needs = None;
        world
            .call(edp(), |gateway, ledger| {
                needs = Some(gateway.needs_voucher_key(ledger, now)?);
                Ok(Vec::new())
            })
            .unwrap();
        let is_refused = refused(&mut world, 0) || refused(&mut world, DAYS_AHEAD_MAX);
        assert_eq!(needs, Some(is_refused), "December {day}");
        needed.push(is_refused);
    }
    assert!(needed.contains(&true) && needed.contains(&false), "{needed:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// However they are asked for, the vouchers of a customer and day never promise more than the limit.
    #[test]
    fn the_daily_limit_is_never_exceeded(
        requests in proptest::collection::vec((0usize..3, 1u8..5, 0i64..3), 1..12),
        limit in 0i64..200,
    ) {
        let mut world = World::new();
        world.org(edp()).rules_mut().vouchers.as_mut().unwrap().daily_limit = limit * EUR;
        let customers = [ANA, GIL, PIA];
        for (number, (who, count, ahead)) in requests.into_iter().enumerate() {
            let names: Vec<String> = (0..count).map(|n| format!("{number} {n}")).collect();
            let keys: Vec<_> = names.iter().map(|name| holder(&one_time(name))).collect();
            let _ = ask(&mut world, customers[who], &keys, ahead);
        }
        let mut sums = std::collections::BTreeMap::new();
        for issued in world.store(edp()).vouchers.values() {
            *sums.entry((issued.contract, issued.day)).or_insert(0) += issued.voucher.voucher.cap.micros;
        }
        prop_assert!(sums.values().all(|sum| *sum <= limit * EUR), "{:?}", sums);
    }
}

#[test]
fn vouchers_of_a_lost_phone_are_blocked_on_the_ledger_and_others_are_not() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "spent");
    world.charge_unknown("s1", AT_GLP, &purse, 10_000);
    let reserved = world.withdraw(ANA, "reserved");
    let quote = world.quote_unknown("s2", AT_IBE, &reserved);
    assert!(is_power_on(&world.pay("s2", &reserved.spend(&quote, 20 * EUR))));
    let lost = world.withdraw(ANA, "lost");
    let others = world.withdraw(GIL, "other");
    world
        .call(edp(), |gateway, _| {
            assert_eq!(gateway.block_vouchers(&contract(ANA))?, 2, "the spent one is known to be spent");
            Ok(Vec::new())
        })
        .unwrap();
    world.drive();
    let of = |purse: &super::wallet::Purse| purse.voucher.voucher.holder;
    let found = [&purse, &reserved, &lost, &others].map(|p| status(&mut world, &of(p)));
    use VoucherStatus::{Blocked, Issued, Reserved, Spent};
    assert_eq!(found, [Spent, Reserved, Blocked, Issued]);
    let state = query::voucher(&world.ledger, edp(), of(&lost).nullifier()).unwrap();
    assert_eq!(state, Some(VoucherState::Blocked));
    let quote = world.quote_unknown("s3", AT_GLP, &lost);
    assert_eq!(denied(&world.pay("s3", &lost.spend(&quote, 20 * EUR))), Denial::VoucherSpent);
    // What was on its way is paid.
    let consumption = hour_of(world.now, 10_000);
    world.wait(HOUR);
    world.consumed("s2", consumption);
    assert_eq!(world.bill_lines(edp()).len(), 2);
}

#[test]
fn what_the_ledger_was_asked_about_is_asked_again_after_a_crash() {
    let mut world = World::new();
    let lost = world.withdraw(ANA, "lost").voucher.voucher.holder;
    world.ledger_reachable = false;
    world
        .call(edp(), |gateway, _| {
            gateway.block_vouchers(&contract(ANA))?;
            Ok(Vec::new())
        })
        .unwrap();
    assert_eq!(status(&mut world, &lost), VoucherStatus::Blocking);
    world.restart(edp());
    world.ledger_reachable = true;
    world.drive();
    assert_eq!(status(&mut world, &lost), VoucherStatus::Blocked);
    // Asked twice, since the answer was lost.
    world.store(edp()).vouchers.get_mut(&lost.nullifier()).unwrap().status = VoucherStatus::Blocking;
    world.resume(edp());
    world.drive();
    assert_eq!(status(&mut world, &lost), VoucherStatus::Blocked);
}

#[test]
fn unspent_vouchers_are_taken_back_when_nothing_can_come_of_them_any_more() {
    let mut world = World::new();
    let unused = world.withdraw(ANA, "unused");
    let reserved = world.withdraw(ANA, "reserved");
    let spent = world.withdraw(ANA, "spent");
    let quote = world.quote_unknown("s1", AT_GLP, &reserved);
    assert!(is_power_on(&world.pay("s1", &reserved.spend(&quote, 20 * EUR))));
    world.charge_unknown("s2", AT_GLP, &spent, 10_000);
    let holders = [unused, reserved, spent].map(|p| p.voucher.voucher.holder);
    let refund = |world: &mut World| {
        let (mut asked, now) = (0, world.now);
        world
            .call(edp(), |gateway, ledger| {
                // As a host does that looks up beforehand what will be asked.
                let wanted = gateway.refund_lookups(now)?;
                let only = LookedUp::of(ledger, &wanted);
                asked = gateway.refund_vouchers(&only, now)?;
                Ok(Vec::new())
            })
            .unwrap();
        world.drive();
        asked
    };
    let ledger_days = eroam_ledger::voucher::RESERVABLE_AFTER;
    let last = on(3, 12, 0, 0).checked_add(ledger_days).unwrap();
    world.now = last.checked_sub(DurationMs::from_millis(1)).unwrap();
    assert_eq!(refund(&mut world), 0, "at the last instant a station may still come");
    world.now = last;
    assert_eq!(refund(&mut world), 2);
    use VoucherStatus::{Refunded, Spent};
    assert_eq!(holders.map(|h| status(&mut world, &h)), [Refunded, Refunded, Spent]);
    let state = |world: &World, n: usize| query::voucher(&world.ledger, edp(), holders[n].nullifier());
    assert_eq!(state(&world, 0).unwrap(), Some(VoucherState::Refunded));
    assert_eq!(state(&world, 1).unwrap(), Some(VoucherState::Refunded));
    assert!(matches!(state(&world, 2).unwrap(), Some(VoucherState::Spent { .. })));
    assert_eq!(refund(&mut world), 0, "once");
}

#[test]
fn vouchers_of_a_stretch_of_days_do_not_say_when_they_were_withdrawn() {
    let rules = VoucherRules { cap: Money::new(30 * EUR, eur()), valid_days: 7, daily_limit: EUR };
    // A Sunday and the days after it.
    let sunday = on(3, 9, 0, 0).utc_day();
    let stretch = rules.validity(sunday).unwrap();
    assert_eq!(stretch.0, on(3, 9, 0, 0));
    for day in sunday..sunday + 7 {
        assert_eq!(rules.validity(day), Some(stretch), "day {day}");
    }
    assert_eq!(rules.validity(sunday + 7).unwrap().0, on(3, 16, 0, 0));
    assert!(rules.validity(sunday - 1).unwrap().1 < stretch.0);
}
