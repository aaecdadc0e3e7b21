//! What can begin a network, and how people write it.

use super::fixture::*;
use crate::genesis::{
    BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, BlockTime, Consensus, EPOCH_BLOCKS_MIN, Genesis, GenesisError,
    GenesisMember, MEMBERS_MAX, Parameters, VALIDATORS_MAX, Validator,
};
use crate::membership::Roles;
use crate::tx::PublicKey;
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use proptest::prelude::*;

/// The neutral element: a point of the curve under which anybody could sign.
fn weak() -> PublicKey {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    PublicKey(bytes)
}

/// Bytes that are no point of the curve.
fn no_point() -> PublicKey {
    let bytes = (0..=u8::MAX).map(|byte| PublicKey([byte; 32]));
    bytes.into_iter().find(|key| !key.is_usable()).expect("half of all bytes are none")
}

fn key(name: &str) -> PublicKey {
    PublicKey::of(&key_of(name))
}

type Case = (&'static str, fn(&mut Genesis), GenesisError);

/// In the order of the checks; each case spoils also everything that is checked after it.
fn refusals() -> Vec<Case> {
    vec![
        ("no members", |g| g.members.clear(), GenesisError::MemberCount(0)),
        (
            "too many members",
            |g| g.members = vec![g.members[0].clone(); MEMBERS_MAX + 1],
            GenesisError::MemberCount(MEMBERS_MAX + 1),
        ),
        (
            "no treasurer need attest",
            |g| g.parameters.treasurers_required = 0,
            GenesisError::Treasurers { required: 0, treasurers: 2 },
        ),
        (
            "more treasurers than there are",
            |g| g.parameters.treasurers_required = 3,
            GenesisError::Treasurers { required: 3, treasurers: 2 },
        ),
        ("a member twice", |g| g.members[1].party = hom(), GenesisError::DuplicateMember(hom())),
        ("a weak key of a member", |g| g.members[1].key = weak(), GenesisError::MemberKey(vis())),
        ("no point of the curve", |g| g.members[1].key = no_point(), GenesisError::MemberKey(vis())),
        ("a key twice", |g| g.members[1].key = g.members[0].key, GenesisError::DuplicateKey(vis())),
        ("no validators", |g| g.consensus.validators.clear(), GenesisError::ValidatorCount(0)),
        (
            "too many validators",
            |g| g.consensus.validators = vec![validator(hom()); VALIDATORS_MAX + 1],
            GenesisError::ValidatorCount(VALIDATORS_MAX + 1),
        ),
        (
            "a stranger's validator",
            |g| g.consensus.validators[1].party = stranger(),
            GenesisError::ForeignValidator(stranger()),
        ),
        (
            "a validator with a member's key",
            |g| g.consensus.validators[1].key = key("PT-HOM"),
            GenesisError::ValidatorKey(vis()),
        ),
        (
            "two validators with one key",
            |g| g.consensus.validators[1].key = g.consensus.validators[0].key,
            GenesisError::ValidatorKey(vis()),
        ),
        (
            "a weak key of a validator",
            |g| g.consensus.validators[1].key = weak(),
            GenesisError::ValidatorKey(vis()),
        ),
        (
            "short epochs",
            |g| g.consensus.epoch_blocks = EPOCH_BLOCKS_MIN - 1,
            GenesisError::EpochBlocks(EPOCH_BLOCKS_MIN - 1),
        ),
        (
            "small blocks",
            |g| g.consensus.block_bytes_max = BLOCK_BYTES_MIN - 1,
            GenesisError::BlockBytes(BLOCK_BYTES_MIN - 1),
        ),
        (
            "large blocks",
            |g| g.consensus.block_bytes_max = BLOCK_BYTES_MAX + 1,
            GenesisError::BlockBytes(BLOCK_BYTES_MAX + 1),
        ),
    ]
}

#[test]
fn what_cannot_begin_a_network_is_named() {
    for (name, spoil, expected) in refusals() {
        let mut spoilt = genesis();
        spoil(&mut spoilt);
        assert_eq!(spoilt.check().unwrap_err(), expected, "{name}");
        assert_eq!(spoilt.state().unwrap_err(), expected, "{name}");
        assert_eq!(Genesis::from_json(&spoilt.to_json()).unwrap_err(), expected, "{name}");
        // Whether there is a state to import is looked at last.
        spoilt.imported = Some(Digest::ZERO);
        assert_eq!(spoilt.state().unwrap_err(), expected, "{name}");
    }
}

#[test]
fn the_first_failure_in_the_documented_order_is_named() {
    let cases = refusals();
    for (place, (name, spoil, expected)) in cases.iter().enumerate() {
        let mut spoilt = genesis();
        // The last ones first, so that an earlier case can only take away what a later one has spoilt.
        for (_, later, _) in cases[place..].iter().rev() {
            later(&mut spoilt);
        }
        spoil(&mut spoilt);
        let same = std::mem::discriminant(&spoilt.check().unwrap_err()) == std::mem::discriminant(expected);
        assert!(same, "{name}: {:?}", spoilt.check());
    }
}

#[test]
fn a_network_that_takes_up_a_state_cannot_begin_without_it() {
    let genesis = Genesis { imported: Some(Digest::ZERO), ..genesis() };
    assert_eq!(genesis.check(), Ok(()));
    assert_eq!(Genesis::from_json(&genesis.to_json()).as_ref(), Ok(&genesis));
    assert_eq!(genesis.state(), Err(GenesisError::NeedsImport));
    assert_eq!(genesis.initial_entries(None), Err(GenesisError::NeedsImport));
}

#[test]
fn the_limits_themselves_are_allowed() {
    let mut genesis = genesis();
    genesis.consensus.epoch_blocks = EPOCH_BLOCKS_MIN;
    for size in [BLOCK_BYTES_MIN, BLOCK_BYTES_MAX] {
        genesis.consensus.block_bytes_max = size;
        assert_eq!(genesis.check(), Ok(()));
    }
    // A member may run any number of validators.
    genesis.consensus.validators = (0..VALIDATORS_MAX)
        .map(|n| Validator { party: hom(), key: key(&format!("validator {n}")) })
        .collect();
    assert_eq!(genesis.check(), Ok(()));
}

#[test]
fn a_genesis_is_written_as_approved() {
    assert_eq!(genesis().to_json(), include_str!("genesis.json"));
    assert_eq!(Genesis::from_json(include_str!("genesis.json")), Ok(genesis()));
}

/// What stands in the approved text, what is put there instead, and how the refusal begins.
const MISWRITTEN: [(&str, &str, &str); 15] = [
    (r#""name": "test consortium","#, "", "missing field `name`"),
    (r#""name": "test"#, r#""title": "x", "name": "test"#, "unknown field `title`, expected one of `name`"),
    (r#""close_grace_ms""#, r#""close_grace""#, "unknown field `close_grace`, expected"),
    (r#""epoch_blocks""#, r#""epochs": 1, "epoch_blocks""#, "unknown field `epochs`, expected one of"),
    (r#""epoch_blocks": 1000"#, r#""epoch_blocks": -1"#, "invalid value: integer `-1`, expected u32"),
    (
        r#""epoch_blocks": 1000"#,
        r#""epoch_blocks": 1e3"#,
        "invalid type: floating point `1000.0`, expected u32",
    ),
    (r#""stated""#, r#""now""#, "unknown variant `now`, expected `clock` or `stated`"),
    (
        r#""emsp""#,
        r#""utility""#,
        "`utility` is no role: emsp, cpo, treasurer, resolver, issuer are the roles",
    ),
    (r#""emsp""#, r#""emsp", "emsp""#, "the role `emsp` is listed twice"),
    (r#""PT-HOM""#, r#""PT-H""#, "`PT-H` is no party: write country and party code as PT-EDP"),
    (r#""party": "PT-HOM""#, r#""party": "PT-HOM", "key_id": 0"#, "unknown field `key_id`, expected one of"),
    (r#""party": "PT-HOM""#, r#""party": "PT-HOM", "party": "PT-HOM""#, "duplicate field `party`"),
    (r#""key": ""#, r#""key": "0x"#, "is no Ed25519 public key: 64 hexadecimal digits are expected"),
    (r#""test consortium""#, "\"t\u{e9}st\"", "`t\u{e9}st` does not fit: 1 to 64 printable ASCII characters"),
    ("\n}\n", "\n}\n{}", "trailing characters"),
];

#[test]
fn a_miswritten_genesis_is_refused_with_its_place() {
    let approved = include_str!("genesis.json");
    for (there, instead, expected) in MISWRITTEN {
        assert!(approved.contains(there), "{there}");
        let error = Genesis::from_json(&approved.replacen(there, instead, 1)).unwrap_err();
        let GenesisError::Json { line, reason, .. } = &error else { panic!("{instead}: {error}") };
        assert!(reason.contains(expected), "{instead}: {error}");
        assert!(*line > 0, "{error}");
    }
    let error = Genesis::from_json("").unwrap_err();
    assert_eq!(error.to_string(), "the genesis cannot be read: line 1, column 0: EOF while parsing a value");
}

#[test]
fn spaces_order_and_capital_digits_mean_nothing() {
    let value: serde_json::Value = serde_json::from_str(include_str!("genesis.json")).unwrap();
    let compact = serde_json::to_string(&value).unwrap();
    assert_ne!(compact, include_str!("genesis.json"));
    assert_eq!(Genesis::from_json(&compact), Ok(genesis()));
    let text = key("a").to_string();
    assert_eq!(text.to_uppercase().parse(), Ok(key("a")));
    assert_eq!(text.len(), 64);
    assert!(!text.contains(|c: char| c.is_ascii_uppercase()));
}

#[test]
fn roles_that_do_not_exist_are_refused_by_the_decoder() {
    assert_eq!(codec::from_bytes::<Roles>(&[15]).map(|roles| roles.contains(Roles::RESOLVER)), Ok(true));
    assert!(codec::from_bytes::<Roles>(&[32]).is_err());
    assert_eq!(serde_json::to_string(&Roles::NONE).unwrap(), "[]");
}

fn roles() -> impl Strategy<Value = Roles> {
    (0u8..16).prop_map(|bits| codec::from_bytes(&[bits]).unwrap())
}

/// Any genesis that can begin a network.
pub(super) fn arb_genesis() -> impl Strategy<Value = Genesis> {
    let members = proptest::collection::btree_map("[A-Z]{2}[A-Z0-9]{3}", ("[ -~]{1,64}", roles()), 1..20);
    let consensus = (
        proptest::collection::vec(any::<prop::sample::Index>(), 1..VALIDATORS_MAX),
        EPOCH_BLOCKS_MIN..,
        BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX,
        any::<bool>(),
    );
    let imported = proptest::option::of(any::<[u8; 32]>());
    ("[ -~]{1,64}", any::<u64>(), members, consensus, imported).prop_map(
        |(name, close_grace, members, (validators, epoch_blocks, block_bytes_max, clock), imported)| {
            let mut members: Vec<GenesisMember> = members
                .into_iter()
                .map(|(party, (name, roles))| GenesisMember {
                    key: key(&party),
                    party: party.parse().unwrap(),
                    name: ShortText::new(&name).unwrap(),
                    roles,
                })
                .collect();
            members[0].roles = members[0].roles.with(Roles::TREASURER);
            let parties: Vec<PartyId> = members.iter().map(|m| m.party).collect();
            let validators = validators
                .iter()
                .enumerate()
                .map(|(n, member)| Validator {
                    party: *member.get(&parties),
                    key: key(&format!("validator {n}")),
                })
                .collect();
            let time = if clock { BlockTime::Clock } else { BlockTime::Stated };
            Genesis {
                name: ShortText::new(&name).unwrap(),
                parameters: Parameters {
                    treasurers_required: 1,
                    close_grace: DurationMs::from_millis(close_grace),
                },
                members,
                consensus: Consensus { validators, epoch_blocks, block_bytes_max, time },
                imported: imported.map(Digest),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_genesis_survives_its_json_and_its_bytes(genesis in arb_genesis()) {
        let read = Genesis::from_json(&genesis.to_json()).unwrap();
        prop_assert_eq!(&read, &genesis);
        prop_assert_eq!(read.to_json(), genesis.to_json());
        prop_assert_eq!(read.network(), genesis.network());
        prop_assert_eq!(codec::from_bytes::<Genesis>(&codec::to_bytes(&genesis)), Ok(genesis));
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = Genesis::from_json(&text);
    }
}
