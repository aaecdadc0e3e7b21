//! Vouchers that nobody can spend any more go back, by what a program does all the time.

use super::town::Town;
use eroam::clock::{leave_out, now};
use eroam_domain::cdr::session_digest;
use eroam_domain::codec::Digest;
use eroam_domain::quantity::DurationMs;
use eroam_domain::voucher::{Nullifier, VoucherAcceptance};
use eroam_gateway::ports::Store as _;
use eroam_gateway::vouchers::VoucherStatus;
use eroam_ledger::query;
use eroam_ledger::tx::Tx;
use eroam_ledger::voucher::{VoucherReservation, VoucherState, VoucherTx};

/// A lane of the operator that nothing else uses here.
const LANE: u16 = 9;
const EUR: i64 = 1_000_000;

fn days_pass(days: u64) {
    leave_out(DurationMs::from_millis(days * 86_400_000));
}

fn on_ledger(town: &Town, nullifier: Nullifier) -> Option<VoucherState> {
    let office = town.world.providers()[0].office();
    query::voucher(office.client(), office.party(), nullifier).unwrap()
}

fn at_home(town: &Town, nullifier: Nullifier) -> VoucherStatus {
    let issued =
        town.world.providers()[0].office().with(|gateway, _| gateway.store_mut().voucher(&nullifier));
    issued.unwrap().unwrap().status
}

#[test]
fn a_voucher_that_was_never_used_and_one_whose_record_never_came_are_refunded() {
    let mut town = Town::new(1, 1);
    let mut driver = town.newcomer("*");
    let operator = town.world.operators()[0].office().clone();
    let home = town.world.providers()[0].office().clone();
    let purse = &mut driver.wallet.contracts.get_mut(&driver.contract).unwrap().purse;

    // An operator reserves, and its record never comes.
    let at = now();
    let reserved = purse.choose(at, 5 * EUR).unwrap().voucher.nullifier();
    let session = session_digest(operator.party(), &"lost".parse().unwrap());
    let quote = Digest::of(b"quote");
    let acceptance =
        VoucherAcceptance { session, operator: operator.party(), quote, limit: 5 * EUR, accepted_at: at };
    let spent = purse.spend(reserved, acceptance).unwrap();
    let unused = purse.choose(at, 5 * EUR).unwrap().voucher.nullifier();
    let agreement = query::agreement_in_force(operator.client(), home.party(), operator.party(), at);
    let (agreement, _) = agreement.unwrap().unwrap();
    // What is set aside under the agreement and has not expired.
    let credit = |town: &Town| -> i64 {
        let exposure = query::exposure(town.world.providers()[0].office().client(), agreement.id).unwrap();
        let today = now().utc_day();
        exposure.reserved.iter().filter(|(day, _)| *day >= today).map(|(_, amount)| amount).sum()
    };
    let before = credit(&town);
    let expires_at = at.checked_add(DurationMs::from_millis(3_600_000)).unwrap();
    let reserve = VoucherTx::Reserve(vec![VoucherReservation { agreement, spent, expires_at }]);
    operator.submit(LANE, Tx::Voucher(reserve)).unwrap();
    assert!(matches!(on_ledger(&town, reserved), Some(VoucherState::Reserved { .. })));
    assert_eq!(credit(&town), before + 5 * EUR);

    // As long as a station or a record may still come, it stays as it is.
    home.resume().unwrap();
    days_pass(2);
    home.resume().unwrap();
    assert_eq!(on_ledger(&town, unused), None);
    assert!(matches!(on_ledger(&town, reserved), Some(VoucherState::Reserved { .. })));
    assert_eq!(at_home(&town, unused), VoucherStatus::Issued);

    days_pass(140);
    home.resume().unwrap();
    for nullifier in [unused, reserved] {
        assert_eq!(on_ledger(&town, nullifier), Some(VoucherState::Refunded));
        assert_eq!(at_home(&town, nullifier), VoucherStatus::Refunded);
    }
    assert_eq!(credit(&town), 0, "what was set aside is free again");
    // Nobody is charged for either of them.
    assert_eq!(town.settled(), (0, 0));
}
