//! Signatures are checked once, and nothing executes without that.

use super::fixture::*;
use crate::execute::{Header, execute, execute_verified};
use crate::reject::RejectCode;
use crate::tx::{CheckedEnvelope, PublicKey, SignedEnvelope};
use std::sync::Arc;

fn signed(chain: &Chain) -> Arc<SignedEnvelope> {
    Arc::new(chain.sign(chain.envelope(tr1(), deposit(hom(), EUR, "in"))))
}

fn key(name: &str) -> PublicKey {
    PublicKey::of(&key_of(name))
}

#[test]
fn an_envelope_is_checked_only_with_the_key_that_signed_it() {
    let signed = signed(&Chain::new());
    let checked = Arc::clone(&signed).check(&key("PT-TR1")).unwrap();
    assert_eq!(checked.key(), key("PT-TR1"));
    assert!(Arc::ptr_eq(checked.signed(), &signed));
    assert!(Arc::clone(&signed).check(&key("PT-TR2")).is_none());
    let mut bytes = signed.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = Arc::new(SignedEnvelope::decode(bytes).unwrap());
    assert!(forged.check(&key("PT-TR1")).is_none());
}

#[test]
fn a_checked_envelope_executes_as_one_that_is_checked_then() {
    let chain = Chain::new();
    let header = Header { network: chain.network, height: 1, time: chain.now };
    let expected = execute(&chain.state, &signed(&chain), &header).unwrap();
    assert!(expected.is_admitted());
    let checked: CheckedEnvelope = signed(&chain).check(&key("PT-TR1")).unwrap();
    let outcome =
        execute_verified(&chain.state, checked.signed(), Some(&checked.as_verified()), &header).unwrap();
    assert_eq!(outcome, expected);
    // Also when the block has its own copy.
    let copy = SignedEnvelope::decode(checked.signed().bytes().to_vec()).unwrap();
    let outcome = execute_verified(&chain.state, &copy, Some(&checked.as_verified()), &header).unwrap();
    assert_eq!(outcome, expected);
}

#[test]
fn the_check_of_another_envelope_proves_nothing() {
    let mut chain = Chain::new();
    let checked = signed(&chain).check(&key("PT-TR1")).unwrap();
    let header = Header { network: chain.network, height: 1, time: chain.now };
    let other = chain.sign(chain.envelope(tr1(), deposit(hom(), 2 * EUR, "in")));
    let outcome = execute_verified(&chain.state, &other, Some(&checked.as_verified()), &header).unwrap();
    assert_eq!(outcome.items[0].outcome.rejection(), Some(RejectCode::BadSignature));
    assert!(!outcome.is_admitted() && outcome.writes.is_empty());
    // Nor does one with a key that the member has replaced since.
    chain.rotate(tr1(), "new key");
    let late = chain.envelope(tr1(), deposit(hom(), EUR, "in"));
    let late = Arc::new(late.sign(&key_of("PT-TR1"))).check(&key("PT-TR1")).unwrap();
    let outcome = execute_verified(&chain.state, late.signed(), Some(&late.as_verified()), &header).unwrap();
    assert_eq!(outcome.items[0].outcome.rejection(), Some(RejectCode::BadSignature));
}

#[test]
fn an_expired_envelope_is_admitted_and_refused() {
    let mut chain = Chain::new();
    let signed = signed(&chain);
    chain.now = later(chain.now, DAY);
    let outcome = chain.run(&signed);
    assert_eq!(outcome.items[0].outcome.rejection(), Some(RejectCode::Expired));
    assert!(outcome.is_admitted() && outcome.writes.len() == 1);
    assert!(!chain.run(&signed).is_admitted(), "its sequence is used");
}
