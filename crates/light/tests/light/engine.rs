//! The engine itself: validators that sign, and a state that proves. Shared by the tests and the benchmark.

use bytes::Bytes;
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Finalization, Finalize, Proposal};
use commonware_consensus::types::{Epoch, Round, View};
use commonware_cryptography::certificate::Signers;
use commonware_cryptography::ed25519::certificate::Certificate as Votes;
use commonware_cryptography::{Sha256, Signer as _, ed25519, sha256};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use commonware_storage::journal::contiguous::variable::Config as LogConfig;
use commonware_storage::mmr;
use commonware_storage::mmr::full::Config as TreeConfig;
use commonware_storage::qmdb::current::VariableConfig;
use commonware_storage::qmdb::current::ordered::variable;
use commonware_storage::qmdb::floor::Proportional;
use commonware_storage::translator::EightCap;
use commonware_utils::ordered::Set;
use commonware_utils::{NZU16, NZU64, NZUsize, Participant};
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::{BlockTime, Consensus, Genesis, GenesisMember, Parameters, Validator};
use eroam_ledger::membership::Roles;
use eroam_ledger::tx::PublicKey;
use eroam_light::block::{Header, VERSION};
use eroam_light::certificate::consensus_namespace;
use eroam_light::state::{CHUNK_BYTES, KEY_BYTES_MAX, VALUE_BYTES_MAX, stored_key};
use eroam_light::trust::{FinalityProof, FinalizedHeader, Trust};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

pub(crate) type Db = variable::Db<
    mmr::Family,
    deterministic::Context,
    Vec<u8>,
    Bytes,
    Sha256,
    EightCap,
    CHUNK_BYTES,
    Sequential,
>;

/// Blocks of an epoch.
pub(crate) const EPOCH_BLOCKS: u32 = 10;

pub(crate) fn party(text: &str) -> PartyId {
    text.parse().unwrap()
}

/// The key that a name stands for.
pub(crate) fn key_of(name: &str) -> ed25519::PrivateKey {
    ed25519::PrivateKey::decode(Copying(&Digest::of(name.as_bytes()).0)).unwrap()
}

fn own(key: &ed25519::PublicKey) -> PublicKey {
    PublicKey(key.as_ref().try_into().unwrap())
}

/// A network and the keys of its validators, in the order in which certificates count them.
pub(crate) struct Network {
    pub(crate) genesis: Genesis,
    pub(crate) trust: Trust,
    pub(crate) keys: Vec<ed25519::PrivateKey>,
}

impl Network {
    /// A network of so many validators. Its validators' keys follow from its name.
    pub(crate) fn new(name: &str, validators: usize) -> Self {
        let keys = (0..validators).map(|n| key_of(&format!("{name} {n}"))).collect();
        Self::of(name, keys)
    }

    pub(crate) fn of(name: &str, mut keys: Vec<ed25519::PrivateKey>) -> Self {
        // Validators are stated in some order; certificates count them in that of their keys.
        let validators =
            keys.iter().map(|key| Validator { party: party("PT-CPO"), key: own(&key.public_key()) });
        let member = |id: &str, roles| GenesisMember {
            party: party(id),
            name: ShortText::new(id).unwrap(),
            roles,
            key: PublicKey::of(&member_key(id)),
        };
        let genesis = Genesis {
            name: ShortText::new(name).unwrap(),
            parameters: Parameters { treasurers_required: 1, close_grace: DurationMs::ZERO },
            members: vec![member("PT-CPO", Roles::CPO.with(Roles::EMSP)), member("PT-TRE", Roles::TREASURER)],
            consensus: Consensus {
                validators: validators.collect(),
                epoch_blocks: EPOCH_BLOCKS,
                block_bytes_max: eroam_ledger::genesis::BLOCK_BYTES_MIN,
                time: BlockTime::Clock,
            },
            imported: None,
        };
        keys.sort_by_key(|key| key.public_key());
        Self { trust: Trust::from_genesis(&genesis).unwrap(), genesis, keys }
    }

    pub(crate) fn namespace(&self) -> Vec<u8> {
        consensus_namespace(&self.genesis.network())
    }

    fn set(&self) -> Set<ed25519::PublicKey> {
        self.keys.iter().map(|key| key.public_key()).collect::<Vec<_>>().try_into().unwrap()
    }

    pub(crate) fn verifier(&self) -> Scheme {
        Scheme::verifier(&self.namespace(), self.set())
    }

    /// The signing half of a validator.
    pub(crate) fn scheme(&self, validator: usize) -> Scheme {
        Scheme::signer(&self.namespace(), self.set(), self.keys[validator].clone()).unwrap()
    }

    /// A header like any other.
    pub(crate) fn header(&self, height: u64) -> Header {
        Header {
            version: VERSION,
            height,
            epoch: height / u64::from(EPOCH_BLOCKS),
            view: height + 7,
            leader: own(&self.keys[0].public_key()),
            parent_view: height + 5,
            parent: Digest::of(b"parent"),
            time: UnixMillis::new(1_740_000_000_123).unwrap(),
            body: Digest::of(b"body"),
            receipts: Digest::of(b"receipts"),
            state: Digest::of(b"state"),
            operations: Digest::of(b"operations"),
            operations_start: 256,
            operations_end: 1_000,
        }
    }

