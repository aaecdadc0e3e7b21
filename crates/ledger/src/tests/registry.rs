//! DIDs, schemas, definitions, revocation lists and mandates. The refusals are in [`super::rejects`].

use super::fixture::*;
use crate::membership::{KeyRecord, Member, Roles};
use crate::query;
use crate::registry::*;
use crate::reject::RejectCode;
use crate::state::StateKey;
use crate::tx::{PublicKey, Tx};
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::{CredentialDefinitionId, EroamDid, IdHash, PartyId, RevocationRegistryId, SchemaId};
use eroam_domain::time::UnixMillis;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The network that the names below are of, whatever the chain's genesis.
pub(super) fn did_on(network: Digest, member: PartyId) -> EroamDid {
    EroamDid::derive(network, &PublicKey::of(&key_of(&format!("DID of {member}"))).0)
}

pub(super) fn document(member: PartyId) -> DidDocument {
    DidDocument {
        keys: vec![PublicKey::of(&key_of(&format!("DID of {member}")))],
        services: vec![DidService {
            id: text("didcomm-0"),
            kind: text("did-communication"),
            endpoint: text("https://agents.example/inbox"),
        }],
    }
}

pub(super) fn text<const N: usize>(text: &str) -> ShortText<N> {
    ShortText::new(text).unwrap()
}

pub(super) fn publish_did(network: Digest, member: PartyId) -> Tx {
    let did = did_on(network, member);
    let first = key_of(&format!("DID of {member}"));
    Tx::Registry(RegistryTx::publish_did(network, member, did, 1, document(member), &first))
}

pub(super) fn schema_id(did: EroamDid) -> SchemaId {
    SchemaId { did, name: text("charging contract"), version: text("1.0") }
}

pub(super) fn publish_schema(did: EroamDid) -> Tx {
    let attributes = ["zones", "tier", "expiry"].map(text).to_vec();
    Tx::Registry(RegistryTx::PublishSchema { id: schema_id(did), schema: SchemaRecord { attributes } })
}

pub(super) fn definition_id(did: EroamDid, schema: &SchemaId) -> CredentialDefinitionId {
    CredentialDefinitionId { did, schema: IdHash::of(schema), tag: text("2025") }
}

pub(super) fn publish_definition(did: EroamDid, schema: SchemaId, revocable: bool) -> Tx {
    let id = definition_id(did, &schema);
    let definition = DefinitionRecord { schema, revocable, value: text("{}") };
    Tx::Registry(RegistryTx::PublishCredentialDefinition { id, definition })
}

pub(super) fn registry_id(definition: &CredentialDefinitionId) -> RevocationRegistryId {
    let credential_definition = IdHash::of(definition);
    RevocationRegistryId { did: definition.did, credential_definition, tag: text("1") }
}

pub(super) fn publish_registry(definition: CredentialDefinitionId, size: u32) -> Tx {
    let id = registry_id(&definition);
    let registry = RegistryRecord {
        definition,
        size,
        tails_hash: text("hash"),
        tails_location: text("https://tails.example/hash"),
        public_keys: text("{}"),
    };
    Tx::Registry(RegistryTx::PublishRevocationRegistry { id, registry })
}

/// As [`publish_registry`], with a window.
pub(super) fn publish_dated_registry(
    definition: CredentialDefinitionId,
    size: u32,
    from: UnixMillis,
    until: UnixMillis,
) -> Tx {
    let Tx::Registry(RegistryTx::PublishRevocationRegistry { id, registry }) =
        publish_registry(definition, size)
    else {
        unreachable!("what it publishes is a registry")
    };
    Tx::Registry(RegistryTx::PublishDatedRegistry { id, registry, window: RegistryWindow { from, until } })
}

pub(super) fn update(
    id: &RevocationRegistryId,
    version: u32,
    time: UnixMillis,
    revoked: &[u32],
    reinstated: &[u32],
) -> Tx {
    let change = RevocationChange {
        time,
        accumulator: text(&format!("accumulator {version}")),
        revoked: revoked.to_vec(),
        reinstated: reinstated.to_vec(),
    };
    Tx::Registry(RegistryTx::UpdateRevocation { id: id.clone(), version, change })
}

pub(super) fn grant(agent: PartyId, schema: SchemaId, from: UnixMillis, until: UnixMillis) -> Tx {
    Tx::Registry(RegistryTx::GrantMandate { agent, schema, mandate: Mandate { from, until } })
}

/// Makes a member an issuer.
pub(super) fn make_issuer(chain: &mut Chain, party: PartyId) {
    let keys = vec![KeyRecord { public: PublicKey::of(&chain.key(party)), replaced: false }];
    chain.put(&StateKey::Member(party), &Member { name: text("issuer"), roles: Roles::ISSUER, keys });
}

