//! A state survives its snapshot, and nothing else is taken for one.

use super::fixture::*;
use super::world::{World, step};
use crate::genesis::{Consensus, Genesis, GenesisError, Parameters};
use crate::membership::Member;
use crate::snapshot::{
    Contents, Decoder, Encoder, Entry, HEADER_BYTES, Part, SnapshotError, SnapshotHeader, Tally, VERSION,
    encode, entries_digest,
};
use crate::state::{KEY_BYTES_MAX, MemoryState, StateKey, VALUE_BYTES_MAX, ledger_balance, state_digest};
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use proptest::prelude::*;

/// The header of a snapshot of these entries, which need not be sound.
fn header(entries: &[Entry]) -> SnapshotHeader {
    let pairs = || entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let count = u64::try_from(entries.len()).unwrap();
    SnapshotHeader {
        version: VERSION,
        network: genesis().network(),
        height: 7,
        time: on(1, 20, 12),
        block: Digest::of(b"block"),
        contents: Contents { state: state_digest(pairs()), count, entries: entries_digest(pairs()) },
    }
}

fn entries(state: &MemoryState) -> Vec<Entry> {
    state.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn pairs(entries: &[Entry]) -> impl Iterator<Item = (&[u8], &[u8])> {
    entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
}

/// A snapshot as a careless program would write it.
fn written(header: &SnapshotHeader, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = codec::to_bytes(header);
    entries.iter().for_each(|entry| bytes.extend(codec::to_bytes(entry)));
    bytes.extend(header.digest().0);
    bytes
}

/// The snapshot of a network that has just begun, of which a golden hash is kept.
pub(super) fn of_genesis() -> Vec<u8> {
    let entries = entries(&Chain::new().state);
    written(&SnapshotHeader { network: Digest::ZERO, ..header(&entries) }, &entries)
}

/// All of it in pieces of one size.
fn read(bytes: &[u8], piece: usize) -> Result<(SnapshotHeader, MemoryState), SnapshotError> {
    let (mut decoder, mut state, mut first) = (Decoder::new(), MemoryState::default(), None);
    for piece in bytes.chunks(piece) {
        for part in decoder.push(piece)? {
            match part {
                Part::Header(header) => assert_eq!(first.replace(header), None),
                Part::Entry((key, value)) => state.apply([(key, Some(value))].into()),
            }
        }
    }
    let header = decoder.finish()?;
    assert_eq!(first, Some(header));
    Ok((header, state))
}

/// A business with an agreement, a tariff and a record.
fn business() -> Chain {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms(hom(), vis()));
    chain.record(&roaming.cdr(1, on(1, 10, 8), 10_000), vis());
    chain.deposit(hom(), 100 * EUR, "in");
    chain
}

/// As small as a state can be.
fn small() -> Vec<Entry> {
    let mut entries = entries(&Chain::new().state);
    entries.truncate(3);
    entries
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_state_survives_its_snapshot(
        steps in proptest::collection::vec(step(), 0..40), piece in 1usize..4_000,
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        let state = &world.chain.state;
        let header = header(&entries(state));
        let frames: Result<Vec<Vec<u8>>, SnapshotError> = encode(header, state.iter()).collect();
        let (found, again) = read(&frames.unwrap().concat(), piece).unwrap();
        prop_assert_eq!(found, header);
        prop_assert!(again.iter().eq(state.iter()));
        prop_assert_eq!(state_digest(again.iter()), state_digest(state.iter()));
        prop_assert_eq!(ledger_balance(again.iter()).unwrap(), ledger_balance(state.iter()).unwrap());
        prop_assert_eq!(entries_digest(again.iter()), header.contents.entries);
    }

    #[test]
    fn arbitrary_bytes_are_no_snapshot_and_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400), genuine in any::<bool>(),
    ) {
        if genuine && !bytes.is_empty() {
            bytes[0] = VERSION;
        }
        prop_assert!(read(&bytes, 64).is_err());
    }
}

#[test]
fn the_frames_are_header_entries_and_trailer() {
    let entries = small();
    let header = header(&entries);
    let frames: Vec<Vec<u8>> = encode(header, pairs(&entries)).map(Result::unwrap).collect();
    assert_eq!(frames.len(), entries.len() + 2);
    assert_eq!(frames[0].len(), HEADER_BYTES);
    assert_eq!(frames.last().unwrap(), &header.digest().0);
    assert_eq!(frames.concat(), written(&header, &entries));
}

