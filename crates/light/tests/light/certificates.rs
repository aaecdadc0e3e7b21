//! Certificates of the engine's own scheme, and the headers that they finalize.

use crate::engine::{EPOCH_BLOCKS, Network, assembled, key_of, proposal};
use crate::flipped;
use commonware_codec::{Decode as _, Encode as _};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Finalization, Finalize, Notarize, Proposal};
use commonware_consensus::types::{Epoch, Round, View};
use commonware_cryptography::{Signer as _, ed25519, sha256};
use commonware_parallel::Sequential;
use eroam_domain::codec::Digest;
use eroam_ledger::genesis::VALIDATORS_MAX;
use eroam_ledger::tx::PublicKey;
use eroam_light::block::Header;
use eroam_light::certificate::{
    CERTIFICATE_BYTES_MAX, Certificate, CertificateError, Finalized, Validators, ValidatorsError,
};
use eroam_light::trust::{DESCENDANTS_MAX, FinalityError, Trust, TrustError, ValidatorHistory};

fn validators(network: &Network) -> Validators {
    network.trust.validators().validators_at(0).clone()
}

fn check(network: &Network, bytes: &[u8]) -> Result<Finalized, CertificateError> {
    Certificate::decode(bytes)?.verify(&network.genesis.network(), &validators(network))
}

/// What the engine thinks of it.
fn engine_takes(network: &Network, bytes: &[u8]) -> bool {
    let certificate = Finalization::<Scheme, sha256::Digest>::decode_cfg(bytes.to_vec(), &network.keys.len());
    certificate.is_ok_and(|c| c.verify(&mut rand::rng(), &network.verifier(), &Sequential))
}

/// The signature of a validator's vote.
fn vote(network: &Network, validator: usize, of: &Proposal<sha256::Digest>) -> ed25519::Signature {
    let vote = Finalize::sign(&network.scheme(validator), of.clone()).unwrap();
    vote.attestation.signature.get().unwrap().clone()
}

#[test]
fn a_quorum_finalizes_in_networks_of_1_4_and_7() {
    for (count, quorum) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (10, 7), (100, 67)] {
        let network = Network::new("quorum", count);
        assert_eq!((validators(&network).count(), validators(&network).quorum()), (count, quorum));
        let header = network.header(3);
        let wanted = Finalized { epoch: 0, view: 10, parent_view: 8, payload: header.digest() };
        for first in [0, count - quorum] {
            let signers: Vec<usize> = (first..first + quorum).collect();
            let bytes = network.certified_by(proposal(&header), &signers);
            assert_eq!(check(&network, &bytes), Ok(wanted), "{quorum} of {count}");
            assert_eq!(network.trust.finalized(header, &[], &bytes).unwrap().header(), &header);
        }
        let all: Vec<usize> = (0..count).collect();
        assert_eq!(check(&network, &network.certified_by(proposal(&header), &all)), Ok(wanted));
    }
}

#[test]
fn a_certificate_of_every_validator_of_the_largest_network_is_within_the_limit() {
    let network = Network::new("large", VALIDATORS_MAX);
    let mut header = network.header(3);
    (header.epoch, header.view, header.parent_view) = (u64::MAX, u64::MAX, u64::MAX);
    let all: Vec<usize> = (0..VALIDATORS_MAX).collect();
    let bytes = network.certified_by(proposal(&header), &all);
    assert!(check(&network, &bytes).is_ok());
    assert!(bytes.len() <= CERTIFICATE_BYTES_MAX, "{} bytes", bytes.len());
    let long = vec![0; CERTIFICATE_BYTES_MAX + 1];
    assert_eq!(check(&network, &long), Err(CertificateError::TooLarge(CERTIFICATE_BYTES_MAX + 1)));
}

#[test]
fn too_few_votes_are_refused() {
    for (count, quorum) in [(4, 3), (7, 5)] {
        let network = Network::new("few", count);
        let proposal = proposal(&network.header(3));
        let signers: Vec<usize> = (0..quorum - 1).collect();
        let votes: Vec<_> = signers.iter().map(|n| vote(&network, *n, &proposal)).collect();
        let bytes = assembled(&proposal, count, &signers, &votes);
        assert!(!engine_takes(&network, &bytes));
        let too_few = CertificateError::TooFewVotes { required: quorum, found: quorum - 1 };
        assert_eq!(check(&network, &bytes), Err(too_few));
    }
}

