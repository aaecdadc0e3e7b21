//! Drivers whom the operator does not know: what they must prove and agree to before power, and that they are billed
//! like everybody else.

use super::wallet::{Purse, holder, one_time, proof};
use super::world::*;
use crate::billing::Charge;
use crate::gateway::{EVIDENCE_KEPT_FOR, Effect, GatewayError, evidence_digest};
use crate::ports::{EVIDENCE_BYTES_MAX, Store as _};
use crate::rules::PartnerRules;
use crate::sessions::{Pending, Phase};
use crate::unknown_driver::{ProvenContract, UnknownDriverRequest};
use crate::vouchers::{VoucherRefusal, VoucherStatus};
use ed25519_dalek::SigningKey;
use eroam_domain::agreement::Limits;
use eroam_domain::cdr::{Payer, session_digest};
use eroam_domain::charge::{AllowedZones, Denial, PartnerMessage, ReportedCustomer};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::money::{Money, Price};
use eroam_domain::quantity::DurationMs;
use eroam_domain::retail::Tier;
use eroam_domain::voucher::{SpentVoucher, VoucherAcceptance};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::tx::Tx;
use eroam_ledger::voucher::{VoucherState, VoucherTx};

/// The relay stayed off, and nobody owes anything.
#[track_caller]
fn nothing_happened(world: &mut World, shown: &[Effect]) {
    assert!(!shown.iter().any(|e| matches!(e, Effect::PowerOn { .. })));
    assert_eq!((world.ledger.reserved(), world.ledger.recorded()), (0, 0));
    assert!(world.stores().values().all(|s| s.charges.is_empty() && s.wholesale.is_empty()));
}

#[test]
fn an_unknown_driver_goes_from_the_quote_to_one_bill_line_and_one_debt() {
    let mut world = World::new();
    let purse = world.withdraw(GIL, "a");
    let mut request = world.ask_unknown("s1", AT_GLP, &purse);
    request.energy_wanted = Some(wh(20_000));
    let quote = quoted(&world.request_unknown(&request));
    let wholesale = Price { excl_vat: 8_550_000, incl_vat: 10_520_000 };
    assert_eq!((quote.wholesale, quote.retail), (wholesale, None), "nobody knows the driver's price");
    assert!(matches!(world.session("s1").phase, Phase::AwaitingProof { .. }));
    assert_eq!(quoted(&world.prove("s1", &proof(Tier::Gold))), quote);
    assert_eq!(world.ledger.blocks.len(), 0);
    let spent = purse.spend(&quote, 12 * EUR);
    let [Effect::PowerOn { energy_max, amount_max, priority, .. }] = world.pay("s1", &spent)[..] else {
        panic!("power")
    };
    assert_eq!((energy_max, amount_max, priority), (wh(60_000), Some(12 * EUR), 1));
    let consumption = hour_of(world.now, 20_000);
    world.wait(HOUR);
    world.consumed("s1", consumption);

    let kinds: Vec<_> = world.letters.iter().map(Letter::kind).collect();
    assert_eq!(kinds, ["reports", "reports_received"], "nobody was asked");
    let [(reservation, _), (record, _)] = world.ledger.blocks.as_slice() else { panic!("two envelopes") };
    assert!(matches!(reservation.envelope().tx, Tx::Voucher(VoucherTx::Reserve(_))));
    let Tx::Cdr(CdrTx::RecordCdrs(cdrs)) = &record.envelope().tx else { panic!("records") };
    let nullifier = purse.voucher.voucher.nullifier();
    assert_eq!((cdrs[0].payer, cdrs[0].acceptance), (Payer::Voucher { nullifier }, spent.signature));
    assert_eq!(cdrs[0].accepted_at, spent.acceptance.accepted_at);

    // Retail in the gold tier, as by card: (8.55 x 1.05 + 0.20) less 5 %, with VAT.
    let [bill] = world.bill_lines(edp()).try_into().unwrap();
    assert_eq!((bill.contract, bill.tier, bill.wholesale), (contract(GIL), Tier::Gold, Some(wholesale)));
    let mut by_card = World::new();
    by_card.charge("s1", AT_GLP, GIL, 20_000);
    assert_eq!(by_card.bill_lines(edp()), [bill]);
    let [line] = world.wholesale_lines(glp()).try_into().unwrap();
    assert_eq!((line.emsp, line.due), (edp(), 10_520_000));
    let state = query::voucher(&world.ledger, edp(), nullifier).unwrap();
    assert!(matches!(state, Some(VoucherState::Spent { amount: 10_520_000, .. })), "{state:?}");
    assert_eq!(world.store(edp()).vouchers[&nullifier].status, VoucherStatus::Spent);
    assert!(world.session("s1").is_settled());
    for party in [edp(), glp(), ibe()] {
        assert_eq!(world.store(party).unsettled_sessions().unwrap(), []);
        assert_eq!(world.store(party).unbilled_charges().unwrap(), []);
    }
}