/// HOM has a DID, a schema, a definition and a registry without a list.
pub(super) fn with_registry(chain: &mut Chain, size: u32) -> RevocationRegistryId {
    let did = did_on(chain.network, hom());
    chain.ok(hom(), publish_did(chain.network, hom()));
    chain.ok(hom(), publish_schema(did));
    let schema = schema_id(did);
    chain.ok(hom(), publish_definition(did, schema.clone(), true));
    let definition = definition_id(did, &schema);
    chain.ok(hom(), publish_registry(definition.clone(), size));
    registry_id(&definition)
}

fn revoked_of(list: &RevocationList, size: u32) -> Vec<u32> {
    (0..size).filter(|index| list.is_revoked(*index) == Some(true)).collect()
}

#[test]
fn everything_a_verifier_needs_is_published_step_by_step() {
    let mut chain = Chain::new();
    let id = with_registry(&mut chain, 20);
    let did = did_on(chain.network, hom());
    assert_eq!(query::did(&chain.state, did).unwrap().unwrap().document, document(hom()));
    assert_eq!(query::schema(&chain.state, &schema_id(did)).unwrap().unwrap().attributes.len(), 3);
    let definition = definition_id(did, &schema_id(did));
    assert!(query::credential_definition(&chain.state, &definition).unwrap().unwrap().revocable);
    assert_eq!(query::revocation_registry(&chain.state, &id).unwrap().unwrap().size, 20);
    assert_eq!(query::revocation_list(&chain.state, &id).unwrap(), None);
    assert_eq!(query::revocation_list_at(&chain.state, &id, chain.now).unwrap(), None);
}

#[test]
fn a_did_changes_its_keys_and_keeps_its_name_and_its_owner() {
    let mut chain = Chain::new();
    let (network, did) = (chain.network, did_on(chain.network, hom()));
    chain.ok(hom(), publish_did(network, hom()));
    let next = DidDocument { keys: vec![PublicKey::of(&key_of("next"))], services: Vec::new() };
    let publish = |member, version, document: &DidDocument, key| {
        let document = document.clone();
        Tx::Registry(RegistryTx::publish_did(network, member, did, version, document, &key_of(key)))
    };
    assert_eq!(chain.refused(hom(), publish(hom(), 2, &next, "thief")), RejectCode::BadDidProof);
    assert_eq!(chain.refused(vis(), publish(vis(), 2, &next, "next")), RejectCode::NotDidOwner);
    chain.ok(hom(), publish(hom(), 2, &next, "next"));
    let record = query::did(&chain.state, did).unwrap().unwrap();
    assert_eq!((record.member, record.version, record.document), (hom(), 2, next));
    // A proof for one member is none for another, nor for another version.
    let first = document(hom());
    let key = format!("DID of {}", hom());
    let Tx::Registry(RegistryTx::PublishDid { proof, .. }) = publish(hom(), 2, &first, &key) else {
        panic!()
    };
    let replayed = RegistryTx::PublishDid { did, version: 3, document: first, proof };
    assert_eq!(chain.refused(hom(), Tx::Registry(replayed)), RejectCode::BadDidProof);
}

#[test]
fn a_list_can_be_had_as_it_was_at_any_time() {
    let mut chain = Chain::new();
    let id = with_registry(&mut chain, 20);
    let at = |seconds: u64| later(on(1, 20, 12), seconds * 1000);
    chain.now = at(0);
    chain.ok(hom(), update(&id, 1, at(0), &[], &[]));
    chain.ok(hom(), update(&id, 2, at(10), &[3, 8, 19], &[]));
    chain.ok(hom(), update(&id, 3, at(20), &[1], &[8]));
    let list = |seconds| query::revocation_list_at(&chain.state, &id, at(seconds)).unwrap();
    let before = UnixMillis::new(at(0).get() - 1).unwrap();
    assert_eq!(query::revocation_list_at(&chain.state, &id, before).unwrap(), None);
    for (seconds, version, revoked) in [
        (0, 1, &[] as &[u32]),
        (9, 1, &[]),
        (10, 2, &[3, 8, 19]),
        (19, 2, &[3, 8, 19]),
        (20, 3, &[1, 3, 19]),
        (900, 3, &[1, 3, 19]),
    ] {
        let list = list(seconds).unwrap();
        assert_eq!((list.version, revoked_of(&list, 20)), (version, revoked.to_vec()), "second {seconds}");
        assert_eq!(list.accumulator.as_str(), format!("accumulator {version}"));
        assert_eq!(list.time, at(u64::from(version - 1) * 10));
    }
    let list = query::revocation_list(&chain.state, &id).unwrap().unwrap();
    assert_eq!(list.is_revoked(24), None, "beyond the last byte");
}