#[test]
fn the_vote_of_a_stranger_is_refused() {
    let network = Network::new("home", 4);
    let mut keys = network.keys.clone();
    keys[2] = key_of("stranger");
    let other = Network::of("home", keys);
    let proposal = proposal(&network.header(3));
    // The stranger votes under the network's own namespace, in another's place.
    let votes = [
        vote(&network, 0, &proposal),
        vote(&network, 1, &proposal),
        key_of("stranger").sign(&[network.namespace(), b"_FINALIZE".to_vec()].concat(), &proposal.encode()),
    ];
    let bytes = assembled(&proposal, 4, &[0, 1, 2], &votes);
    assert!(!engine_takes(&network, &bytes));
    let of_2 = PublicKey(network.keys[2].public_key().as_ref().try_into().unwrap());
    assert_eq!(check(&network, &bytes), Err(CertificateError::BadVote(of_2)));
    // A whole set with one validator more or another in it is another set.
    assert!(check(&network, &other.certified_by(proposal.clone(), &[0, 1, 2])).is_err());
    let fifth = Network::of("home", [network.keys.clone(), vec![key_of("fifth")]].concat());
    let bytes = fifth.certified_by(proposal, &[0, 1, 2, 3]);
    assert_eq!(check(&network, &bytes), Err(CertificateError::Validators { expected: 4, found: 5 }));
}

#[test]
fn a_vote_counts_once() {
    let network = Network::new("twice", 4);
    let proposal = proposal(&network.header(3));
    let votes: Vec<_> = [0, 1, 1].map(|n| vote(&network, n, &proposal)).to_vec();
    // In the place of another validator, and beyond the validators that are marked.
    for signers in [&[0, 1, 2][..], &[0, 1]] {
        let bytes = assembled(&proposal, 4, signers, &votes);
        assert!(!engine_takes(&network, &bytes));
        let error = check(&network, &bytes).unwrap_err();
        assert!(
            matches!(error, CertificateError::BadVote(_) | CertificateError::Malformed(_)),
            "{signers:?}: {error}"
        );
    }
}

#[test]
fn a_vote_of_another_network_or_of_another_kind_is_refused() {
    let (network, other) = (Network::new("one", 4), Network::new("other", 4));
    // The same validators, in a network of another name.
    let twin = Network::of("twin", network.keys.clone());
    let proposal = proposal(&network.header(3));
    for foreign in [&other, &twin] {
        let bytes = foreign.certified_by(proposal.clone(), &[0, 1, 2]);
        assert!(engine_takes(foreign, &bytes) && !engine_takes(&network, &bytes));
        assert!(matches!(check(&network, &bytes), Err(CertificateError::BadVote(_))));
    }
    let notarized = |n| {
        let vote = Notarize::sign(&network.scheme(n), proposal.clone()).unwrap();
        vote.attestation.signature.get().unwrap().clone()
    };
    let bytes = assembled(&proposal, 4, &[0, 1, 2], &[0, 1, 2].map(notarized));
    assert!(matches!(check(&network, &bytes), Err(CertificateError::BadVote(_))));
}

#[test]
fn every_flipped_bit_of_a_certificate_is_refused() {
    for count in [1, 4, 7] {
        let network = Network::new("flip", count);
        let bytes = network.certify(&network.header(3));
        assert!(check(&network, &bytes).is_ok() && engine_takes(&network, &bytes));
        for (bit, other) in flipped(&bytes) {
            assert!(check(&network, &other).is_err(), "bit {bit} of {count}");
            assert!(!engine_takes(&network, &other), "bit {bit} of {count}");
        }
    }
}