#[test]
fn a_tally_finds_what_the_digests_over_all_entries_find() {
    let entries = entries(&business().state);
    let mut tally = Tally::default();
    for (key, value) in pairs(&entries) {
        assert_eq!(tally.add(key, value), codec::from_bytes(key).map_err(|_| unreachable!()));
    }
    assert_eq!(tally.finish(), header(&entries).contents);
}

#[test]
fn the_digest_of_the_entries_is_of_everything_and_of_their_number() {
    let chain = business();
    let all = entries(&chain.state);
    let digest = entries_digest(pairs(&all));
    for place in 0..all.len() {
        let mut fewer = all.clone();
        fewer.remove(place);
        assert_ne!(entries_digest(pairs(&fewer)), digest, "without entry {place}");
        let mut other = all.clone();
        other[place].1.push(0);
        assert_ne!(entries_digest(pairs(&other)), digest, "with another entry {place}");
    }
    // Also of the lanes, of which the digest of the state says nothing.
    let mut further = chain.fork();
    further.put(&StateKey::Lane(hom(), 3), &1u64);
    assert_eq!(further.digest(), chain.digest());
    assert_ne!(entries_digest(further.state.iter()), digest);
}

#[test]
fn an_empty_state_has_a_snapshot() {
    let header = header(&[]);
    assert_eq!(read(&written(&header, &[]), 1).unwrap().0, header);
}

#[test]
fn every_truncated_snapshot_is_refused() {
    let entries = small();
    let whole = written(&header(&entries), &entries);
    for end in 0..whole.len() {
        let error = read(&whole[..end], 50).unwrap_err();
        if end < HEADER_BYTES {
            assert!(matches!(error, SnapshotError::Header(_)), "{end} bytes: {error}");
        } else {
            assert!(matches!(error, SnapshotError::Truncated { expected: 3, .. }), "{end} bytes: {error}");
        }
    }
    assert!(read(&whole, 50).is_ok());
}

#[test]
fn every_flipped_bit_is_found() {
    let entries = small();
    let whole = written(&header(&entries), &entries);
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << bit;
            assert!(read(&flipped, 4_096).is_err(), "bit {bit} of byte {place}");
        }
    }
}

