//! The first five characters of a contract number name the home utility.

use super::world::*;
use crate::route::{Route, read_contract, route};
use eroam_domain::charge::Denial;
use eroam_domain::ids::ContractId;
use eroam_domain::quantity::DurationMs;
use eroam_ledger::agreement::{AgreementTx, agreement_id};
use eroam_ledger::tx::Tx;

#[test]
fn each_way_of_leading_nowhere_has_a_denial_of_its_own() {
    let mut world = World::new();
    for (number, text, want, letters) in [
        (1, "PT-EDP", Denial::Malformed, 0),
        (2, "no contract at all", Denial::Malformed, 0),
        (3, "FR-XXX-C00000001", Denial::ProviderNotMember, 0),
        (4, "PT-NOA-C00000001", Denial::NoAgreement, 0),
        (5, "PT-EDP-C99999999", Denial::UnknownContract, 1),
        (6, "PT-GLP-C00000001", Denial::UnknownContract, 1),
    ] {
        let session = format!("s{number}");
        assert_eq!(denied(&world.swipe(&session, AT_GLP, text)), want, "{text}");
        assert_eq!(world.posted("authorize"), letters, "{text}");
    }
    assert_eq!(world.ledger.blocks.len(), 0, "nothing is reserved for anybody");
}

#[test]
fn an_agreement_leads_one_way_and_only_while_it_is_in_force() {
    let mut world = World::new();
    let refused = Route::Refused(Denial::NoAgreement);
    assert_eq!(
        route(&world.ledger, ibe(), "PT-GLP-C00000001", start()).unwrap(),
        refused,
        "IBE's drivers go to GLP, GLP's do not go to IBE"
    );
    let before = on(1, 1, 0, 0).checked_sub(DurationMs::from_millis(1)).unwrap();
    assert_eq!(route(&world.ledger, glp(), ANA, before).unwrap(), refused);

    let terms = terms(edp(), glp());
    let ends = later(start(), DAY);
    let id = agreement_id(&terms, on(1, 1, 0, 0));
    world.ledger.office(edp(), Tx::Agreement(AgreementTx::Terminate { id, at: ends }));
    let last = ends.checked_sub(DurationMs::from_millis(1)).unwrap();
    assert!(matches!(route(&world.ledger, glp(), ANA, last).unwrap(), Route::Partner { .. }));
    assert_eq!(route(&world.ledger, glp(), ANA, ends).unwrap(), refused);
}

#[test]
fn a_wrong_check_digit_is_flagged_and_routed() {
    let mut world = World::new();
    let right = contract(ANA).check_digit();
    let wrong = if right == 'X' { 'Y' } else { 'X' };
    for (digit, flagged) in [(right, false), (wrong, true)] {
        let text = format!("{ANA}-{digit}");
        assert_eq!(read_contract(&text), Some((contract(ANA), flagged)));
        let Route::Partner { contract: found, home, terms: found_terms, .. } =
            route(&world.ledger, glp(), &text, start()).unwrap()
        else {
            panic!("{text} is not routed");
        };
        assert_eq!((found, home, *found_terms), (contract(ANA), edp(), terms(edp(), glp())));
    }
    let request = world.ask("s1", AT_GLP, &format!("{ANA}-{wrong}"), card(ANA));
    quoted(&world.request(&request));
}

#[test]
fn every_spelling_leads_to_the_same_home() {
    let world = World::new();
    let din = ContractId::from_parts(edp(), "123456").unwrap();
    let digit = din.check_digit();
    let spellings = [
        (contract(ANA), "PT-EDP-C00000001".to_owned()),
        (contract(ANA), "PTEDPC00000001".to_owned()),
        (contract(ANA), " ptedpc00000001\n".to_owned()),
        (contract(ANA), contract(ANA).with_check_digit()),
        (contract(ANA), format!("{ANA}-{}", contract(ANA).check_digit())),
        (din, "PT-EDP-123456".to_owned()),
        (din, "PT*EDP*123456".to_owned()),
        (din, format!("PT*EDP*123456*{digit}")),
        (din, format!("PTEDP123456{digit}")),
    ];
    for (want, text) in spellings {
        match route(&world.ledger, glp(), &text, start()).unwrap() {
            Route::Partner { contract, home, .. } => assert_eq!((contract, home), (want, edp()), "{text}"),
            other => panic!("{text}: {other:?}"),
        }
        assert_eq!(route(&world.ledger, edp(), &text, start()).unwrap(), Route::Home(want), "{text}");
    }
}