#[test]
fn a_registry_with_a_window_is_one_like_any_other_and_its_window_ends_before_its_last_instant() {
    let mut chain = Chain::new();
    let did = did_on(chain.network, hom());
    chain.ok(hom(), publish_did(chain.network, hom()));
    chain.ok(hom(), publish_schema(did));
    chain.ok(hom(), publish_definition(did, schema_id(did), true));
    let definition = definition_id(did, &schema_id(did));
    let (id, from, until) = (registry_id(&definition), on(2, 1, 0), on(3, 1, 0));
    chain.ok(hom(), publish_dated_registry(definition.clone(), 20, from, until));
    assert_eq!(query::revocation_registry(&chain.state, &id).unwrap().unwrap().size, 20);
    let window = query::registry_window(&chain.state, &id).unwrap().unwrap();
    assert_eq!(window, RegistryWindow { from, until });
    let before = |instant: UnixMillis| UnixMillis::new(instant.get() - 1).unwrap();
    for (instant, counts) in [(before(from), false), (from, true), (before(until), true), (until, false)] {
        assert_eq!(window.contains(instant), counts, "{instant}");
    }
    chain.ok(hom(), update(&id, 1, chain.now, &[], &[]));
    // It keeps its window: neither another nor none takes its place.
    let again =
        [publish_dated_registry(definition.clone(), 20, from, on(4, 1, 0)), publish_registry(definition, 20)];
    for again in again {
        assert_eq!(chain.refused(hom(), again), RejectCode::ObjectExists);
    }
    assert_eq!(query::registry_window(&chain.state, &id).unwrap(), Some(window));
}

#[test]
fn a_registry_without_a_window_has_none() {
    let mut chain = Chain::new();
    let id = with_registry(&mut chain, 20);
    assert_eq!(query::registry_window(&chain.state, &id).unwrap(), None);
}

#[test]
fn a_mandate_holds_for_its_schema_and_its_time() {
    let mut chain = Chain::new();
    make_issuer(&mut chain, arb());
    let did = did_on(chain.network, hom());
    chain.ok(hom(), publish_did(chain.network, hom()));
    chain.ok(hom(), publish_schema(did));
    let (schema, from, until) = (schema_id(did), on(2, 1, 0), on(3, 1, 0));
    chain.ok(hom(), grant(arb(), schema.clone(), from, until));
    let other = SchemaId { version: text("2.0"), ..schema.clone() };
    let may = |chain: &Chain, party, agent, schema: &SchemaId, at| {
        query::may_issue(&chain.state, party, agent, schema, at).unwrap()
    };
    let before = UnixMillis::new(until.get() - 1).unwrap();
    assert!(may(&chain, hom(), arb(), &schema, from) && may(&chain, hom(), arb(), &schema, before));
    assert!(!may(&chain, hom(), arb(), &schema, on(1, 31, 23)) && !may(&chain, hom(), arb(), &schema, until));
    assert!(!may(&chain, hom(), arb(), &other, from) && !may(&chain, vis(), arb(), &schema, from));
    assert!(may(&chain, hom(), hom(), &other, from), "everyone acts for himself");
    chain.ok(hom(), Tx::Registry(RegistryTx::RevokeMandate { agent: arb(), schema: schema.clone() }));
    assert!(!may(&chain, hom(), arb(), &schema, from));
}

#[test]
fn the_largest_registry_takes_its_largest_update() {
    let mut chain = Chain::new();
    let id = with_registry(&mut chain, REGISTRY_SIZE_MAX);
    let (now, all) = (chain.now, (1..=u32::try_from(REVOCATION_CHANGES_MAX).unwrap()).collect::<Vec<_>>());
    chain.ok(hom(), update(&id, 1, now, &[], &[]));
    let more: Vec<u32> = all.iter().copied().chain([5_000]).collect();
    assert_eq!(
        chain.refused(hom(), update(&id, 2, later(now, 1000), &more, &[])),
        RejectCode::BadRevocationIndexes
    );
    chain.ok(hom(), update(&id, 2, later(now, 1000), &all, &[]));
    let list = query::revocation_list(&chain.state, &id).unwrap().unwrap();
    assert_eq!(revoked_of(&list, REGISTRY_SIZE_MAX), all);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    /// Whatever is revoked and reinstated, each version's list is that of a plain set.
    #[test]
    fn every_version_is_what_was_published(changes in proptest::collection::vec(proptest::collection::btree_set(1u32..40, 0..10), 1..8)) {
        let mut chain = Chain::new();
        let id = with_registry(&mut chain, 40);
        let time = |version: usize| later(on(1, 20, 12), version as u64 * 1000);
        chain.now = time(0);
        chain.ok(hom(), update(&id, 1, time(0), &[], &[]));
        let mut sets = vec![BTreeSet::new()];
        for (index, toggled) in changes.iter().enumerate() {
            let mut set: BTreeSet<u32> = sets[index].clone();
            let (revoked, reinstated): (Vec<u32>, Vec<u32>) = toggled.iter().partition(|i| !set.contains(i));
            set.extend(&revoked);
            set.retain(|i| !reinstated.contains(i));
            let version = u32::try_from(index).unwrap() + 2;
            chain.ok(hom(), update(&id, version, time(index + 1), &revoked, &reinstated));
            sets.push(set);
        }
        for (index, set) in sets.iter().enumerate() {
            let list = query::revocation_list_at(&chain.state, &id, time(index)).unwrap().unwrap();
            prop_assert_eq!(revoked_of(&list, 40), set.iter().copied().collect::<Vec<_>>());
        }
    }
}