#[test]
fn a_certificate_that_is_cut_off_or_followed_by_anything_is_refused() {
    let network = Network::new("cut", 4);
    let bytes = network.certify(&network.header(3));
    for end in 0..bytes.len() {
        assert!(matches!(check(&network, &bytes[..end]), Err(CertificateError::Malformed(_))), "{end}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(check(&network, &longer), Err(CertificateError::Malformed(_))));
}

#[test]
fn a_number_with_superfluous_bytes_is_refused() {
    let network = Network::new("varint", 1);
    let bytes = network.certify(&network.header(3));
    // Epoch 0 in two bytes.
    let other = [&[0x80, 0], &bytes[1..]].concat();
    assert!(matches!(check(&network, &other), Err(CertificateError::Malformed(_))));
}

#[test]
fn an_epoch_is_judged_by_its_own_validators() {
    let (old, new) = (Network::new("old", 4), Network::new("new", 4));
    // The new validators under the old network's name.
    let new = Network { genesis: old.genesis.clone(), trust: old.trust.clone(), keys: new.keys };
    let keys = new.keys.iter().map(|k| PublicKey(k.public_key().as_ref().try_into().unwrap()));
    let mut history = old.trust.validators().clone();
    history.change(2, Validators::new(keys).unwrap()).unwrap();
    let trust =
        Trust::new(old.genesis.network(), EPOCH_BLOCKS, history.clone(), old.genesis.consensus.time).unwrap();
    for (epoch, right, wrong) in [(0, &old, &new), (1, &old, &new), (2, &new, &old), (9, &new, &old)] {
        let header = old.header(u64::from(EPOCH_BLOCKS) * epoch + 3);
        assert_eq!(header.epoch, epoch);
        assert!(trust.finalized(header, &[], &right.certify(&header)).is_ok(), "epoch {epoch}");
        assert!(
            matches!(
                trust.finalized(header, &[], &wrong.certify(&header)),
                Err(FinalityError::Certificate(CertificateError::BadVote(_)))
            ),
            "epoch {epoch}"
        );
    }
    let again = history.change(2, validators(&old)).unwrap_err();
    assert_eq!(again, TrustError::EpochOrder { epoch: 2, latest: 2 });
    assert!(ValidatorHistory::new(validators(&old)).change(0, validators(&old)).is_err());
}

#[test]
fn a_genesis_without_proper_validators_gives_no_trust() {
    let network = Network::new("genesis", 2);
    let mut genesis = network.genesis.clone();
    genesis.consensus.validators.clear();
    let none = TrustError::Validators(ValidatorsError::Count(0));
    assert_eq!(Trust::from_genesis(&genesis), Err(none));
    let mut genesis = network.genesis.clone();
    genesis.consensus.validators[1] = genesis.consensus.validators[0].clone();
    assert!(matches!(
        Trust::from_genesis(&genesis),
        Err(TrustError::Validators(ValidatorsError::Duplicate(_)))
    ));
    let mut genesis = network.genesis;
    genesis.consensus.epoch_blocks = 0;
    assert_eq!(Trust::from_genesis(&genesis), Err(TrustError::EpochBlocks));
}

#[test]
fn a_certificate_finalizes_the_ancestors_of_its_block() {
    let network = Network::new("chain", 4);
    let chain = network.chain(12, 5);
    let certificate = network.certify(&chain[4]);
    for (place, header) in chain.iter().enumerate() {
        let finalized = network.trust.finalized(*header, &chain[place + 1..], &certificate).unwrap();
        assert_eq!(finalized.header(), header);
    }
}

#[test]
fn a_chain_that_is_broken_anywhere_finalizes_nothing() {
    let network = Network::new("broken", 1);
    let chain = network.chain(12, 5);
    let check = |chain: &[Header]| {
        let certificate = network.certify(chain.last().unwrap());
        network.trust.finalized(chain[0], &chain[1..], &certificate)
    };
    let broken = |height, child| FinalityError::BrokenChain { height, child };
    assert!(check(&chain).is_ok());
    // One is missing.
    let without = [&chain[..2], &chain[3..]].concat();
    assert_eq!(check(&without), Err(broken(13, 15)));
    // Two are swapped.
    let mut swapped = chain.clone();
    swapped.swap(1, 2);
    assert_eq!(check(&swapped), Err(broken(12, 14)));
    // One is another.
    let mut other = chain.clone();
    other[2].receipts = Digest::ZERO;
    assert_eq!(check(&other), Err(broken(14, 15)));
    // The height is another, though the parent is right.
    let mut higher = chain.clone();
    higher[4].height += 1;
    assert_eq!(check(&higher), Err(broken(15, 17)));
    // A version that nobody here knows.
    let mut newer = chain.clone();
    newer[4].version = 2;
    assert_eq!(check(&newer), Err(FinalityError::WrongVersion { height: 16, found: 2 }));
}

#[test]
fn a_chain_may_be_so_long_and_no_longer() {
    let network = Network::new("long", 1);
    let count = u64::try_from(DESCENDANTS_MAX).unwrap() + 2;
    let chain = network.chain(12, count);
    let certificate = network.certify(chain.last().unwrap());
    assert!(network.trust.finalized(chain[1], &chain[2..], &certificate).is_ok());
    assert_eq!(
        network.trust.finalized(chain[0], &chain[1..], &certificate),
        Err(FinalityError::TooManyDescendants(DESCENDANTS_MAX + 1))
    );
}

#[test]
fn a_certificate_of_another_block_or_view_is_refused() {
    let network = Network::new("view", 4);
    let header = network.header(14);
    let other = network.header(15);
    assert_eq!(
        network.trust.finalized(header, &[], &network.certify(&other)),
        Err(FinalityError::WrongBlock { height: 14, found: header.digest(), finalized: other.digest() })
    );
    let mut later = proposal(&header);
    later.round = Round::new(later.round.epoch(), View::new(99));
    let bytes = network.certified_by(later, &[0, 1, 2]);
    assert_eq!(
        network.trust.finalized(header, &[], &bytes),
        Err(FinalityError::WrongRound { height: 14, header: (1, 21), certificate: (1, 99) })
    );
}

#[test]
fn the_last_block_of_an_epoch_may_be_finalized_in_a_later_view() {
    let network = Network::new("boundary", 4);
    let again = |height: u64, parent: u64, view: u64, epoch: u64| {
        let header = network.header(height);
        let round = Round::new(Epoch::new(epoch), View::new(view));
        let again = Proposal::new(round, View::new(parent), proposal(&header).payload);
        network.trust.finalized(header, &[], &network.certified_by(again, &[0, 1, 2]))
    };
    // Block 19, of view 26, is the last of epoch 1.
    assert!(again(19, 26, 27, 1).is_ok());
    assert!(again(19, 28, 30, 1).is_ok());
    for (height, parent, view, epoch) in [(18, 25, 26, 1), (19, 24, 27, 1), (19, 26, 26, 1), (19, 26, 27, 2)]
    {
        let refused = again(height, parent, view, epoch);
        assert!(matches!(refused, Err(FinalityError::WrongRound { .. })), "{height} {parent} {view} {epoch}");
    }
}

#[test]
fn an_epoch_that_the_height_does_not_give_is_refused() {
    let network = Network::new("epoch", 4);
    let mut header = network.header(14);
    header.epoch = 0;
    assert_eq!(
        network.trust.finalized(header, &[], &network.certify(&header)),
        Err(FinalityError::WrongEpoch { height: 14, expected: 1, found: 0 })
    );
    // Over the end of an epoch: the last block of one, the first of the next.
    let mut chain = network.chain(18, 4);
    let certificate = network.certify(&chain[3]);
    assert_eq!((chain[1].epoch, chain[2].epoch), (1, 2));
    assert!(network.trust.finalized(chain[0], &chain[1..], &certificate).is_ok());
    chain[0].epoch = 2;
    chain[1].parent = chain[0].digest();
    chain[2].parent = chain[1].digest();
    chain[3].parent = chain[2].digest();
    let certificate = network.certify(&chain[3]);
    assert_eq!(
        network.trust.finalized(chain[0], &chain[1..], &certificate),
        Err(FinalityError::WrongEpoch { height: 18, expected: 1, found: 2 })
    );
}

#[test]
fn every_flipped_bit_of_a_header_is_refused() {
    let network = Network::new("header", 1);
    let header = network.header(14);
    let certificate = network.certify(&header);
    for (bit, other) in flipped(&eroam_domain::codec::to_bytes(&header)) {
        if let Ok(other) = eroam_domain::codec::from_bytes(&other) {
            let refused = network.trust.finalized(other, &[], &certificate);
            assert!(matches!(refused, Err(FinalityError::WrongBlock { .. })), "bit {bit}");
        }
    }
}