#[test]
fn a_request_that_cannot_be_served_is_denied_with_the_reason() {
    type Spoil = fn(&mut World, &mut UnknownDriverRequest);
    let cases: [(&str, Spoil, Denial); 6] = [
        ("no such station", |_, r| r.evse = "PT*GLP*E9999*1".parse().unwrap(), Denial::UnknownStation),
        ("no member", |_, r| r.emsp = "FR-ZZZ".parse().unwrap(), Denial::ProviderNotMember),
        ("no agreement", |_, r| r.emsp = noa(), Denial::NoAgreement),
        (
            "not served at the moment",
            |w, _| {
                let rules = PartnerRules { accept: false, ..PartnerRules::OPEN };
                w.org(glp()).rules_mut().partners.insert(edp(), rules);
            },
            Denial::PartnerSuspended,
        ),
        (
            "no tariff",
            |w, _| {
                let mut evse = w.org(glp()).station(&AT_GLP.parse().unwrap()).unwrap().clone();
                evse.tariff = "NIGHT".parse().unwrap();
                w.org(glp()).put_station(evse);
            },
            Denial::NoPrice,
        ),
        ("above the agreement's limit", |_, r| r.leaves_at = Some(later(start(), DAY)), Denial::AmountLimit),
    ];
    for (name, spoil, want) in cases {
        let mut world = World::new();
        if want == Denial::AmountLimit {
            let limits = Limits { amount_max: EUR, ..terms(edp(), glp()).limits };
            super::quotes::amend(
                &mut world,
                eroam_domain::agreement::RoamingAgreement { limits, ..terms(edp(), glp()) },
            );
        }
        let purse = world.withdraw(ANA, "a");
        let mut request = world.ask_unknown("s1", AT_GLP, &purse);
        spoil(&mut world, &mut request);
        let shown = world.request_unknown(&request);
        assert_eq!(denied(&shown), want, "{name}");
        nothing_happened(&mut world, &shown);
        assert_eq!(denied(&world.request_unknown(&request)), want, "{name}: again");
    }
}

#[test]
fn a_proof_that_does_not_do_is_denied_with_the_reason() {
    let only = |zone: &str| AllowedZones::Only(vec![zone.parse().unwrap()]);
    let proven = ProvenContract::after_verification;
    for (name, proof, wait, want) in [
        ("too late", proof(Tier::Gold), 10 * MINUTE + 1, Denial::QuoteExpired),
        ("another provider's", proven(ibe(), Tier::Gold, AllowedZones::All), 0, Denial::OtherProvider),
        ("elsewhere", proven(edp(), Tier::Gold, only("PT-S")), 0, Denial::ZoneNotAllowed),
        ("nowhere", proven(edp(), Tier::Gold, AllowedZones::Only(vec![])), 0, Denial::ZoneNotAllowed),
    ] {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        let quote = quoted(&world.request_unknown(&world.ask_unknown("s1", AT_GLP, &purse)));
        world.wait(wait);
        let shown = world.prove("s1", &proof);
        assert_eq!(denied(&shown), want, "{name}");
        assert_eq!(world.pay("s1", &purse.spend(&quote, 20 * EUR)), [], "{name}: it is over");
        nothing_happened(&mut world, &shown);
    }
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    quoted(&world.request_unknown(&world.ask_unknown("s1", AT_GLP, &purse)));
    let here = proven(edp(), Tier::Gold, only("PT-N"));
    quoted(&world.prove("s1", &here));
    assert_eq!(quoted(&world.prove("s1", &here)).retail, None, "repeated");
}

#[test]
fn without_a_proof_or_without_a_voucher_there_is_no_power() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    let quote = quoted(&world.request_unknown(&world.ask_unknown("s1", AT_GLP, &purse)));
    assert_eq!(world.pay("s1", &purse.spend(&quote, 20 * EUR)), [], "nothing was proved");
    assert_eq!(world.accept("s1"), []);
    quoted(&world.prove("s1", &proof(Tier::Standard)));
    assert_eq!(world.accept("s1"), [], "a button is no voucher");
    // And who showed a card cannot be turned into somebody unknown.
    quoted(&world.swipe("s2", AT_GLP, ANA));
    assert_eq!(world.prove("s2", &proof(Tier::Diamond)).len(), 1, "the same quote again");
    let quote = world.store(glp()).sessions[&id("s2")].open_quote().unwrap().clone();
    assert_eq!(world.pay("s2", &purse.spend(&quote, 20 * EUR)), []);
    nothing_happened(&mut world, &[]);
}

