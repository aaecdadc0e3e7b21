//! Envelopes, keys and agreements over time.

use super::fixture::*;
use crate::agreement::{AgreementTx, agreement_id, terms_digest};
use crate::query;
use crate::reject::{ItemOutcome, RejectCode};
use crate::tx::{Envelope, SignedEnvelope, Tx};
use eroam_domain::agreement::{PriceRule, RoamingAgreement};
use eroam_domain::cdr::Cdr;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::BasisPoints;
use eroam_domain::time::UnixMillis;

fn roaming() -> (Chain, Roaming) {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms(hom(), vis()));
    (chain, roaming)
}

#[track_caller]
fn refuse(chain: &mut Chain, signed: &SignedEnvelope, code: RejectCode) {
    let before = chain.digest();
    let items = chain.run(signed).items;
    assert_eq!(items[0].outcome, ItemOutcome::Rejected(code));
    assert_eq!(items[0].hash, signed.digest());
    assert_eq!(chain.digest(), before);
}

fn terminate(roaming: &Roaming, at: UnixMillis) -> Tx {
    Tx::Agreement(AgreementTx::Terminate { id: roaming.at.id, at })
}

fn outcome(chain: &mut Chain, cdr: &Cdr) -> Option<RejectCode> {
    chain.submit(vis(), records([cdr.clone()]))[0].outcome.rejection()
}

#[test]
fn after_a_rotation_the_old_key_signs_nothing_and_the_new_one_everything() {
    let (mut chain, roaming) = roaming();
    let tx = records([roaming.cdr(1, on(1, 10, 8), 10_000)]);
    let with_old = chain.sign(chain.envelope(vis(), tx.clone()));
    chain.rotate(vis(), "new");
    // The sequence moved with the rotation; the old key fails before it is looked at.
    refuse(&mut chain, &with_old, RejectCode::RotatedKey);
    let current = chain.envelope(vis(), tx.clone());
    refuse(&mut chain, &current.clone().sign(&key_of("PT-VIS")), RejectCode::BadSignature);
    refuse(&mut chain, &Envelope { key: 0, ..current }.sign(&key_of("new")), RejectCode::RotatedKey);
    chain.ok(vis(), tx);
}

#[test]
fn a_member_rotates_only_its_own_key() {
    let (mut chain, _) = roaming();
    chain.rotate(vis(), "new");
    // Other members' envelopes are as good as before.
    chain.deposit(hom(), EUR, "ref");
    // The proof is bound to the member and the network.
    for (member, network) in [(hom(), Digest::ZERO), (vis(), chain.network)] {
        let tx = Tx::Membership(crate::membership::MembershipTx::rotate(network, member, &key_of("other")));
        assert_eq!(chain.refused(hom(), tx), RejectCode::BadKeyProof);
    }
}

#[test]
fn an_envelope_is_included_once() {
    let (mut chain, _) = roaming();
    let signed = chain.sign(chain.envelope(tr1(), deposit(hom(), EUR, "ref")));
    assert!(chain.run(&signed).items[0].outcome.is_accepted());
    refuse(&mut chain, &signed, RejectCode::SequenceUsed);
}

#[test]
fn an_envelope_that_comes_too_early_may_come_again() {
    let (mut chain, _) = roaming();
    let first = chain.envelope(tr1(), deposit(hom(), EUR, "first"));
    let second = Envelope { sequence: 1, tx: deposit(hom(), EUR, "second"), ..first.clone() };
    let (first, second) = (chain.sign(first), chain.sign(second));
    refuse(&mut chain, &second, RejectCode::SequenceGap);
    for signed in [first, second] {
        assert!(chain.run(&signed).items[0].outcome.is_accepted());
    }
}

#[test]
fn lanes_do_not_wait_for_each_other() {
    let (mut chain, _) = roaming();
    for lane in [15, 3, 0] {
        let tx = deposit(hom(), EUR, &format!("lane {lane}"));
        let envelope = Envelope { lane, sequence: 0, ..chain.envelope(tr1(), tx) };
        assert!(chain.run(&chain.clone().sign(envelope)).items[0].outcome.is_accepted());
    }
}

#[test]
fn an_envelope_is_worthless_from_its_expiry_on_and_its_sequence_is_used() {
    let (mut chain, _) = roaming();
    let envelope = chain.envelope(tr1(), deposit(hom(), EUR, "ref"));
    let signed = chain.sign(envelope.clone());
    chain.now = envelope.expires_at;
    refuse(&mut chain, &signed, RejectCode::Expired);
    refuse(&mut chain, &signed, RejectCode::SequenceUsed);
    assert_eq!(chain.envelope(tr1(), deposit(hom(), EUR, "ref")).sequence, envelope.sequence + 1);

    // A millisecond before, and with an expiry as far ahead as there are dates, it counts.
    let last = UnixMillis::new(253_402_300_799_999).unwrap();
    for expires_at in [later(chain.now, 1), last] {
        let tx = deposit(hom(), EUR, &expires_at.to_string());
        let envelope = Envelope { expires_at, ..chain.envelope(tr1(), tx) };
        assert!(chain.run(&chain.clone().sign(envelope)).items[0].outcome.is_accepted());
    }
}