/// How entries or the header are spoilt, and what is said about it.
type Case = (&'static str, fn(&mut SnapshotHeader, &mut Vec<Entry>), fn(&SnapshotError) -> bool);

#[test]
fn a_snapshot_that_was_never_one_is_refused_with_its_entry() {
    let cases: [Case; 13] = [
        ("another version", |header, _| header.version = 2, |error| *error == SnapshotError::Version(2)),
        (
            "unsorted",
            |_, entries| entries.swap(1, 2),
            |error| matches!(error, SnapshotError::Order { entry: 2, .. }),
        ),
        (
            "twice",
            |_, entries| entries[2] = entries[1].clone(),
            |error| matches!(error, SnapshotError::Order { entry: 2, .. }),
        ),
        (
            "no key",
            |_, entries| entries[1].0 = vec![2, 0],
            |error| matches!(error, SnapshotError::Key { entry: 1, key, .. } if *key == [2, 0]),
        ),
        (
            "an empty key",
            |_, entries| entries[0].0.clear(),
            |error| matches!(error, SnapshotError::Key { entry: 0, .. }),
        ),
        (
            "a key with something after it",
            |_, entries| entries[0].0.push(0),
            |error| matches!(error, SnapshotError::Key { entry: 0, .. }),
        ),
        (
            "a long key",
            |_, entries| entries[1].0 = vec![0; KEY_BYTES_MAX + 1],
            |error| *error == SnapshotError::KeySize { entry: 1, size: KEY_BYTES_MAX + 1 },
        ),
        (
            "a large value",
            |_, entries| entries[2].1 = vec![0; VALUE_BYTES_MAX + 1],
            |error| matches!(error, SnapshotError::ValueSize { entry: 2, size: 262_145, .. }),
        ),
        (
            "one entry more than announced",
            |header, _| header.contents.count = 2,
            |error| matches!(error, SnapshotError::Contents { .. }),
        ),
        (
            "one entry less than announced",
            |header, _| header.contents.count = 4,
            // The trailer is read as an entry.
            |error| matches!(error, SnapshotError::KeySize { entry: 3, .. }),
        ),
        (
            "another digest of the entries",
            |header, _| header.contents.entries = Digest::ZERO,
            |error| matches!(error, SnapshotError::Contents { .. }),
        ),
        (
            "another digest of the state",
            |header, _| header.contents.state = Digest::ZERO,
            |error| matches!(error, SnapshotError::Contents { .. }),
        ),
        (
            "another value",
            |_, entries| entries[1].1[0] ^= 1,
            |error| matches!(error, SnapshotError::Contents { .. }),
        ),
    ];
    for (name, spoil, expected) in cases {
        let mut entries = small();
        let mut header = header(&entries);
        spoil(&mut header, &mut entries);
        let error = read(&written(&header, &entries), 100).unwrap_err();
        assert!(expected(&error), "{name}: {error}");
    }
}

#[test]
fn another_trailer_and_further_bytes_are_refused() {
    let entries = small();
    let header = header(&entries);
    let whole = written(&header, &entries);
    let other = SnapshotHeader { height: 8, ..header };
    let mixed = [&codec::to_bytes(&other), &whole[HEADER_BYTES..]].concat();
    assert_eq!(read(&mixed, 100).unwrap_err(), SnapshotError::Trailer);
    for piece in [1, 7, 10_000] {
        let error = read(&[whole.as_slice(), &[0]].concat(), piece).unwrap_err();
        assert_eq!(error, SnapshotError::TooLong);
    }
}

#[test]
fn a_state_that_changes_while_it_is_written_gives_no_snapshot() {
    let entries = small();
    let frames: Vec<_> = encode(header(&entries), pairs(&entries[..2])).collect();
    assert_eq!(frames.len(), 4);
    assert!(matches!(frames.last(), Some(Err(SnapshotError::Contents { .. }))));
    let (mut encoder, _) = Encoder::new(header(&entries));
    encoder.entry(&entries[1].0, &entries[1].1).unwrap();
    let error = encoder.entry(&entries[0].0, &entries[0].1).unwrap_err();
    assert!(matches!(error, SnapshotError::Order { entry: 1, .. }));
    // After an error there is nothing more.
    let frames: Vec<_> = encode(header(&entries), pairs(&[entries[1].clone(), entries[0].clone()])).collect();
    assert_eq!(frames.len(), 3);
    assert!(frames[2].is_err());
}

fn name() -> ShortText<64> {
    ShortText::new("the network after it").unwrap()
}

fn consensus() -> Consensus {
    Consensus { validators: vec![validator(arb())], ..genesis().consensus }
}

fn successor(state: &MemoryState) -> Genesis {
    Genesis::successor(name(), consensus(), &header(&entries(state)), state.iter()).unwrap()
}

#[test]
fn a_successor_has_the_members_as_they_are_now() {
    let mut chain = business();
    chain.rotate(vis(), "new key of vis");
    let successor = successor(&chain.state);
    assert_eq!(successor.imported, Some(entries_digest(chain.state.iter())));
    assert_eq!((&successor.name, &successor.consensus), (&name(), &consensus()));
    assert_eq!(successor.parameters, genesis().parameters);
    let mut expected = genesis().members;
    expected.sort_by_key(|member| member.party);
    for member in &mut expected {
        member.key = crate::tx::PublicKey::of(&chain.key(member.party));
    }
    assert_eq!(successor.members, expected);
    assert_ne!(successor.network(), genesis().network());
    assert_eq!(Genesis::from_json(&successor.to_json()), Ok(successor));
}

#[test]
fn a_successor_begins_with_the_state_and_goes_on_where_it_ended() {
    let mut chain = business();
    let successor = successor(&chain.state);
    let first = successor.initial_entries(Some(entries(&chain.state))).unwrap();
    let mut state = MemoryState::default();
    state.apply(first.into_iter().map(|(key, value)| (key, Some(value))).collect());
    assert_eq!(state_digest(state.iter()), chain.digest());
    assert_eq!(ledger_balance(state.iter()).unwrap(), ledger_balance(chain.state.iter()).unwrap());
    // The same next steps lead to the same state.
    let mut next = chain.fork();
    (next.state, next.network) = (state, successor.network());
    for chain in [&mut chain, &mut next] {
        chain.rotate(hom(), "new key");
        chain.deposit(vis(), EUR, "in 2");
    }
    // But for the network, which proves and envelopes name.
    assert_eq!(next.digest(), chain.digest());
    assert!(next.state.iter().eq(chain.state.iter()));
}

#[test]
fn a_genesis_of_its_own_begins_with_its_members_and_takes_no_snapshot() {
    let chain = Chain::new();
    assert_eq!(genesis().initial_entries(None), Ok(entries(&chain.state)));
    assert_eq!(genesis().initial_entries(Some(entries(&chain.state))), Err(GenesisError::NoImport));
}

#[test]
fn a_successor_that_says_other_things_than_the_state_is_refused() {
    let chain = business();
    let good = successor(&chain.state);
    let digest = entries_digest(chain.state.iter());
    let check = |genesis: &Genesis| genesis.check_import(chain.state.iter());
    assert_eq!(check(&good), Ok(()));

    let other = Genesis { imported: Some(Digest::ZERO), ..good.clone() };
    assert_eq!(check(&other), Err(GenesisError::OtherImport { expected: Digest::ZERO, found: digest }));
    let close_grace = DurationMs::from_millis(1);
    let parameters = Parameters { close_grace, ..good.parameters.clone() };
    assert_eq!(check(&Genesis { parameters, ..good.clone() }), Err(GenesisError::OtherParameters));

    let with = |change: fn(&mut Genesis)| {
        let mut changed = good.clone();
        change(&mut changed);
        check(&changed)
    };
    assert_eq!(with(|g| g.members.reverse()), Ok(()), "the order means nothing");
    let of =
        |genesis: &Genesis, party: PartyId| genesis.members.iter().position(|m| m.party == party).unwrap();
    for change in [
        |g: &mut Genesis, at: usize| g.members[at].roles = crate::membership::Roles::NONE,
        |g: &mut Genesis, at: usize| g.members[at].name = name(),
        |g: &mut Genesis, at: usize| g.members[at].key = crate::tx::PublicKey::of(&key_of("other")),
        |g: &mut Genesis, at: usize| drop(g.members.remove(at)),
    ] {
        let mut changed = good.clone();
        change(&mut changed, of(&good, own()));
        assert_eq!(check(&changed), Err(GenesisError::OtherMember(own())));
    }
    let mut more = good.clone();
    let mut stranger_member = good.members[0].clone();
    (stranger_member.party, stranger_member.key) =
        (stranger(), crate::tx::PublicKey::of(&key_of("stranger")));
    more.members.push(stranger_member);
    assert_eq!(check(&more), Err(GenesisError::OtherMember(stranger())));
    // A genesis that could not begin any network is refused for that.
    assert_eq!(with(|g| g.consensus.validators.clear()), Err(GenesisError::ValidatorCount(0)));
}

#[test]
fn a_successor_is_made_of_a_sound_state_alone() {
    let chain = business();
    let all = entries(&chain.state);
    let make = |entries: &[Entry]| {
        Genesis::successor(name(), consensus(), &header(entries), pairs(entries)).unwrap_err()
    };
    // Another state than the header speaks of.
    let other = Genesis::successor(name(), consensus(), &header(&all[1..]), pairs(&all)).unwrap_err();
    assert!(matches!(other, GenesisError::OtherImport { .. }), "{other}");
    let mut swapped = all.clone();
    swapped.swap(2, 3);
    assert!(matches!(make(&swapped), GenesisError::DamagedImport(SnapshotError::Order { .. })));
    assert_eq!(make(&all[1..]), GenesisError::CorruptImport("parameters"));
    let spoilt = |key: &StateKey, value: Vec<u8>| {
        let mut spoilt = all.clone();
        spoilt.iter_mut().find(|(found, _)| *found == key.to_bytes()).unwrap().1 = value;
        make(&spoilt)
    };
    assert_eq!(spoilt(&StateKey::Parameters, vec![1]), GenesisError::CorruptImport("parameters"));
    let key = StateKey::Member(vis());
    assert_eq!(spoilt(&key, vec![1]), GenesisError::CorruptImport("members"));
    let mut keyless: Member = chain.read(&key).unwrap();
    keyless.keys.clear();
    assert_eq!(spoilt(&key, codec::to_bytes(&keyless)), GenesisError::CorruptImport("members"));
    // The new validators are checked like any.
    let none = Consensus { validators: Vec::new(), ..consensus() };
    let error = Genesis::successor(name(), none, &header(&all), pairs(&all)).unwrap_err();
    assert_eq!(error, GenesisError::ValidatorCount(0));
}