#[test]
fn an_acceptance_is_checked_before_anything_is_reserved() {
    type Spoil = fn(&mut World, &Purse, SpentVoucher) -> SpentVoucher;
    fn agreed(purse: &Purse, spent: SpentVoucher, change: impl Fn(&mut VoucherAcceptance)) -> SpentVoucher {
        let mut acceptance = spent.acceptance;
        change(&mut acceptance);
        purse.sign(acceptance)
    }
    /// Another promise than the one that was issued, signed with `key`.
    fn promised(
        purse: &Purse,
        spent: SpentVoucher,
        key: &ed25519_dalek::SigningKey,
        change: impl Fn(&mut eroam_domain::voucher::Voucher),
    ) -> SpentVoucher {
        use ed25519_dalek::Signer as _;
        let mut voucher = purse.voucher.voucher;
        change(&mut voucher);
        let signature = SignatureBytes(key.sign(&voucher.digest().0).to_bytes());
        SpentVoucher { voucher: eroam_domain::voucher::SignedVoucher { voucher, signature }, ..spent }
    }
    let cases: [(&str, bool, Spoil, Denial); 22] = [
        (
            "late",
            true,
            |w, _, s| {
                w.wait(10 * MINUTE + 1);
                s
            },
            Denial::QuoteExpired,
        ),
        (
            "signed for later than the quote",
            true,
            |w, p, s| agreed(p, s, |a| a.accepted_at = later(w.now, 10 * MINUTE + 1)),
            Denial::QuoteExpired,
        ),
        (
            "signed before the quote was made",
            true,
            |w, p, s| {
                agreed(p, s, |a| {
                    a.accepted_at = w.now.checked_sub(DurationMs::from_millis(1)).unwrap();
                })
            },
            Denial::ForgedAcceptance,
        ),
        (
            "signed in the future",
            true,
            |w, p, s| agreed(p, s, |a| a.accepted_at = later(w.now, 1)),
            Denial::ForgedAcceptance,
        ),
        (
            "another session",
            true,
            |_, p, s| agreed(p, s, |a| a.session = session_digest(glp(), &id("s2"))),
            Denial::ForgedAcceptance,
        ),
        ("another operator", true, |_, p, s| agreed(p, s, |a| a.operator = ibe()), Denial::ForgedAcceptance),
        ("another quote", true, |_, p, s| agreed(p, s, |a| a.quote = Digest::ZERO), Denial::ForgedAcceptance),
        (
            "a voucher that the proof is not bound to",
            false,
            |w, _, s| {
                let other = w.withdraw(ANA, "other");
                other.sign(s.acceptance)
            },
            Denial::ForgedAcceptance,
        ),
        (
            "signed by somebody else",
            true,
            |_, p, s| Purse { key: one_time("thief"), ..p.clone() }.sign(s.acceptance),
            Denial::ForgedAcceptance,
        ),
        (
            "changed after it was signed",
            true,
            |_, _, mut s| {
                s.acceptance.limit += 1;
                s
            },
            Denial::ForgedAcceptance,
        ),
        (
            "a promise that EDP did not sign",
            true,
            |_, p, s| promised(p, s, &one_time("forger"), |_| {}),
            Denial::ForgedVoucher,
        ),
        (
            "a larger cap than EDP signed",
            true,
            |_, _, mut s| {
                s.voucher.voucher.cap.micros *= 2;
                s
            },
            Denial::ForgedVoucher,
        ),
        (
            "signed with the key for envelopes",
            true,
            |_, p, s| promised(p, s, &key_of(edp()), |_| {}),
            Denial::ForgedVoucher,
        ),
        (
            "of another network",
            true,
            |_, p, s| promised(p, s, &voucher_key_of(edp()), |v| v.network = Digest::ZERO),
            Denial::ForgedVoucher,
        ),
        (
            "of another provider",
            true,
            |_, p, s| promised(p, s, &voucher_key_of(ibe()), |v| v.emsp = ibe()),
            Denial::ForgedVoucher,
        ),
        (
            "in another currency",
            true,
            |_, p, s| {
                promised(p, s, &voucher_key_of(edp()), |v| {
                    v.cap = Money::new(30 * EUR, "NOK".parse().unwrap());
                })
            },
            Denial::ForgedVoucher,
        ),
        (
            "under a key that was never published",
            true,
            |_, p, s| promised(p, s, &voucher_key_of(edp()), |v| v.key = 1),
            Denial::ForgedVoucher,
        ),
        (
            "valid from tomorrow",
            true,
            |_, p, s| promised(p, s, &voucher_key_of(edp()), |v| v.valid_from = later(v.valid_from, DAY)),
            Denial::VoucherNotValid,
        ),
        ("above the cap", true, |_, p, s| agreed(p, s, |a| a.limit = 30 * EUR + 1), Denial::VoucherLimit),
        ("nothing", true, |_, p, s| agreed(p, s, |a| a.limit = 0), Denial::LimitTooLow),
        // 1 EUR a session, less 5 %, with VAT.
        (
            "less than a session costs in which nothing is delivered",
            true,
            |_, p, s| agreed(p, s, |a| a.limit = 1_169_999),
            Denial::LimitTooLow,
        ),
        (
            "blocked",
            true,
            |w, _, s| {
                w.call(edp(), |gateway, _| gateway.block_vouchers(&contract(ANA)).map(|_| Vec::new()))
                    .unwrap();
                w.drive();
                s
            },
            Denial::VoucherSpent,
        ),
    ];
    for (name, bound, spoil, want) in cases {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        // What is shown later is what the proof is bound to, but where that is the point.
        let mut request = world.ask_unknown("s1", AT_GLP, &purse);
        let quote = {
            let mut trial = World::new();
            let purse = trial.withdraw(ANA, "a");
            trial.quote_unknown("s1", AT_GLP, &purse)
        };
        let spent = spoil(&mut world, &purse, purse.spend(&quote, 20 * EUR));
        let now = world.now;
        if bound {
            request.voucher = spent.voucher.commitment();
        }
        world.now = start();
        assert_eq!(quoted(&world.request_unknown(&request)), quote, "{name}");
        quoted(&world.prove("s1", &proof(Tier::Standard)));
        world.now = now;
        let blocks = world.ledger.blocks.len();
        let shown = world.pay("s1", &spent);
        assert_eq!(denied(&shown), want, "{name}");
        assert_eq!(world.ledger.blocks.len(), blocks, "{name}: the ledger was not even asked");
        nothing_happened(&mut world, &shown);
        assert_eq!(world.pay("s1", &purse.spend(&quote, 20 * EUR)), [], "{name}: it is over");
    }
}

