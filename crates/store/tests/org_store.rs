//! The records of one organisation, on both databases.

mod support;

use eroam_domain::charge::Denial;
use eroam_domain::codec::Digest;
use eroam_domain::time::{CivilMonth, PeriodKind, SettlementPeriod};
use eroam_gateway::anomalies::{CaseState, Sighting};
use eroam_gateway::billing::{BillLine, Charge};
use eroam_gateway::ports::{Store, StoreError};
use eroam_gateway::sessions::{AuthorizedBy, Phase, SessionPayer};
use eroam_gateway::true_ups::AwaitedTrueUp;
use eroam_store::{OpenError, OrgStore};
use support::Place;
use support::records::{self, at, cdr_id, contract, own, party, session_id, text};

fn month(text: &str) -> CivilMonth {
    text.parse().unwrap()
}

fn bill_lines(store: &mut dyn Store) -> Vec<BillLine> {
    let mut lines = Vec::new();
    store
        .each_bill_line(&mut |line| {
            lines.push(line);
            Ok(())
        })
        .unwrap();
    lines
}

fn wholesale_keys(store: &mut dyn Store) -> Vec<(String, String, String)> {
    let mut keys = Vec::new();
    store
        .each_wholesale(&mut |emsp, period, line| {
            assert_eq!((emsp, period), (line.emsp, line.period));
            keys.push((emsp.to_string(), period.to_string(), line.cdr.to_string()));
            Ok(())
        })
        .unwrap();
    keys
}

#[test]
fn a_store_can_be_moved_to_another_thread() {
    const fn sendable<T: Send>() {}
    sendable::<OrgStore>();
}

/// Lines whose order differs between byte order, dictionary order and the order of contracts.
fn mixed_lines() -> Vec<BillLine> {
    let din = "DE*8AA*CA2B3C*9".parse().unwrap();
    let mut lines = Vec::new();
    for contract in [contract(2), din, contract(1), "PT-EDP-1A0000001".parse().unwrap()] {
        for month in ["2020-10", "2020-09"] {
            for start in [5, 1_000_000_000, 10] {
                for cdr in ["b", "B", "a_1", "a-1", "a 1", "A1"] {
                    let cdr = text(&format!("{cdr}.{}", lines.len()));
                    lines.push(records::bill_line(contract, month, at(start), cdr));
                }
            }
        }
    }
    lines
}