#[test]
fn an_envelope_for_another_network_is_nobodys() {
    let (mut chain, _) = roaming();
    let envelope = chain.envelope(tr1(), deposit(hom(), EUR, "ref"));
    let mut other = genesis();
    other.parameters.treasurers_required = 1;
    let signed = chain.sign(Envelope { network: other.network(), ..envelope });
    refuse(&mut chain, &signed, RejectCode::WrongNetwork);
}

#[test]
fn one_changed_bit_of_an_envelope_is_refused() {
    let (mut chain, _) = roaming();
    let signed = chain.sign(chain.envelope(tr1(), deposit(hom(), EUR, "ref")));
    let before = chain.digest();
    for place in 0..signed.bytes().len() {
        let mut bytes = signed.bytes().to_vec();
        bytes[place] ^= 1;
        if let Ok(changed) = SignedEnvelope::decode(bytes) {
            assert!(
                chain.run(&changed).items[0].outcome.rejection().is_some_and(RejectCode::leaves_sequence)
            );
        }
    }
    assert_eq!(chain.digest(), before);
    assert!(chain.run(&signed).items[0].outcome.is_accepted());
}

fn cheaper() -> RoamingAgreement {
    RoamingAgreement {
        price_rule: PriceRule::Static { factor: BasisPoints::new(9_000) },
        ..terms(hom(), vis())
    }
}

#[test]
fn an_amendment_prices_what_is_accepted_from_its_time_on() {
    let (mut chain, first) = roaming();
    let second = chain.amend(&first, cheaper(), on(1, 15, 0));
    let before = UnixMillis::new(on(1, 15, 0).get() - 1).unwrap();
    assert_eq!(outcome(&mut chain, &second.cdr(1, before, 10_000)), Some(RejectCode::WrongAgreementVersion));
    assert_eq!(
        outcome(&mut chain, &first.cdr(2, on(1, 15, 0), 10_000)),
        Some(RejectCode::WrongAgreementVersion)
    );
    let (old, new) = (first.cdr(3, before, 10_000), second.cdr(4, on(1, 15, 1), 10_000));
    assert_eq!([outcome(&mut chain, &old), outcome(&mut chain, &new)], [None, None]);
    assert_eq!([chain.cdr(&old).amount, chain.cdr(&new).amount], [10 * EUR, 9 * EUR]);
    // A session accepted under the old terms keeps them, also when it starts later; but not for ever.
    let mut patient = first.cdr(5, on(1, 15, 23), 10_000);
    patient.accepted_at = before;
    assert_eq!(outcome(&mut chain, &patient), None);
    let mut stale = first.cdr(6, on(1, 16, 12), 10_000);
    stale.accepted_at = before;
    assert_eq!(outcome(&mut chain, &stale), Some(RejectCode::StaleAcceptance));
}

#[test]
fn an_amendment_counts_only_once_the_other_side_accepted_it() {
    let (mut chain, roaming) = roaming();
    let (id, effective_from) = (roaming.at.id, on(1, 15, 0));
    chain.ok(hom(), Tx::Agreement(AgreementTx::Amend { id, terms: cheaper(), effective_from }));
    assert_eq!(outcome(&mut chain, &roaming.cdr(1, on(1, 16, 0), 10_000)), None);
}

#[test]
fn neither_terms_nor_time_can_be_exchanged_under_an_acceptance() {
    let (mut chain, roaming) = roaming();
    let id = roaming.at.id;
    let amend = |terms, effective_from| Tx::Agreement(AgreementTx::Amend { id, terms, effective_from });
    let accepted = terms_digest(&cheaper(), on(3, 1, 0));
    let accept = Tx::Agreement(AgreementTx::Accept { id, version: 2, terms: accepted });
    chain.ok(hom(), amend(cheaper(), on(3, 1, 0)));
    chain.ok(hom(), amend(terms(hom(), vis()), on(3, 1, 0)));
    assert_eq!(chain.refused(vis(), accept.clone()), RejectCode::TermsDiffer);
    chain.ok(hom(), amend(cheaper(), on(1, 2, 0)));
    assert_eq!(chain.refused(vis(), accept.clone()), RejectCode::TermsDiffer);
    chain.ok(hom(), amend(cheaper(), on(3, 1, 0)));
    chain.ok(vis(), accept);
}

fn in_force(chain: &Chain, at: UnixMillis) -> Option<(Digest, u32)> {
    let found = query::agreement_in_force(&chain.state, hom(), vis(), at).unwrap();
    found.map(|(at, _)| (at.id, at.version))
}