#[test]
fn the_least_limit_and_the_whole_cap_are_enough() {
    for limit in [1_170_000, 30 * EUR] {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        let quote = world.quote_unknown("s1", AT_GLP, &purse);
        let [Effect::PowerOn { amount_max, .. }] = world.pay("s1", &purse.spend(&quote, limit))[..] else {
            panic!("power")
        };
        assert_eq!(amount_max, Some(limit));
    }
}

#[test]
fn a_voucher_is_spent_once_at_two_stations_and_two_operators() {
    for second in [AT_GLP, AT_IBE, AT_EDP] {
        // Seen on the ledger, or refused by it when both ask at the same time.
        for at_once in [false, true] {
            let mut world = World::new();
            let purse = world.withdraw(ANA, "a");
            let first_quote = world.quote_unknown("s1", AT_GLP, &purse);
            let second_quote = world.quote_unknown("s2", second, &purse);
            let spent = purse.spend(&first_quote, 20 * EUR);
            world.ledger_reachable = !at_once;
            let mut shown = world.pay("s1", &spent);
            let late = world.pay("s2", &purse.spend(&second_quote, 20 * EUR));
            if at_once {
                world.ledger_reachable = true;
                world.drive();
                shown = world.shown();
                let powered = shown.iter().filter(|e| matches!(e, Effect::PowerOn { .. })).count();
                let spent = |e: &&Effect| matches!(e, Effect::Deny { denial: Denial::VoucherSpent, .. });
                assert_eq!((powered, shown.iter().filter(spent).count()), (1, 1), "{second}: {shown:?}");
            } else {
                assert!(is_power_on(&shown));
                assert_eq!(denied(&late), Denial::VoucherSpent, "{second}");
            }
        }
    }
}

#[test]
fn what_the_ledger_refuses_is_denied_with_a_reason_for_the_driver() {
    // The credit between the two is used up.
    let mut world = World::new();
    let mut few = terms(edp(), glp());
    few.credit_limit = Money::new(15 * EUR, eur());
    super::quotes::amend(&mut world, few);
    let purse = world.withdraw(ANA, "a");
    let quote = world.quote_unknown("s1", AT_GLP, &purse);
    assert_eq!(denied(&world.pay("s1", &purse.spend(&quote, 20 * EUR))), Denial::NoCredit);
    // It can be spent elsewhere: nothing was reserved.
    let quote = world.quote_unknown("s2", AT_IBE, &purse);
    assert!(is_power_on(&world.pay("s2", &purse.spend(&quote, 20 * EUR))));
    for (code, denial) in [
        (RejectCode::ForgedVoucher, Denial::ForgedVoucher),
        (RejectCode::UnknownVoucherKey, Denial::ForgedVoucher),
        (RejectCode::VoucherKeyRevoked, Denial::VoucherWithdrawn),
        (RejectCode::VoucherNotValid, Denial::VoucherNotValid),
        (RejectCode::VoucherSpent, Denial::VoucherSpent),
        (RejectCode::VoucherLimit, Denial::VoucherLimit),
        (RejectCode::ForgedAcceptance, Denial::ForgedAcceptance),
        (RejectCode::CreditExhausted, Denial::NoCredit),
        (RejectCode::SessionReserved, Denial::LedgerRefused),
        (RejectCode::Expired, Denial::LedgerRefused),
    ] {
        assert_eq!(crate::vouchers::denial_of(code), denial, "{code:?}");
    }
}

#[test]
fn power_waits_for_the_ledger_and_a_reservation_that_was_there_counts() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    let quote = world.quote_unknown("s1", AT_GLP, &purse);
    let before = world.stores();
    let spent = purse.spend(&quote, 20 * EUR);
    assert!(is_power_on(&world.pay("s1", &spent)));
    // The operator lost everything since the quote; the wallet sends the very same again.
    *world.store(glp()) = before[&glp()].clone();
    assert!(is_power_on(&world.pay("s1", &spent)));
    let codes: Vec<_> = world
        .ledger
        .blocks
        .iter()
        .flat_map(|(_, r)| &r.items)
        .filter_map(|i| i.outcome.rejection())
        .collect();
    assert_eq!(codes, [RejectCode::DuplicateReservation]);
    // Something else under the same voucher is not the same.
    *world.store(glp()) = before[&glp()].clone();
    assert_eq!(denied(&world.pay("s1", &purse.spend(&quote, 19 * EUR))), Denial::VoucherSpent);
}

#[test]
fn a_reservation_from_before_its_key_was_revoked_counts_for_who_asks_again() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    let quote = world.quote_unknown("s1", AT_GLP, &purse);
    let before = world.stores();
    let spent = purse.spend(&quote, 20 * EUR);
    assert!(is_power_on(&world.pay("s1", &spent)));
    world.ledger.office(edp(), Tx::Voucher(VoucherTx::RevokeKey { key: 0 }));
    // The operator lost everything since the quote; the wallet sends the very same again.
    *world.store(glp()) = before[&glp()].clone();
    assert!(is_power_on(&world.pay("s1", &spent)));
    // Something else under the same voucher was never reserved.
    *world.store(glp()) = before[&glp()].clone();
    assert_eq!(denied(&world.pay("s1", &purse.spend(&quote, 19 * EUR))), Denial::VoucherWithdrawn);
}

