//! Vouchers and evidence, on both databases.

mod support;

use eroam_gateway::ports::{EVIDENCE_BYTES_MAX, EvidenceName, Store};
use eroam_gateway::vouchers::{IssuedVoucher, VoucherStatus};
use support::Place;
use support::records::{at, contract, session_id, voucher};

fn of_session(n: u32) -> EvidenceName {
    EvidenceName::of_session(&session_id(n))
}

/// In the order of nullifiers.
fn sorted(mut vouchers: Vec<IssuedVoucher>) -> Vec<IssuedVoucher> {
    vouchers.sort_by_key(IssuedVoucher::nullifier);
    vouchers
}

fn statuses() -> Vec<VoucherStatus> {
    use VoucherStatus::{Blocked, Blocking, Issued, Refunded, Refunding, Reserved, Spent, Taken};
    vec![Issued, Taken(session_id(1)), Reserved, Blocking, Blocked, Refunding, Refunded, Spent]
}

/// One for each status, under key and on day `first` and after it.
fn one_of_each(n: u32, first: u8) -> Vec<IssuedVoucher> {
    let with = (first..).zip(statuses());
    with.map(|(key, status)| voucher(n, key, i64::from(key), status)).collect()
}

on_both! {
    fn a_voucher_of_every_status_comes_back_as_it_was(place) {
        let all = one_of_each(1, 1);
        let mut store = place.open();
        for voucher in &all {
            store.put_voucher(voucher).unwrap();
        }
        for round in 0..3 {
            for voucher in &all {
                assert_eq!(store.voucher(&voucher.nullifier()).unwrap().as_ref(), Some(voucher), "{round}");
            }
            let other = voucher(1, 99, 1, VoucherStatus::Issued);
            assert_eq!(store.voucher(&other.nullifier()).unwrap(), None);
            store.commit().unwrap();
            if round == 1 {
                drop(store);
                store = place.open();
            }
        }
    }

    fn a_changed_voucher_replaces_the_old_one_and_uncommitted_changes_vanish(place) {
        let issued = voucher(1, 1, 5, VoucherStatus::Issued);
        let spent = IssuedVoucher { status: VoucherStatus::Spent, ..issued.clone() };
        let blocking = IssuedVoucher { status: VoucherStatus::Blocking, ..issued.clone() };
        let mut store = place.open();
        store.put_voucher(&issued).unwrap();
        store.commit().unwrap();
        store.put_voucher(&spent).unwrap();
        assert_eq!(store.voucher(&issued.nullifier()).unwrap().as_ref(), Some(&spent));
        store.commit().unwrap();
        store.put_voucher(&blocking).unwrap();
        // Asking for lists writes into the open transaction, and that must vanish as well.
        assert_eq!(store.awaited_vouchers().unwrap(), std::slice::from_ref(&blocking));
        drop(store);
        let mut store = place.open();
        assert_eq!(store.voucher(&issued.nullifier()).unwrap(), Some(spent));
        assert_eq!(store.awaited_vouchers().unwrap(), []);
    }

    fn the_vouchers_of_a_customer_and_day_are_found_whatever_became_of_them(place) {
        let mut store = place.open();
        let mut want = Vec::new();
        for (key, status) in (1..).zip(statuses()) {
            want.push(voucher(1, key, 7, status.clone()));
            store.put_voucher(want.last().unwrap()).unwrap();
            store.put_voucher(&voucher(2, 100 + key, 7, status.clone())).unwrap();
            store.put_voucher(&voucher(1, 200 + key, 8, status)).unwrap();
        }
        let want = sorted(want);
        assert_eq!(store.vouchers_on(&contract(1), 7).unwrap(), want);
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.vouchers_on(&contract(1), 7).unwrap(), want);
        assert_eq!(store.vouchers_on(&contract(1), 9).unwrap(), []);
        assert_eq!(store.vouchers_on(&contract(3), 7).unwrap(), []);
    }

    fn wallets_hold_what_is_issued_and_the_ledger_is_asked_about_what_is_awaited(place) {
        let mut store = place.open();
        for n in [1, 2] {
            for voucher in one_of_each(n, u8::try_from(n).unwrap() * 20) {
                store.put_voucher(&voucher).unwrap();
            }
        }
        let of = |n, first, wanted: &[VoucherStatus]| -> Vec<_> {
            one_of_each(n, first).into_iter().filter(|v| wanted.contains(&v.status)).collect()
        };
        let awaited = [VoucherStatus::Blocking, VoucherStatus::Refunding];
        for _ in 0..2 {
            let held = store.vouchers_in_wallet(&contract(2)).unwrap();
            assert_eq!(held, of(2, 40, &[VoucherStatus::Issued]));
            let want = sorted([of(1, 20, &awaited), of(2, 40, &awaited)].concat());
            assert_eq!(store.awaited_vouchers().unwrap(), want);
            store.commit().unwrap();
            drop(store);
            store = place.open();
        }
    }

    fn open_vouchers_lapse_the_earliest_first(place) {
        let mut store = place.open();
        for voucher in one_of_each(1, 10) {
            store.put_voucher(&voucher).unwrap();
        }
        for key in [3, 1, 2] {
            store.put_voucher(&voucher(2, key, i64::from(key), VoucherStatus::Issued)).unwrap();
        }
        store.commit().unwrap();
        let mut days = |instant, count| -> Vec<i64> {
            store.lapsed_vouchers(instant, count).unwrap().iter().map(|v| v.day).collect()
        };
        let midnight = |day: i64| eroam_domain::time::UnixMillis::new(day * 86_400_000).unwrap();
        let last = |day: i64| eroam_domain::time::UnixMillis::new(midnight(day + 1).get() - 1).unwrap();
        // Of the others, number 10 is issued and number 12 reserved.
        assert_eq!(days(midnight(100), 100), [1, 2, 3, 10, 12]);
        assert_eq!(days(midnight(100), 2), [1, 2]);
        assert_eq!(days(last(2), 100), [1], "one is valid at its last instant");
        assert_eq!(days(midnight(3), 100), [1, 2]);
    }

    fn evidence_is_kept_replaced_and_deleted_when_it_is_old(place) {
        let mut store = place.open();
        assert_eq!(store.evidence(&of_session(1)).unwrap(), None);
        let odd: Vec<u8> = (0..=255).collect();
        store.put_evidence(&of_session(1), at(10), b"first").unwrap();
        store.put_evidence(&of_session(1), at(20), &odd).unwrap();
        store.put_evidence(&of_session(2), at(30), b"").unwrap();
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.evidence(&of_session(1)).unwrap(), Some(odd.clone()));
        assert_eq!(store.evidence(&of_session(2)).unwrap(), Some(Vec::new()));
        store.put_evidence(&of_session(3), at(5), b"never committed before").unwrap();
        assert_eq!(store.remove_evidence_before(at(20)).unwrap(), 1, "not what was kept then");
        assert_eq!(store.evidence(&of_session(3)).unwrap(), None);
        assert_eq!(store.remove_evidence_before(at(30)).unwrap(), 1);
        assert_eq!(store.evidence(&of_session(1)).unwrap(), None);
        drop(store);
        let mut store = place.open();
        assert_eq!(store.evidence(&of_session(1)).unwrap(), Some(odd), "the deletion was not committed");
        store.remove_evidence_before(at(30)).unwrap();
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.evidence(&of_session(1)).unwrap(), None);
        assert_eq!(store.evidence(&of_session(2)).unwrap(), Some(Vec::new()));
    }

    fn evidence_of_the_greatest_size_is_kept_and_more_is_refused(place) {
        let mut store = place.open();
        let largest = vec![0xa5; EVIDENCE_BYTES_MAX];
        store.put_evidence(&of_session(1), at(0), &largest).unwrap();
        let refused = store.put_evidence(&of_session(2), at(0), &vec![0; EVIDENCE_BYTES_MAX + 1]).unwrap_err();
        assert!(refused.what.contains("1048577 bytes"), "{}", refused.what);
        store.commit().unwrap();
        drop(store);
        let mut store = place.open();
        assert_eq!(store.evidence(&of_session(1)).unwrap(), Some(largest));
        assert_eq!(store.evidence(&of_session(2)).unwrap(), None);
    }
}