#[test]
fn what_was_accepted_before_the_termination_is_still_booked() {
    let (mut chain, roaming) = roaming();
    let end = on(1, 25, 0);
    chain.ok(vis(), terminate(&roaming, end));
    chain.now = on(1, 30, 0);
    let before = UnixMillis::new(end.get() - 1).unwrap();
    assert_eq!(outcome(&mut chain, &roaming.cdr(1, before, 10_000)), None);
    let after = roaming.cdr(2, end, 10_000);
    assert_eq!(outcome(&mut chain, &after), Some(RejectCode::WrongAgreementVersion));
    let reservation = chain.submit(vis(), reserve([roaming.reservation(3, end, EUR)]));
    assert_eq!(reservation[0].outcome.rejection(), Some(RejectCode::WrongAgreementVersion));
    // And so is what follows from it.
    let cdr = roaming.cdr(1, before, 10_000);
    chain.ok(hom(), contest(&cdr));
    chain.ok(arb(), resolve(&cdr, EUR));
    chain.ok(vis(), credit(&cdr, EUR));
}

#[test]
fn a_terminated_agreement_is_in_force_until_its_notice_ends() {
    let (mut chain, roaming) = roaming();
    chain.ok(hom(), terminate(&roaming, on(3, 1, 0)));
    let last = UnixMillis::new(on(3, 1, 0).get() - 1).unwrap();
    assert_eq!(in_force(&chain, last), Some((roaming.at.id, 1)));
    assert_eq!(in_force(&chain, on(3, 1, 0)), None);
}

fn propose(effective_from: UnixMillis) -> (Digest, Tx) {
    let id = agreement_id(&cheaper(), effective_from);
    (id, Tx::Agreement(AgreementTx::Propose { terms: cheaper(), effective_from }))
}

#[test]
fn a_new_agreement_follows_a_terminated_one_without_overlap() {
    let (mut chain, roaming) = roaming();
    chain.ok(hom(), terminate(&roaming, on(3, 1, 0)));
    let (_, overlapping) = propose(UnixMillis::new(on(3, 1, 0).get() - 1).unwrap());
    assert_eq!(chain.refused(hom(), overlapping), RejectCode::AgreementExists);
    let (id, tx) = propose(on(3, 1, 0));
    chain.ok(hom(), tx);
    let terms = terms_digest(&cheaper(), on(3, 1, 0));
    chain.ok(vis(), Tx::Agreement(AgreementTx::Accept { id, version: 1, terms }));
    assert_eq!(in_force(&chain, on(2, 1, 0)), Some((roaming.at.id, 1)));
    assert_eq!(in_force(&chain, on(3, 1, 0)), Some((id, 1)));
    assert_eq!(chain.refused(hom(), propose(on(5, 1, 0)).1), RejectCode::AgreementExists);
}

#[test]
fn a_withdrawn_proposal_stands_in_nobodys_way() {
    let mut chain = Chain::new();
    let withdraw = |by: PartyId, chain: &mut Chain, id| {
        chain.ok(by, Tx::Agreement(AgreementTx::Terminate { id, at: on(12, 1, 0) }));
    };
    for (by, from) in [(hom(), on(2, 1, 0)), (vis(), on(2, 2, 0))] {
        let (id, tx) = propose(from);
        chain.ok(hom(), tx.clone());
        withdraw(by, &mut chain, id);
        // The very same proposal is not repeated: its id names what was withdrawn.
        assert_eq!(chain.refused(hom(), tx), RejectCode::AgreementExists);
        let cdr = Roaming {
            at: eroam_domain::cdr::AgreementRef { id, version: 1 },
            terms: cheaper(),
            tariff: chain.publish(tariff(vis())),
        }
        .cdr(1, on(1, 10, 8), 10_000);
        assert_eq!(outcome(&mut chain, &cdr), Some(RejectCode::WrongAgreementVersion));
    }
    let (_, tx) = propose(on(2, 3, 0));
    chain.ok(hom(), tx);
}

#[test]
fn either_direction_has_an_agreement_of_its_own() {
    let both = |party| crate::genesis::GenesisMember {
        party,
        name: eroam_domain::codec::ShortText::new("both").unwrap(),
        roles: crate::membership::Roles::EMSP.with(crate::membership::Roles::CPO),
        key: crate::tx::PublicKey::of(&key_of(&party.to_string())),
    };
    let mut chain = Chain::new();
    for party in [hom(), uti()] {
        let member = crate::membership::Member {
            name: both(party).name,
            roles: both(party).roles,
            keys: vec![crate::membership::KeyRecord { public: both(party).key, replaced: false }],
        };
        chain.put(&crate::state::StateKey::Member(party), &member);
    }
    let there = chain.agree(terms(hom(), uti()));
    let back = chain.agree(terms(uti(), hom()));
    assert_ne!(there.at.id, back.at.id);
    chain.record(&there.cdr(1, on(1, 10, 8), 10_000), uti());
    chain.record(&back.cdr(1, on(1, 10, 8), 4_000), hom());
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    assert_eq!(chain.open(month(1), hom()), -6 * EUR);
    assert_eq!(chain.open(month(1), uti()), 6 * EUR);
}