#[test]
fn everything_said_again_afterwards_changes_nothing() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    let request = world.ask_unknown("s1", AT_GLP, &purse);
    let quote = world.charge_unknown("s1", AT_GLP, &purse, 20_000);
    let (before, blocks) = (world.stores(), world.ledger.blocks.len());
    world.replay_blocks();
    for letter in world.letters.clone() {
        world.post_letter(letter);
        world.drive();
    }
    assert_eq!(world.request_unknown(&request), []);
    assert_eq!(world.prove("s1", &proof(Tier::Standard)), []);
    assert_eq!(world.pay("s1", &purse.spend(&quote, 20 * EUR)), []);
    assert_eq!(world.accept("s1"), []);
    assert_eq!(world.refuse("s1"), []);
    assert_eq!(world.consumed("s1", hour_of(start(), 1)), []);
    for party in [edp(), glp(), ibe()] {
        world.resume(party);
        world.drive();
    }
    assert_eq!(world.stores(), before);
    assert_eq!(world.ledger.blocks.len(), blocks);
}

#[test]
fn a_quote_that_is_refused_or_not_proved_in_time_leads_to_nothing() {
    for proved in [false, true] {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        for session in ["s1", "s2"] {
            quoted(&world.request_unknown(&world.ask_unknown(session, AT_GLP, &purse)));
            if proved {
                quoted(&world.prove(session, &proof(Tier::Standard)));
            }
        }
        assert_eq!(denied(&world.refuse("s1")), Denial::QuoteRefused);
        world.wait(10 * MINUTE + 1);
        let shown = world.tick(glp());
        assert_eq!(denied(&shown), Denial::QuoteExpired);
        nothing_happened(&mut world, &shown);
    }
}

#[test]
fn the_station_can_ask_how_much_is_due_and_nobody_pays_for_what_it_gives_beyond_the_limit() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    let quote = world.quote_unknown("s1", AT_GLP, &purse);
    // (0.40 x energy + 1) x 0.95 x 1.23.
    assert!(is_power_on(&world.pay("s1", &purse.spend(&quote, 10 * EUR))));
    let due = |world: &mut World, energy_wh| {
        let (consumption, mut due) = (hour_of(world.now, energy_wh), None);
        world
            .call(glp(), |gateway, ledger| {
                due = gateway.due_so_far(ledger, &id("s1"), &consumption)?;
                Ok(Vec::new())
            })
            .unwrap();
        due
    };
    assert_eq!((due(&mut world, 0), due(&mut world, 18_000)), (Some(1_170_000), Some(9_580_000)));
    assert_eq!(due(&mut world, 19_000), Some(10_050_000));
    // A station that did not look.
    let (start, metered) = (world.now, hour_of(world.now, 19_000));
    world.wait(HOUR);
    assert_eq!(world.consumed("s1", metered.clone()), []);
    let session = world.session("s1");
    let Phase::Recorded { cdr, .. } = &session.phase else { panic!("{:?}", session.phase) };
    // What the meter signed is kept, and named by the record; up to the cent that the agreement rounds to it was paid for.
    assert_eq!((session.consumption.as_ref(), cdr.readings), (Some(&metered), metered.readings));
    assert_eq!((cdr.price.incl_vat, cdr.start), (10 * EUR, start));
    assert!(cdr.energy < wh(19_000) && cdr.energy > wh(18_900), "{:?}", cdr.energy);
    assert!(cdr.end < metered.end);
    assert_eq!(session.pending(world.now, DurationMs::ZERO), None);
    let [line] = world.bill_lines(edp()).try_into().unwrap();
    assert_eq!((line.energy, line.end, line.wholesale), (cdr.energy, cdr.end, Some(cdr.price)));
}

/// A station that stops too late, at whatever limit, abroad and at home: the record and the bill have what was allowed, and
/// the books of both sides are equal.
#[test]
fn what_a_station_gives_beyond_a_drivers_limits_is_at_its_operators_expense() {
    let (energy, minutes, money) = (Some(wh(9_999)), Some(30), 4 * EUR);
    for place in [AT_GLP, AT_EDP] {
        for (energy_max, leaves_after, limit) in [
            (energy, None, 20 * EUR),
            (None, minutes, 20 * EUR),
            (None, None, money),
            (energy, minutes, money),
        ] {
            let mut world = World::new();
            let purse = world.withdraw(ANA, "a");
            let leaves_at = leaves_after.map(|minutes| later(world.now, minutes * MINUTE));
            let mut request = world.ask_unknown("s1", place, &purse);
            (request.energy_max, request.energy_wanted, request.leaves_at) =
                (energy_max, energy_max, leaves_at);
            let quote = quoted(&world.request_unknown(&request));
            quoted(&world.prove("s1", &proof(Tier::Standard)));
            assert!(is_power_on(&world.pay("s1", &purse.spend(&quote, limit))));
            let metered = hour_of(world.now, 20_000);
            world.wait(HOUR);
            world.consumed("s1", metered.clone());
            let [line] = world.bill_lines(edp()).try_into().unwrap();
            let what = format!("{place}, {energy_max:?}, {leaves_after:?}, {limit}: {line:?}");
            assert!(energy_max.is_none_or(|max| line.energy <= max), "{what}");
            assert!(leaves_at.is_none_or(|leaves_at| line.end <= leaves_at), "{what}");
            assert!(line.wholesale.is_none_or(|price| price.incl_vat <= limit), "{what}");
            let is_at_a_limit = Some(line.energy) == energy_max
                || Some(line.end) == leaves_at
                || line.wholesale.is_none_or(|price| price.incl_vat == limit);
            assert!(is_at_a_limit && line.energy < metered.energy && line.start == metered.start, "{what}");
            assert!(world.store(edp()).unbilled_charges().unwrap().is_empty(), "{what}");
        }
    }
}