    /// So many headers, each the parent of the next.
    pub(crate) fn chain(&self, first: u64, count: u64) -> Vec<Header> {
        let mut headers: Vec<Header> = Vec::new();
        for height in first..first + count {
            let mut header = self.header(height);
            if let Some(parent) = headers.last() {
                header.parent = parent.digest();
            }
            headers.push(header);
        }
        headers
    }

    /// A certificate of a quorum, made by the engine.
    pub(crate) fn certify(&self, header: &Header) -> Vec<u8> {
        let quorum = self.keys.len() - (self.keys.len() - 1) / 3;
        self.certified_by(proposal(header), &(0..quorum).collect::<Vec<_>>())
    }

    /// A certificate of these validators, made by the engine.
    pub(crate) fn certified_by(&self, proposal: Proposal<sha256::Digest>, signers: &[usize]) -> Vec<u8> {
        let votes: Vec<_> =
            signers.iter().map(|n| Finalize::sign(&self.scheme(*n), proposal.clone()).unwrap()).collect();
        let votes = commonware_utils::iter::NonEmpty::try_new(votes.iter()).unwrap();
        Finalization::from_finalizes(&self.verifier(), votes, &Sequential).unwrap().encode().to_vec()
    }

    pub(crate) fn prove(&self, header: Header) -> FinalityProof {
        let network = self.genesis.network();
        FinalityProof { network, header, descendants: vec![], certificate: self.certify(&header) }
    }

    pub(crate) fn finalize(&self, header: Header) -> FinalizedHeader {
        self.prove(header).verify(&self.trust).unwrap()
    }
}

/// The key of a member of every network.
pub(crate) fn member_key(id: &str) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&Digest::of(id.as_bytes()).0)
}

/// What validators sign of a header.
pub(crate) fn proposal(header: &Header) -> Proposal<sha256::Digest> {
    let round = Round::new(Epoch::new(header.epoch), View::new(header.view));
    Proposal::new(round, View::new(header.parent_view), sha256::Digest(header.digest().0))
}

/// The bytes of a certificate that no scheme would assemble.
pub(crate) fn assembled(
    proposal: &Proposal<sha256::Digest>,
    validators: usize,
    signers: &[usize],
    votes: &[ed25519::Signature],
) -> Vec<u8> {
    let signers = signers.iter().map(|n| Participant::from_usize(*n));
    let signers = Signers::new(u32::try_from(validators).unwrap(), signers).unwrap();
    let signatures = votes.iter().cloned().map(Into::into).collect();
    [proposal.encode().as_ref(), Votes { signers, signatures }.encode().as_ref()].concat()
}

/// A batch of changes of the state: values by keys as the ledger has them.
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Opens the engine's database.
pub(crate) async fn open(context: deterministic::Context) -> Db {
    const BUFFER: NonZeroUsize = NZUsize!(64 * 1024);
    let cache = CacheRef::new(NZU16!(4096), NZUsize!(1024));
    let keys = ((0..=KEY_BYTES_MAX).into(), ());
    let config = VariableConfig {
        merkle_config: TreeConfig {
            journal_partition: "tree-nodes".into(),
            metadata_partition: "tree-pins".into(),
            items_per_blob: NZU64!(1 << 16),
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
            strategy: Sequential,
            page_cache: cache.clone(),
        },
        journal_config: LogConfig {
            partition: "log".into(),
            items_per_section: NZU64!(1 << 12),
            compression: None,
            codec_config: (keys, (0..=VALUE_BYTES_MAX).into()),
            page_cache: cache,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        },
        grafted_metadata_partition: "grafted".into(),
        translator: EightCap,
        init_cache: Some(NZUsize!(1 << 16)),
        init_buffer: NZUsize!(1 << 21),
        init_concurrency: (),
    };
    Db::init(context.child("state"), config, None).await.unwrap()
}

/// Applies a batch.
pub(crate) async fn apply(db: Db, changes: Changes, note: Option<&[u8]>) -> Db {
    let mut batch = db.new_batch();
    for (key, value) in changes {
        batch = batch.write(stored_key(&key), value.map(Bytes::from));
    }
    let note = note.map(Bytes::copy_from_slice);
    let batch = batch.merkleize(&db, note, &mut Proportional).await.unwrap();
    db.apply_batch(batch).await.unwrap()
}

/// Runs with a new database in the engine's deterministic runtime.
pub(crate) fn with_db<T, F: Future<Output = T>>(run: impl FnOnce(Db) -> F) -> T {
    deterministic::Runner::default().start(|context| async move { run(open(context).await).await })
}

/// A header with the roots of the database.
pub(crate) fn header_of(network: &Network, db: &Db) -> Header {
    let (state, operations) = (Digest(db.root().0), Digest(db.ops_root().0));
    Header { state, operations, ..network.header(42) }
}