on_both! {
    fn a_home_profile_is_read_before_and_after_the_commit_and_after_reopening(place) {
        let mut store = place.open();
        assert_eq!(store.home_profile(&contract(1)).unwrap(), None);
        store.put_home_profile(&records::home_profile(1)).unwrap();
        assert_eq!(store.home_profile(&contract(1)).unwrap(), Some(records::home_profile(1)));
        store.commit().unwrap();
        assert_eq!(store.home_profile(&contract(1)).unwrap(), Some(records::home_profile(1)));
        let mut changed = records::home_profile(1);
        changed.wrong_pins = 4;
        store.put_home_profile(&changed).unwrap();
        assert_eq!(store.home_profile(&contract(1)).unwrap(), Some(changed.clone()));
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.home_profile(&contract(1)).unwrap(), Some(changed));
        assert_eq!(store.home_profile(&contract(2)).unwrap(), None);
    }

    fn a_contract_is_found_however_it_is_written(place) {
        let mut store = place.open();
        store.put_home_profile(&records::home_profile(1)).unwrap();
        store.commit().unwrap();
        drop(store);
        let other = "ptedpc00000001".parse().unwrap();
        assert_eq!(place.open().home_profile(&other).unwrap(), Some(records::home_profile(1)));
    }

    fn a_visitor_is_kept_replaced_and_removed(place) {
        let mut store = place.open();
        store.put_visitor(&records::visitor(1, at(100))).unwrap();
        store.put_visitor(&records::visitor(2, at(100))).unwrap();
        store.commit().unwrap();
        store.put_visitor(&records::visitor(1, at(200))).unwrap();
        store.remove_visitor(&contract(2)).unwrap();
        store.remove_visitor(&contract(3)).unwrap();
        assert_eq!(store.visitor(&contract(1)).unwrap(), Some(records::visitor(1, at(200))));
        assert_eq!(store.visitor(&contract(2)).unwrap(), None);
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.visitor(&contract(1)).unwrap(), Some(records::visitor(1, at(200))));
        assert_eq!(store.visitor(&contract(2)).unwrap(), None);
    }

    fn visitors_go_when_they_expire_and_not_before(place) {
        let mut store = place.open();
        for n in 0..600 {
            store.put_visitor(&records::visitor(n, at(i64::from(n)))).unwrap();
        }
        store.commit().unwrap();
        // One that was prolonged stays, and one that never reached the database goes too.
        store.put_visitor(&records::visitor(3, at(1_000))).unwrap();
        store.put_visitor(&records::visitor(700, at(4))).unwrap();
        assert_eq!(store.remove_expired_visitors(at(499)).unwrap(), 500);
        assert_eq!(store.remove_expired_visitors(at(499)).unwrap(), 0);
        assert!(store.visitor(&contract(3)).unwrap().is_some());
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.visitor(&contract(499)).unwrap(), None);
        assert_eq!(store.visitor(&contract(700)).unwrap(), None);
        assert!(store.visitor(&contract(500)).unwrap().is_some());
        assert_eq!(store.remove_expired_visitors(at(2_000)).unwrap(), 101);
    }

    fn a_session_of_every_phase_comes_back_as_it_was(place) {
        let mut store = place.open();
        for session in records::every_phase() {
            store.put_session(&session).unwrap();
        }
        let check = |store: &mut OrgStore| {
            for session in records::every_phase() {
                assert_eq!(store.session(&session.id).unwrap(), Some(session));
            }
            assert_eq!(store.session(&session_id(99)).unwrap(), None);
        };
        check(&mut store);
        store.commit().unwrap();
        check(&mut store);
        drop(store);
        check(&mut place.open());
    }

    fn unsettled_sessions_come_in_the_order_of_their_ids(place) {
        let mut store = place.open();
        for session in records::every_phase().into_iter().rev() {
            store.put_session(&session).unwrap();
        }
        let want: Vec<_> = records::every_phase().into_iter().filter(|s| !s.is_settled()).collect();
        assert_eq!(store.unsettled_sessions().unwrap(), want);
        store.commit().unwrap();
        assert_eq!(store.unsettled_sessions().unwrap(), want);
        drop(store);
        let mut store = place.open();
        assert_eq!(store.unsettled_sessions().unwrap(), want);
        // Settled after it was loaded.
        store.put_session(&records::denied(0, Denial::HomeUnreachable)).unwrap();
        assert_eq!(store.unsettled_sessions().unwrap(), want[1..]);
        store.commit().unwrap();
        drop(store);
        assert_eq!(place.open().unsettled_sessions().unwrap(), want[1..]);
    }

    fn a_session_of_an_unknown_driver_comes_back_as_it_was_and_is_counted(place) {
        let sessions = records::unknown_drivers(1);
        let mut store = place.open();
        for session in &sessions {
            store.put_session(session).unwrap();
        }
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.unsettled_sessions().unwrap(), sessions);
        let counts = store.session_counts().unwrap();
        assert_eq!((counts.awaiting_proof, counts.authorized_proof, counts.roaming), (1, 4, 5));
        assert_eq!(counts.local_authorizations(), 0);
    }

    fn a_charge_of_every_state_comes_back_as_it_was(place) {
        let line = records::bill_line(contract(1), "2020-09", at(0), cdr_id(3));
        let charges = [
            Charge::Reported(Box::new(records::report(0))),
            Charge::Booked(records::booking(1)),
            Charge::Disputed { why: "the prices differ".into() },
            Charge::Billed(Box::new(line)),
        ];
        let mut store = place.open();
        for (n, charge) in (0u32..).zip(&charges) {
            store.put_charge(own(), &cdr_id(n), charge).unwrap();
        }
        let check = |store: &mut OrgStore| {
            for (n, charge) in (0u32..).zip(&charges) {
                assert_eq!(store.charge(own(), &cdr_id(n)).unwrap().as_ref(), Some(charge));
            }
            assert_eq!(store.charge(own(), &cdr_id(9)).unwrap(), None);
            assert_eq!(store.charge(party("PT-EDP"), &cdr_id(0)).unwrap(), None);
            let want: Vec<_> = (0..3).map(|n| (own(), cdr_id(n), charges[n as usize].clone())).collect();
            assert_eq!(store.unbilled_charges().unwrap(), want);
        };
        check(&mut store);
        store.commit().unwrap();
        check(&mut store);
        drop(store);
        check(&mut place.open());
    }

    fn a_charge_that_is_billed_is_no_longer_unbilled(place) {
        let mut store = place.open();
        store.put_charge(own(), &cdr_id(0), &Charge::Booked(records::booking(0))).unwrap();
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        let line = records::bill_line(contract(1), "2020-09", at(0), cdr_id(0));
        store.put_charge(own(), &cdr_id(0), &Charge::Billed(Box::new(line.clone()))).unwrap();
        assert_eq!(store.unbilled_charges().unwrap(), []);
        assert_eq!(bill_lines(&mut store), std::slice::from_ref(&line));
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.unbilled_charges().unwrap(), []);
        assert_eq!(bill_lines(&mut store), [line]);
    }

    fn bill_lines_come_in_order_committed_or_not(place) {
        let mut store = place.open();
        let mut want = mixed_lines();
        for (n, line) in want.iter().enumerate() {
            store.put_charge(line.operator, &line.cdr, &Charge::Billed(Box::new(line.clone()))).unwrap();
            if n == 60 {
                store.commit().unwrap();
            }
        }
        want.sort_by_key(|l| (l.contract, l.month, l.start, l.cdr.clone()));
        assert_eq!(bill_lines(&mut store), want);
        store.commit().unwrap();
        drop(store);
        assert_eq!(bill_lines(&mut place.open()), want);
    }

    fn two_operators_may_use_one_record_id(place) {
        let mut store = place.open();
        for operator in ["PT-EDP", "NO-LYS", "DE-AB7"] {
            let mut line = records::bill_line(contract(1), "2020-09", at(0), cdr_id(1));
            line.operator = party(operator);
            store.put_charge(line.operator, &line.cdr.clone(), &Charge::Billed(Box::new(line))).unwrap();
        }
        assert_eq!(bill_lines(&mut store).len(), 3);
    }

    fn bill_lines_of_one_start_come_in_byte_order_of_their_records(place) {
        let mut store = place.open();
        let ids = ["b", "B", "a_1", "a-1", "a 1", "A1", "~", "0"];
        for id in ids {
            let line = records::bill_line(contract(1), "2020-09", at(0), text(id));
            store.put_charge(own(), &text(id), &Charge::Billed(Box::new(line))).unwrap();
        }
        let mut want = ids.to_vec();
        want.sort_unstable();
        let found: Vec<String> = bill_lines(&mut store).iter().map(|l| l.cdr.to_string()).collect();
        assert_eq!(found, want);
    }

    fn more_bill_lines_than_a_page_come_completely_and_once(place) {
        let mut store = place.open();
        for n in 0..2_500 {
            let line = records::bill_line(contract(n % 7), "2020-09", at(i64::from(n % 11)), cdr_id(n));
            store.put_charge(own(), &cdr_id(n), &Charge::Billed(Box::new(line))).unwrap();
        }
        let lines = bill_lines(&mut store);
        let keys: Vec<_> = lines.iter().map(|l| (l.contract, l.month, l.start, l.cdr.clone())).collect();
        assert_eq!(keys.len(), 2_500);
        assert!(keys.is_sorted_by(|a, b| a < b));
    }

    fn a_visitor_of_lines_can_stop(place) {
        let mut store = place.open();
        for n in 0..3 {
            let line = records::bill_line(contract(n), "2020-09", at(0), cdr_id(n));
            store.put_charge(own(), &cdr_id(n), &Charge::Billed(Box::new(line))).unwrap();
        }
        let mut seen = 0;
        let stopped = store.each_bill_line(&mut |_| {
            seen += 1;
            Err(StoreError { what: "enough".into(), source: None })
        });
        assert_eq!((stopped.unwrap_err().what.as_str(), seen), ("enough", 1));
        assert_eq!(bill_lines(&mut store).len(), 3);
    }

    fn wholesale_lines_come_by_partner_period_and_record(place) {
        let mut store = place.open();
        let mut lines = Vec::new();
        for emsp in ["PT-EDP", "DE-AB7", "DE-ABC"] {
            for kind in [PeriodKind::Month, PeriodKind::Week, PeriodKind::Day] {
                for day in [300, 5, 40] {
                    for cdr in ["b", "B", "a-1", "a_1"] {
                        let period = SettlementPeriod::containing(kind, at(day * 86_400_000));
                        let line = records::wholesale(emsp, period, text(cdr));
                        store.put_wholesale(&line).unwrap();
                        store.put_wholesale(&line).unwrap();
                        lines.push(line);
                        if lines.len() == 50 {
                            store.commit().unwrap();
                        }
                    }
                }
            }
        }
        lines.sort_by_key(|l| (l.emsp, l.period, l.cdr.clone()));
        let want: Vec<_> =
            lines.iter().map(|l| (l.emsp.to_string(), l.period.to_string(), l.cdr.to_string())).collect();
        assert_eq!(wholesale_keys(&mut store), want);
        store.commit().unwrap();
        drop(store);
        assert_eq!(wholesale_keys(&mut place.open()), want);
    }

    fn more_wholesale_lines_than_a_page_come_completely(place) {
        let mut store = place.open();
        let period = SettlementPeriod::containing(PeriodKind::Month, at(0));
        for n in 0..2_500 {
            store.put_wholesale(&records::wholesale("PT-EDP", period, cdr_id(n))).unwrap();
        }
        assert_eq!(wholesale_keys(&mut store).len(), 2_500);
    }

    fn the_last_billed_month_is_kept(place) {
        let mut store = place.open();
        assert_eq!(store.billed_through().unwrap(), None);
        store.set_billed_through(month("2020-09")).unwrap();
        store.commit().unwrap();
        store.set_billed_through(month("2020-10")).unwrap();
        assert_eq!(store.billed_through().unwrap(), Some(month("2020-10")));
        drop(store);
        assert_eq!(place.open().billed_through().unwrap(), Some(month("2020-09")));
    }

    fn changes_that_were_not_committed_vanish(place) {
        let mut store = place.open();
        store.put_session(&records::charging(1)).unwrap();
        store.put_visitor(&records::visitor(1, at(100))).unwrap();
        store.commit().unwrap();
        store.put_home_profile(&records::home_profile(1)).unwrap();
        store.remove_visitor(&contract(1)).unwrap();
        store.put_session(&records::recorded(1)).unwrap();
        store.put_session(&records::recorded(2)).unwrap();
        let line = records::bill_line(contract(1), "2020-09", at(0), cdr_id(1));
        store.put_charge(own(), &cdr_id(1), &Charge::Billed(Box::new(line))).unwrap();
        let period = SettlementPeriod::containing(PeriodKind::Month, at(0));
        store.put_wholesale(&records::wholesale("PT-EDP", period, cdr_id(1))).unwrap();
        // Reading in order writes into the open transaction, and that must vanish as well.
        assert_eq!(bill_lines(&mut store).len(), 1);
        assert_eq!(wholesale_keys(&mut store).len(), 1);
        assert_eq!(store.session_counts().unwrap().recorded, 2);
        drop(store);
        let mut store = place.open();
        assert_eq!(store.home_profile(&contract(1)).unwrap(), None);
        assert!(store.visitor(&contract(1)).unwrap().is_some());
        assert_eq!(store.session(&session_id(1)).unwrap(), Some(records::charging(1)));
        assert_eq!(store.session(&session_id(2)).unwrap(), None);
        assert_eq!(store.charge(own(), &cdr_id(1)).unwrap(), None);
        assert!(bill_lines(&mut store).is_empty() && wholesale_keys(&mut store).is_empty());
    }

    fn a_commit_of_thousands_of_rows_is_complete(place) {
        let mut store = place.open();
        // Full statements, a remainder, and a single row.
        for n in 0..1_025 {
            store.put_session(&records::recorded(n)).unwrap();
            store.put_home_profile(&records::home_profile(n)).unwrap();
        }
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        for n in 0..1_025 {
            assert_eq!(store.session(&session_id(n)).unwrap(), Some(records::recorded(n)));
            assert_eq!(store.home_profile(&contract(n)).unwrap(), Some(records::home_profile(n)));
        }
    }

    fn counts_follow_the_sessions_and_survive(place) {
        let mut store = place.open();
        for session in records::every_phase() {
            store.put_session(&session).unwrap();
        }
        // Authorized, then declined: it stays authorized, in one commit or in two.
        store.put_session(&records::quoted(20, AuthorizedBy::Cache)).unwrap();
        store.put_session(&records::denied(20, Denial::QuoteRefused)).unwrap();
        store.put_session(&records::quoted(21, AuthorizedBy::Cache)).unwrap();
        store.commit().unwrap();
        store.put_session(&records::denied(21, Denial::QuoteRefused)).unwrap();
        let mut own_customer = records::session(22, Phase::AwaitingHome);
        own_customer.payer =
            SessionPayer::Contract { contract: contract(22), home: own(), credential: None };
        store.put_session(&own_customer).unwrap();
        let counts = store.session_counts().unwrap();
        let settled = 2 + records::every_phase().iter().filter(|s| s.is_settled()).count() as u64;
        assert_eq!((counts.total, counts.roaming), (13, 12));
        assert_eq!((counts.settled, counts.open()), (settled, 13 - settled));
        assert_eq!((counts.awaiting_home, counts.quoted, counts.reserving, counts.charging), (2, 1, 1, 1));
        assert_eq!((counts.recording, counts.recorded, counts.delivered, counts.disputed), (1, 2, 1, 1));
        assert_eq!(counts.denied, 3);
        assert_eq!(counts.denials, [(Denial::NoCredit, 1), (Denial::QuoteRefused, 2)].into());
        assert_eq!((counts.authorized_home, counts.authorized_partner, counts.authorized_cache), (6, 1, 3));
        assert_eq!(counts.local_authorizations(), 9);
        store.commit().unwrap();
        drop(store);
        assert_eq!(place.open().session_counts().unwrap(), counts);
    }

    fn a_denied_session_stays_authorized_after_reopening(place) {
        let mut store = place.open();
        store.put_session(&records::quoted(1, AuthorizedBy::Partner)).unwrap();
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        store.put_session(&records::denied(1, Denial::QuoteExpired)).unwrap();
        store.commit().unwrap();
        // Settled, and put once more.
        store.put_session(&records::denied(1, Denial::QuoteExpired)).unwrap();
        store.commit().unwrap();
        assert_eq!(store.session_counts().unwrap().authorized_partner, 1);
    }

    fn a_second_handle_is_refused_until_the_first_is_closed(place) {
        let store = place.open();
        let refused = place.try_open().err().unwrap();
        assert!(matches!(refused, OpenError::InUse { .. }), "{refused:?}");
        assert!(refused.to_string().contains("in use by another process"), "{refused}");
        drop(store);
        place.open();
    }

    fn organisations_share_a_place_and_see_only_their_own(place) {
        let mut lys = place.open();
        let mut edp = OrgStore::open(&place.url(), party("PT-EDP"), &records::network()).unwrap();
        lys.put_session(&records::charging(1)).unwrap();
        lys.commit().unwrap();
        assert_eq!(edp.session(&session_id(1)).unwrap(), None);
        edp.put_session(&records::recorded(1)).unwrap();
        edp.commit().unwrap();
        drop((lys, edp));
        assert_eq!(place.open().session(&session_id(1)).unwrap(), Some(records::charging(1)));
    }

    fn another_network_is_refused_with_both_named(place) {
        place.open();
        let other = Digest::of(b"other network");
        let refused = place.try_open_in(&other).err().unwrap();
        assert!(matches!(refused, OpenError::OtherNetwork { .. }), "{refused:?}");
        let message = refused.to_string();
        assert!(message.contains(&other.to_string()) && message.contains(&records::network().to_string()));
        place.open();
    }

    fn another_party_is_refused_with_both_named(place) {
        place.open();
        place.sql("no_lys", "UPDATE meta SET value = 'PT-EDP' WHERE key = 'party'");
        let refused = place.try_open().err().unwrap();
        assert!(matches!(refused, OpenError::OtherOwner { .. }), "{refused:?}");
        assert!(refused.to_string().contains("belongs to PT-EDP, not to NO-LYS"), "{refused}");
    }

    fn a_newer_format_is_refused_before_anything_is_changed(place) {
        place.open();
        place.sql("no_lys", "UPDATE meta SET value = '6' WHERE key = 'format'; DROP TABLE wholesale");
        let refused = place.try_open().err().unwrap();
        assert!(matches!(refused, OpenError::NewerFormat { found: 6, supported: 5, .. }), "{refused:?}");
        assert!(refused.to_string().contains("use the newer version"), "{refused}");
    }

    /// Before format 3, sessions said in another form who pays.
    fn an_older_format_is_refused_and_left_as_it_is(place) {
        place.open();
        let as_before = "DROP TABLE vouchers; DROP TABLE evidence; DROP TABLE sightings; DROP TABLE anomalies; \
                         DROP TABLE true_ups; DELETE FROM _sqlx_migrations WHERE version > 2; \
                         UPDATE meta SET value = '2' WHERE key = 'format'";
        place.sql("no_lys", as_before);
        for _ in 0..2 {
            let refused = place.try_open().err().unwrap();
            assert!(matches!(refused, OpenError::OlderFormat { found: 2, supported: 3, .. }), "{refused:?}");
            assert!(refused.to_string().contains("older version that wrote it"), "{refused}");
        }
        // It would fail if the table were there.
        place.sql("no_lys", "CREATE TABLE vouchers (nullifier BIGINT)");
    }

    fn a_store_from_before_the_anomaly_rules_and_true_ups_is_taken_over(place) {
        let mut store = place.open();
        store.put_home_profile(&records::home_profile(1)).unwrap();
        store.commit().unwrap();
        drop(store);
        let as_before = "DROP TABLE sightings; DROP TABLE anomalies; DROP TABLE true_ups; \
                         DELETE FROM _sqlx_migrations WHERE version > 3; \
                         UPDATE meta SET value = '3' WHERE key = 'format'";
        place.sql("no_lys", as_before);
        let mut store = place.open();
        assert_eq!(store.home_profile(&contract(1)).unwrap(), Some(records::home_profile(1)));
        assert_eq!(store.waiting_anomalies().unwrap(), []);
        assert_eq!(store.due_true_ups(at(0), 1).unwrap(), []);
    }

    fn anomalies_and_their_evidence_are_kept(place) {
        let mut store = place.open();
        let case = |n: u32, state| records::anomaly(n, state);
        for (n, state) in [(1, CaseState::Waiting), (2, CaseState::Notice), (3, CaseState::Waiting)] {
            store.put_anomaly(&case(n, state)).unwrap();
        }
        assert_eq!(store.anomaly(&case(2, CaseState::Notice).name).unwrap(), Some(case(2, CaseState::Notice)));
        store.commit().unwrap();
        store.put_anomaly(&case(3, CaseState::Contested)).unwrap();
        assert_eq!(store.waiting_anomalies().unwrap(), [case(1, CaseState::Waiting)]);
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.waiting_anomalies().unwrap(), [case(1, CaseState::Waiting)]);
        assert_eq!(store.anomaly(&case(4, CaseState::Notice).name).unwrap(), None);
        let mut all = Vec::new();
        let visited = store.each_anomaly(&mut |case| {
            all.push(case);
            Ok(())
        });
        visited.unwrap();
        let want = [(1, CaseState::Waiting), (2, CaseState::Notice), (3, CaseState::Contested)];
        assert_eq!(all, want.map(|(n, state)| case(n, state)));
        assert!(all.iter().all(|case| !case.evidence.is_empty()));
    }

    fn sightings_are_read_by_their_ends_and_forgotten(place) {
        let mut store = place.open();
        for n in [3, 1, 2] {
            store.put_sighting(&records::sighting(n)).unwrap();
        }
        assert_eq!(store.sightings_since(records::sighting(2).end).unwrap(), [2, 3].map(records::sighting));
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        let known = Sighting { customer: Some(Digest::of(b"who")), ..records::sighting(2) };
        store.put_sighting(&known).unwrap();
        // What was just kept, what was written before, and what nobody kept.
        assert_eq!(store.sighting(&known.name).unwrap(), Some(known.clone()));
        assert_eq!(store.sighting(&records::sighting(3).name).unwrap(), Some(records::sighting(3)));
        assert_eq!(store.sighting(&records::sighting(4).name).unwrap(), None);
        assert_eq!(store.remove_sightings_before(known.end).unwrap(), 1);
        store.commit().unwrap();
        assert_eq!(store.sightings_since(at(0)).unwrap(), [known, records::sighting(3)]);
    }

    fn awaited_true_ups_are_read_by_their_times_and_forgotten(place) {
        let mut store = place.open();
        for n in [3, 1, 2] {
            store.put_true_up(&records::awaited_true_up(n)).unwrap();
        }
        let due = |store: &mut OrgStore, until: u32, count| {
            store.due_true_ups(records::awaited_true_up(until).look_at, count).unwrap()
        };
        assert_eq!(due(&mut store, 2, 9), [1, 2].map(records::awaited_true_up));
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(due(&mut store, 3, 2), [1, 2].map(records::awaited_true_up));
        // Looked at in vain: later again.
        let again = AwaitedTrueUp { look_at: records::awaited_true_up(4).look_at, ..records::awaited_true_up(1) };
        store.put_true_up(&again).unwrap();
        store.remove_true_up(&records::awaited_true_up(2).name()).unwrap();
        store.remove_true_up(&records::awaited_true_up(9).name()).unwrap();
        assert_eq!(due(&mut store, 4, 9), [records::awaited_true_up(3), again.clone()]);
        store.commit().unwrap();
        drop(store);
        assert_eq!(due(&mut place.open(), 9, 9), [records::awaited_true_up(3), again]);
    }

    fn a_database_of_something_else_is_refused(place) {
        place.open();
        place.sql("no_lys", "DROP TABLE meta");
        let refused = place.try_open().err().unwrap();
        assert!(matches!(refused, OpenError::Foreign { .. }), "{refused:?}");
    }

    fn a_store_that_was_made_but_not_claimed_is_claimed(place) {
        place.open();
        place.sql("no_lys", "DELETE FROM meta");
        drop(place.try_open_in(&Digest::of(b"other network")).unwrap());
        assert!(matches!(place.try_open(), Err(OpenError::OtherNetwork { .. })));
    }

    fn a_damaged_record_is_reported_with_its_table_and_without_its_contents(place) {
        let mut store = place.open();
        store.put_home_profile(&records::home_profile(1)).unwrap();
        store.put_session(&records::recorded(1)).unwrap();
        store.commit().unwrap();
        drop(store);
        place.sql("no_lys", "UPDATE contracts SET body = '{\"contract\":\"PT-EDP-C00000001-X\"'");
        place.sql("no_lys", "UPDATE sessions SET body = '{}'");
        let mut store = place.open();
        let error = store.home_profile(&contract(1)).unwrap_err();
        assert!(error.what.contains("`contracts`") && error.what.contains("backup"), "{}", error.what);
        assert!(!format!("{error:?}").contains("C00000001"), "{error:?}");
        let error = store.session(&session_id(1)).unwrap_err();
        assert!(error.what.contains("`sessions`"), "{}", error.what);
    }

    fn after_a_failure_everything_is_refused_and_the_last_commit_stands(place) {
        let mut store = place.open();
        store.put_session(&records::charging(1)).unwrap();
        store.commit().unwrap();
        place.sql("no_lys", "ALTER TABLE sessions RENAME TO elsewhere");
        store.put_session(&records::recorded(1)).unwrap();
        store.put_visitor(&records::visitor(1, at(100))).unwrap();
        assert!(store.commit().is_err());
        let refused = store.session(&session_id(1)).unwrap_err();
        assert!(refused.what.contains("failed before"), "{}", refused.what);
        assert!(store.put_session(&records::recorded(2)).is_err() && store.commit().is_err());
        drop(store);
        place.sql("no_lys", "ALTER TABLE elsewhere RENAME TO sessions");
        let mut store = place.open();
        assert_eq!(store.session(&session_id(1)).unwrap(), Some(records::charging(1)));
        assert_eq!(store.visitor(&contract(1)).unwrap(), None);
    }

    fn a_store_can_be_dropped_where_tasks_run(place) {
        let mut store = place.open();
        store.put_session(&records::charging(1)).unwrap();
        store.commit().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move { drop(store) });
    }
}