#[test]
fn a_limit_that_pays_for_the_beginning_alone_buys_the_beginning() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    let quote = world.quote_unknown("s1", AT_GLP, &purse);
    // The fee alone is due as soon as it begins.
    assert!(is_power_on(&world.pay("s1", &purse.spend(&quote, 1_170_000))));
    let consumption = hour_of(world.now, 10_000);
    world.wait(HOUR);
    assert_eq!(world.consumed("s1", consumption), []);
    let Phase::Recorded { cdr, .. } = world.session("s1").phase else { panic!("recorded") };
    assert_eq!(cdr.price.incl_vat, 1_170_000);
    assert!(cdr.energy < wh(20), "what a cent buys: {:?}", cdr.energy);
}

#[test]
fn the_energy_is_limited_by_driver_partner_rules_and_agreement() {
    for (driver, partner, want) in
        [(None, 80_000, 60_000), (Some(5_000), 80_000, 5_000), (None, 7_000, 7_000)]
    {
        let mut world = World::new();
        let rules = PartnerRules { energy_max: wh(partner), priority_max: 0, ..PartnerRules::OPEN };
        world.org(glp()).rules_mut().partners.insert(edp(), rules);
        let purse = world.withdraw(DIA, "a");
        let mut request = world.ask_unknown("s1", AT_GLP, &purse);
        request.energy_max = driver.map(wh);
        let quote = quoted(&world.request_unknown(&request));
        assert_eq!(quote.energy, wh(want.min(20_000)));
        quoted(&world.prove("s1", &proof(Tier::Diamond)));
        let shown = world.pay("s1", &purse.spend(&quote, 20 * EUR));
        let [Effect::PowerOn { energy_max, priority, .. }] = shown[..] else { panic!("{shown:?}") };
        assert_eq!((energy_max, priority), (wh(want), 0), "the partner's rules narrow the tier's priority");
    }
}

#[test]
fn vouchers_of_a_revoked_key_pay_what_they_were_reserved_for_and_others_come_in_their_place() {
    let mut world = World::new();
    let [one, two, three] = ["a", "b", "c"].map(|name| world.withdraw(ANA, name));
    let quote = world.quote_unknown("s1", AT_GLP, &one);
    assert!(is_power_on(&world.pay("s1", &one.spend(&quote, 20 * EUR))));
    world.ledger.office(edp(), Tx::Voucher(VoucherTx::RevokeKey { key: 0 }));

    for (session, evse, purse) in [("s2", AT_GLP, &two), ("s3", AT_EDP, &three)] {
        let quote = world.quote_unknown(session, evse, purse);
        assert_eq!(denied(&world.pay(session, &purse.spend(&quote, 20 * EUR))), Denial::VoucherWithdrawn);
    }
    let consumption = hour_of(world.now, 10_000);
    world.wait(HOUR);
    world.consumed("s1", consumption);
    assert!(world.session("s1").is_settled(), "who relied on it is paid: {:?}", world.session("s1").phase);

    let next = SigningKey::from_bytes(&[9; 32]);
    world.org(edp()).set_voucher_key(next);
    let publish = world.org(edp()).publish_voucher_key(on(1, 1, 0, 0), on(12, 31, 0, 0)).unwrap();
    world.ledger.office(edp(), publish);
    // The limit was three: the one that paid counts, the two of which nothing can come do not.
    let [four, five] = ["d", "e"].map(|name| world.withdraw(ANA, name));
    assert_eq!((four.voucher.voucher.key, five.voucher.voucher.key), (1, 1));
    let (network, now) = (world.ledger.network, world.now);
    let mut more = None;
    let key = holder(&one_time("f"));
    world
        .call(edp(), |gateway, ledger| {
            let asked =
                gateway.issue_vouchers(ledger, network, &contract(ANA), &[key], now.utc_day(), now)?;
            more = Some(asked);
            Ok(Vec::new())
        })
        .unwrap();
    assert_eq!(more, Some(Err(VoucherRefusal::DailyLimit { left: 0, wanted: 1 })));
    world.charge_unknown("s4", AT_GLP, &four, 10_000);
    world.charge_unknown("s5", AT_EDP, &five, 10_000);
    assert!(world.session("s4").is_settled() && world.session("s5").is_settled());
}

#[test]
fn an_own_customer_pays_with_a_voucher_at_an_own_station_and_nobody_else_can() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    world.charge_unknown("s1", AT_EDP, &purse, 20_000);
    let [(block, _)] = world.ledger.blocks.as_slice() else { panic!("one envelope") };
    assert!(matches!(block.envelope().tx, Tx::Voucher(VoucherTx::Block(_))), "nothing is owed to anybody");
    let bill = world.bill_lines(edp());
    let mut by_card = World::new();
    by_card.charge("s1", AT_EDP, ANA, 20_000);
    assert_eq!(bill, by_card.bill_lines(edp()));
    let nullifier = purse.voucher.voucher.nullifier();
    assert_eq!(world.store(edp()).vouchers[&nullifier].status, VoucherStatus::Spent);
    assert!(world.session("s1").is_settled());
    for evse in [AT_EDP, AT_GLP] {
        let session = if evse == AT_EDP { "s2" } else { "s3" };
        let quote = world.quote_unknown(session, evse, &purse);
        assert_eq!(denied(&world.pay(session, &purse.spend(&quote, 20 * EUR))), Denial::VoucherSpent);
    }
}

#[test]
fn an_own_voucher_is_checked_by_what_was_issued() {
    type Spoil = fn(&mut World, &Purse, SpentVoucher) -> SpentVoucher;
    let cases: [(&str, Spoil, Denial); 6] = [
        (
            "never issued",
            |w, _, s| {
                w.store(edp()).vouchers.clear();
                s
            },
            Denial::ForgedVoucher,
        ),
        (
            "changed",
            |_, _, mut s| {
                s.voucher.voucher.cap.micros += 1;
                s
            },
            Denial::ForgedVoucher,
        ),
        (
            "above the cap",
            |_, p, s| {
                let mut acceptance = s.acceptance;
                acceptance.limit = 30 * EUR + 1;
                p.sign(acceptance)
            },
            Denial::VoucherLimit,
        ),
        (
            "somebody else's",
            |_, p, s| Purse { key: one_time("thief"), ..p.clone() }.sign(s.acceptance),
            Denial::ForgedAcceptance,
        ),
        (
            "lost",
            |w, _, s| {
                w.ledger_reachable = false;
                w.call(edp(), |gateway, _| gateway.block_vouchers(&contract(ANA)).map(|_| Vec::new()))
                    .unwrap();
                s
            },
            Denial::VoucherSpent,
        ),
        (
            "reserved elsewhere",
            |w, p, s| {
                let quote = w.quote_unknown("other", AT_GLP, p);
                assert!(is_power_on(&w.pay("other", &p.spend(&quote, 20 * EUR))));
                s
            },
            Denial::VoucherSpent,
        ),
    ];
    for (name, spoil, want) in cases {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        let mut request = world.ask_unknown("s1", AT_EDP, &purse);
        let quote = {
            let mut trial = World::new();
            let purse = trial.withdraw(ANA, "a");
            trial.quote_unknown("s1", AT_EDP, &purse)
        };
        let spent = spoil(&mut world, &purse, purse.spend(&quote, 20 * EUR));
        request.voucher = spent.voucher.commitment();
        assert_eq!(quoted(&world.request_unknown(&request)), quote);
        quoted(&world.prove("s1", &proof(Tier::Standard)));
        assert_eq!(denied(&world.pay("s1", &spent)), want, "{name}");
    }
}

#[test]
fn an_own_customers_proof_must_agree_with_the_contract() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    let quote = quoted(&world.request_unknown(&world.ask_unknown("s1", AT_EDP, &purse)));
    quoted(&world.prove("s1", &proof(Tier::Diamond)));
    assert!(is_power_on(&world.pay("s1", &purse.spend(&quote, 10 * EUR))));
    let consumption = hour_of(world.now, 10_000);
    world.wait(HOUR);
    world.consumed("s1", consumption);
    let [(_, _, charge)] = world.store(edp()).unbilled_charges().unwrap().try_into().unwrap();
    assert!(matches!(&charge, Charge::Disputed { why } if why.contains("tier")), "{charge:?}");
}

/// A station that had no connection tells everything afterwards, with the times at which it happened. What another
/// operator has reserved meanwhile is a loss up to the limit, and it stays in sight.
#[test]
fn a_station_that_was_offline_tells_everything_afterwards() {
    for spent_meanwhile in [false, true] {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        let request = world.ask_unknown("s1", AT_GLP, &purse);
        let consumption = hour_of(world.now, 10_000);
        let accepted_at = world.now;
        world.wait(20 * HOUR);
        if spent_meanwhile {
            let quote = world.quote_unknown("other", AT_IBE, &purse);
            assert!(is_power_on(&world.pay("other", &purse.spend(&quote, 20 * EUR))));
        }
        let quote = quoted(&world.request_unknown(&request));
        assert_eq!(quote.made_at, accepted_at);
        let (network, spent) = (world.ledger.network, purse.spend(&quote, 20 * EUR));
        world
            .call(glp(), |gateway, ledger| {
                let mut effects = gateway.proven(ledger, &id("s1"), &proof(Tier::Standard), accepted_at)?;
                effects.extend(gateway.consumed(ledger, &id("s1"), consumption)?);
                effects.extend(gateway.accept_with_voucher(
                    ledger,
                    network,
                    &id("s1"),
                    &spent,
                    accepted_at,
                )?);
                Ok(effects)
            })
            .unwrap();
        let shown = world.shown();
        assert!(!shown.iter().any(|e| matches!(e, Effect::PowerOn { .. })), "it is over");
        let session = world.session("s1");
        if spent_meanwhile {
            assert_eq!(session.phase, Phase::Denied(Denial::VoucherSpent));
            let pending = session.pending(world.now, DurationMs::ZERO);
            assert_eq!(pending, Some(Pending::EnergyWithoutAuthorization));
            assert_eq!(world.bill_lines(edp()), []);
        } else {
            assert!(session.is_settled(), "{:?}", session.phase);
            assert_eq!(world.bill_lines(edp()).len(), 1);
        }
    }
}

/// What a station that was offline tells has been delivered: that there is no credit at the moment is not the end of it.
#[test]
fn a_late_reservation_waits_for_credit_until_it_is_too_late() {
    for is_released in [true, false] {
        let mut world = World::new();
        let mut few = terms(edp(), glp());
        few.credit_limit = Money::new(32 * EUR, eur());
        let window = few.record_window;
        super::quotes::amend(&mut world, few);
        let (purse, other) = (world.withdraw(ANA, "a"), world.withdraw(ANA, "b"));
        let request = world.ask_unknown("s1", AT_GLP, &purse);
        let (consumption, accepted_at) = (hour_of(world.now, 10_000), world.now);
        world.wait(2 * HOUR);
        let quote = world.quote_unknown("s2", AT_GLP, &other);
        let begun = world.now;
        assert!(is_power_on(&world.pay("s2", &other.spend(&quote, 20 * EUR))));

        let quote = quoted(&world.request_unknown(&request));
        let (network, spent) = (world.ledger.network, purse.spend(&quote, 20 * EUR));
        world
            .call(glp(), |gateway, ledger| {
                let mut effects = gateway.proven(ledger, &id("s1"), &proof(Tier::Standard), accepted_at)?;
                effects.extend(gateway.consumed(ledger, &id("s1"), consumption)?);
                let accepted =
                    gateway.accept_with_voucher(ledger, network, &id("s1"), &spent, accepted_at)?;
                effects.extend(accepted);
                Ok(effects)
            })
            .unwrap();
        let is_told = |e: &Effect| matches!(e, Effect::PowerOn { .. } | Effect::Deny { .. });
        assert!(!world.shown().iter().any(is_told), "nobody is told what is not known yet");
        let blocks = world.ledger.blocks.len();
        let resume = |world: &mut World| {
            world.tick(glp());
            world.resume(glp());
            world.drive();
        };
        for _ in 0..3 {
            let session = world.session("s1");
            assert!(matches!(session.phase, Phase::Reserving { .. }), "{:?}", session.phase);
            assert_eq!(session.pending(world.now, DurationMs::ZERO), Some(Pending::LedgerSilent));
            resume(&mut world);
        }
        assert_eq!(world.ledger.blocks.len(), blocks, "the ledger is not asked what it has just said");
        world.wait(HOUR);
        resume(&mut world);
        assert_eq!(world.ledger.blocks.len(), blocks + 1, "once in an hour, since other things count, too");
        if is_released {
            // Within the hour, because the other charge is over.
            let consumption = hour_of(begun, 10_000);
            world.consumed("s2", consumption);
            resume(&mut world);
            assert!(world.session("s1").is_settled(), "{:?}", world.session("s1").phase);
            assert_eq!(world.bill_lines(edp()).len(), 2);
        } else {
            world.wait(window.millis() + HOUR);
            resume(&mut world);
            let session = world.session("s1");
            assert!(matches!(session.phase, Phase::Denied(_)), "{:?}", session.phase);
            let pending = session.pending(world.now, DurationMs::ZERO);
            assert_eq!(pending, Some(Pending::EnergyWithoutAuthorization), "the loss is in sight");
        }
    }
}

#[test]
fn what_a_station_sent_is_kept_for_disputes_and_no_longer() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    world.charge_unknown("s1", AT_GLP, &purse, 10_000);
    let now = world.now;
    let keep = |world: &mut World, session: &str, bytes: &[u8]| {
        let mut kept = None;
        let answer = world.call(glp(), |gateway, _| {
            kept = Some(gateway.keep_evidence(&id(session), bytes, now)?);
            Ok(Vec::new())
        });
        answer.map(|()| kept.unwrap())
    };
    assert_eq!(keep(&mut world, "s1", b"proof").unwrap(), Ok(evidence_digest(b"proof")));
    assert_eq!(keep(&mut world, "s1", b"readings").unwrap(), Ok(evidence_digest(b"readings")));
    let large = vec![0; EVIDENCE_BYTES_MAX + 1];
    assert_eq!(keep(&mut world, "s1", &large).unwrap().unwrap_err().0, EVIDENCE_BYTES_MAX + 1);
    assert!(matches!(keep(&mut world, "nobody", b"x"), Err(GatewayError::UnknownSession(_))));
    let evidence = |world: &mut World| world.org(glp()).evidence(&id("s1")).unwrap();
    assert_eq!(evidence(&mut world).as_deref(), Some(&b"readings"[..]));
    world.now = now.checked_add(EVIDENCE_KEPT_FOR).unwrap();
    world.tick(glp());
    assert!(evidence(&mut world).is_some());
    world.wait(DAY);
    world.tick(glp());
    assert_eq!(evidence(&mut world), None);
}

#[test]
fn the_report_carries_the_voucher_the_quote_and_the_tier() {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    let quote = world.charge_unknown("s1", AT_GLP, &purse, 10_000);
    let letter = world.letters.iter().find(|l| l.kind() == "reports").unwrap();
    let PartnerMessage::Reports(reports) = letter.message() else { panic!("reports") };
    let spent = Box::new(purse.spend(&quote, 20 * EUR));
    let want = ReportedCustomer::Voucher { spent, quote: Box::new(quote), tier: Tier::Standard };
    assert_eq!(reports[0].customer, want);
    assert!(
        world
            .ledger
            .blocks
            .iter()
            .all(|(e, _)| { !matches!(e.envelope().tx, Tx::Settlement(SettlementTx::ReserveCredit(_))) })
    );
}
