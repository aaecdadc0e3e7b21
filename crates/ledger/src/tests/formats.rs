//! Canonical bytes: golden hashes, round trips, and bytes that are nothing.

use super::fixture::*;
use super::forecast::{attest, forecast_of, measured, rule, true_ups, with_rule};
use super::registry::{
    definition_id, did_on, grant, publish_dated_registry, publish_definition, publish_did, publish_registry,
    publish_schema, registry_id, schema_id, update,
};
use super::voucher::{block, publish_voucher_key, refund, reserve_vouchers, revoke_voucher_key, voucher_of};
use crate::agreement::{AgreementTx, agreement_id, terms_digest};
use crate::cdr::CdrTx;
use crate::forecast::{ForecastAttestation, ForecastTx};
use crate::membership::MembershipTx;
use crate::registry::RegistryTx;
use crate::reject::{Item, ItemOutcome, RejectCode, outcome_root};
use crate::settlement::SettlementTx;
use crate::state::StateKey;
use crate::tariff::TariffTx;
use crate::tx::{Envelope, SignedEnvelope, Tx};
use crate::voucher::VoucherTx;
use eroam_domain::agreement::{Actuals, DynamicRule, Panel, RenewableKnot};
use eroam_domain::cdr::{AgreementRef, Cdr};
use eroam_domain::codec::{self, Digest};
use eroam_domain::money::Price;
use proptest::prelude::*;

/// The name of a transaction's kind. A new kind does not compile until it has a name, and a golden hash below.
pub(super) fn kind(tx: &Tx) -> &'static str {
    match tx {
        Tx::Membership(MembershipTx::RotateKey { .. }) => "RotateKey",
        Tx::Agreement(AgreementTx::Propose { .. }) => "Propose",
        Tx::Agreement(AgreementTx::Accept { .. }) => "Accept",
        Tx::Agreement(AgreementTx::Amend { .. }) => "Amend",
        Tx::Agreement(AgreementTx::Terminate { .. }) => "Terminate",
        Tx::Tariff(TariffTx::PublishTariff { .. }) => "PublishTariff",
        Tx::Cdr(CdrTx::RecordCdrs(_)) => "RecordCdrs",
        Tx::Cdr(CdrTx::Contest { .. }) => "Contest",
        Tx::Cdr(CdrTx::Resolve { .. }) => "Resolve",
        Tx::Cdr(CdrTx::Credit { .. }) => "Credit",
        Tx::Settlement(SettlementTx::ReserveCredit(_)) => "ReserveCredit",
        Tx::Settlement(SettlementTx::AttestDeposit { .. }) => "AttestDeposit",
        Tx::Settlement(SettlementTx::ClosePeriod { .. }) => "ClosePeriod",
        Tx::Settlement(SettlementTx::AttestPayout { .. }) => "AttestPayout",
        Tx::Registry(RegistryTx::PublishDid { .. }) => "PublishDid",
        Tx::Registry(RegistryTx::PublishSchema { .. }) => "PublishSchema",
        Tx::Registry(RegistryTx::PublishCredentialDefinition { .. }) => "PublishCredentialDefinition",
        Tx::Registry(RegistryTx::PublishRevocationRegistry { .. }) => "PublishRevocationRegistry",
        Tx::Registry(RegistryTx::UpdateRevocation { .. }) => "UpdateRevocation",
        Tx::Registry(RegistryTx::GrantMandate { .. }) => "GrantMandate",
        Tx::Registry(RegistryTx::RevokeMandate { .. }) => "RevokeMandate",
        Tx::Registry(RegistryTx::PublishDatedRegistry { .. }) => "PublishDatedRegistry",
        Tx::Voucher(VoucherTx::PublishKey { .. }) => "PublishVoucherKey",
        Tx::Voucher(VoucherTx::Reserve(_)) => "ReserveVouchers",
        Tx::Voucher(VoucherTx::Refund(_)) => "RefundVouchers",
        Tx::Voucher(VoucherTx::Block(_)) => "BlockVouchers",
        Tx::Voucher(VoucherTx::RevokeKey { .. }) => "RevokeVoucherKey",
        Tx::Forecast(ForecastTx::AttestForecast(_)) => "AttestForecast",
        Tx::Forecast(ForecastTx::AttestLoad(_)) => "AttestLoad",
        Tx::Cdr(CdrTx::TrueUp(_)) => "TrueUp",
    }
}

/// The network that the golden bytes name: a fixed one, so that a change of the genesis shows in its own hash alone.
fn network() -> Digest {
    "ab6a434351a887bbe58197d39b6f9a19c4e0a2a1ff44348a641c9361dab5f1e9".parse().unwrap()
}

/// One transaction of each kind, the same for ever.
fn one_of_each() -> Vec<Tx> {
    let (terms, from) = (terms(hom(), vis()), on(1, 1, 0));
    let id = agreement_id(&terms, from);
    let roaming = Roaming {
        at: AgreementRef { id, version: 1 },
        terms: terms.clone(),
        tariff: (eroam_domain::cdr::TariffRef { id: tariff(vis()).id().clone(), version: 1 }, tariff(vis())),
    };
    let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
    let accepted = terms_digest(&terms, from);
    let did = did_on(network(), hom());
    let held = voucher_of(network(), hom(), 1);
    let definition = definition_id(did, &schema_id(did));
    vec![
        Tx::Membership(MembershipTx::rotate(network(), vis(), &key_of("new"))),
        Tx::Agreement(AgreementTx::Propose { terms: terms.clone(), effective_from: from }),
        Tx::Agreement(AgreementTx::Accept { id, version: 1, terms: accepted }),
        Tx::Agreement(AgreementTx::Amend { id, terms, effective_from: on(2, 1, 0) }),
        Tx::Agreement(AgreementTx::Terminate { id, at: on(3, 1, 0) }),
        Tx::Tariff(TariffTx::PublishTariff { version: 1, tariff: tariff(vis()) }),
        records([cdr.clone()]),
        contest(&cdr),
        resolve(&cdr, EUR),
        credit(&cdr, EUR),
        reserve([roaming.reservation(1, on(1, 10, 8), 50 * EUR)]),
        deposit(hom(), 10 * EUR, "in"),
        close(month(1)),
        payout(hom(), 10 * EUR, "out"),
        publish_did(network(), hom()),
        publish_schema(did),
        publish_definition(did, schema_id(did), true),
        publish_registry(definition.clone(), 100),
        update(&registry_id(&definition), 2, on(1, 2, 0), &[1, 5], &[3]),
        grant(arb(), schema_id(did), on(1, 1, 0), on(2, 1, 0)),
        Tx::Registry(RegistryTx::RevokeMandate { agent: arb(), schema: schema_id(did) }),
        publish_voucher_key(hom()),
        reserve_vouchers([held.reservation(&cdr, 12 * EUR)]),
        refund([held.signed]),
        block([held.signed.voucher.nullifier()]),
        attest(ForecastAttestation {
            renewable_bps: Some(vec![3_000, 10_000]),
            ..forecast_of(on(1, 20, 13), &[500, 600])
        }),
        measured(on(1, 20, 10), &[500, 600]),
        true_ups([Cdr { attestation: Some(Digest::of(b"set")), ..cdr }]),
        revoke_voucher_key(0),
        publish_dated_registry(definition, 100, on(1, 1, 0), on(2, 1, 0)),
    ]
}

fn hashes() -> Vec<(&'static str, String)> {
    let mut hashes: Vec<(&str, String)> =
        one_of_each().iter().map(|tx| (kind(tx), Digest::of(&codec::to_bytes(tx)).to_string())).collect();
    let chain = Chain::new();
    let envelope = chain.envelope(hom(), deposit(hom(), 10 * EUR, "in"));
    let envelope = chain.sign(Envelope { network: network(), ..envelope });
    hashes.push(("envelope", envelope.digest().to_string()));
    hashes.push(("genesis", genesis().network().to_string()));
    hashes.push(("snapshot", Digest::of(&super::snapshots::of_genesis()).to_string()));
    let green = DynamicRule {
        renewable: vec![RenewableKnot { share_bps: 5_000, surcharge_bps: -500 }],
        actuals: Actuals::Median(Panel { parties: vec![hom(), vis()], quorum: 2 }),
        ..rule()
    };
    let green = with_rule(terms(hom(), vis()), green);
    hashes.push(("dynamic terms", terms_digest(&green, on(1, 1, 0)).to_string()));
    let price = Price { excl_vat: 1, incl_vat: 2 };
    let outcomes = [
        ItemOutcome::ACCEPTED,
        ItemOutcome::Accepted { booked_in: Some(month(1)) },
        ItemOutcome::Rejected(RejectCode::PriceMismatch(price)),
        ItemOutcome::Rejected(RejectCode::Overflow),
    ];
    hashes.push(("outcomes", Digest::of(&codec::to_bytes(&outcomes)).to_string()));
    let items = outcomes.map(|outcome| Item { hash: Digest::of(b"item"), outcome });
    hashes.push(("outcome root", outcome_root(&items[..3]).to_string()));
    hashes
}

/// A changed hash is a changed format: every archived block and every signature of before becomes unreadable. It needs a
/// new [`crate::tx::VERSION`] (or a variant added at the end), and then approval by putting the new hash here.
const GOLDEN: &[(&str, &str)] = &[
    ("RotateKey", "d06311b4993f0f41e49a079a54caa787d4919ecb73ffe3b80d37df608dc4b662"),
    ("Propose", "370d22fa80fb3ae531791f4c992cf1b1bb8052d6a63218859503508caa030716"),
    ("Accept", "164060281ef30ea77b91224106dfda4b661b11fcc670ae78e010f0ed13ef1605"),
    ("Amend", "f67bc119baed7b710f71aaa07781d6a993abf87b5491923bd35549c598be8762"),
    ("Terminate", "66aeee025f7191f0258192ba73d628444f3e3c51b3def09ef9f14a449cb022ee"),
    ("PublishTariff", "8df0bf02f12ca54bb76aac4c6c9f6600f07223e0762026ab66cd3345a598f387"),
    ("RecordCdrs", "99c4c36eb66d7b350367a407e776c5791e55251eb40167a2fc351161f526a381"),
    ("Contest", "1030c5900fe698514dba6b9dc8c05a797f947d4af6ac99078de877eeaa69abaa"),
    ("Resolve", "50349f5c0608401d747ec8ad48bdf93d18e2b1e3a3ae1d8cd27ccad336953686"),
    ("Credit", "f132e4fd17fc74b44a61740bec2bc30932ed52c889ff1ff7a713bac5186648af"),
    ("ReserveCredit", "9f10e575dccc1e7dfe1eba2e385ff095150d924805b3bd739239990f34a21e71"),
    ("AttestDeposit", "85ce99b8c9a167578c396da28435fa61b9eebbbe8444e0e4dba4ec21ebf43ef1"),
    ("ClosePeriod", "b25f0e5f6fc56190b92b6332f8f209a2f8c253b6b93cae5b69ec4da77d79c969"),
    ("AttestPayout", "321c9033b51103315996832f6c408ba96b5547857a3089fd204e1669cf387d80"),
    ("PublishDid", "dbc7afaa34b0b42ceb67a9ffc1cf6888bf07893a3447ae51f9857bab735a1173"),
    ("PublishSchema", "33a7567d1b3982424ffea6c83db07bea328673fc0da76ac757d6ce48ddd26bab"),
    ("PublishCredentialDefinition", "30c3754a2f7504873eff5cf4f6070b296f87348e775cef40c39e2459aae937b6"),
    ("PublishRevocationRegistry", "2d7251a17a82ae9f233de3cb4db55f6594ef0fb42faab0f0f0e06adff94213fb"),
    ("UpdateRevocation", "1b2fcb034bdcf0b722c1b9820294474ccedb79a8389820ce535e62d11f9f03d2"),
    ("GrantMandate", "56fde89f4dcdca7d76ebe7b85e54038de5e540001b29a626330e5b7e8e6b5223"),
    ("RevokeMandate", "8282ad861033e70b9cb5332be37a862097f0828295518cfbb2685c47c7d6d811"),
    ("PublishVoucherKey", "9ccc79e3c541cc75cc3d5accfbce69a3d9335e0cdb055f7b8cf70a9fa45f9412"),
    ("ReserveVouchers", "73bb4e5d90f85fad9613dae2a3ad5d618415121ebd5acdf5b2582a2a9ef7c643"),
    ("RefundVouchers", "edc8d513d732e1923b4e13a83119d8e1724cac74a92054b436901552ede92874"),
    ("BlockVouchers", "a88be1948fb0a35b3589174d2b3e53edb78ab9491197db432af5a64649149e91"),
    ("AttestForecast", "ceaeeb9be6af8353ff21bdff0147d4583545f454be746df59fc42a2bc00fe5e7"),
    ("AttestLoad", "f26f4be91e6e01c195a9ea4c9a8ab52d9845b2cda0ee657c93633b9971705329"),
    ("TrueUp", "3ab8441a198ec04175f3b3a8db31591b28b17dd0ce0582cc26a20138e54b513f"),
    ("RevokeVoucherKey", "c67f802f913d3a734c3f4d3e2401b454eeed0f7c9d0bfce974f716e04079589b"),
    ("PublishDatedRegistry", "39427878880d99d60690344ba0ef8d329fdfbd9a7fabf08582d409278534cda7"),
    ("envelope", "87f2da23659c302a5df59e8a8a54e0a557177aea5363e3a1aac67f2ad09bf9ce"),
    ("genesis", "2628d6170671dbdb710143e498607b4c85b53f43502bf144e15aa91d2753dd4a"),
    ("snapshot", "fbc84c96b0e492c577dd741f75ff89dddcfd49aae66e7f260fd220f577db3525"),
    ("dynamic terms", "acc50672549a1ec658fb1c733879065cd386d35712effbb0f8f91ca616f19d56"),
    ("outcomes", "5ee24891e3e56d1649f200bc6347ffdc254ecf7df448a77d3e6a023a2abe71b4"),
    ("outcome root", "8b5794ffe29468d6e3eeaad0fbd636cbefd4919173cd84d73d99eb28b19006b0"),
];

#[test]
fn the_canonical_bytes_are_those_of_version_1() {
    let found = hashes();
    let shown: Vec<String> =
        found.iter().map(|(name, hash)| format!("    (\"{name}\", \"{hash}\"),")).collect();
    let same = found.iter().map(|(name, hash)| (*name, hash.as_str())).eq(GOLDEN.iter().copied());
    assert!(same, "the format changed; what it is now:\n{}", shown.join("\n"));
}

#[test]
fn every_transaction_survives_its_bytes() {
    let chain = Chain::new();
    for tx in one_of_each() {
        let bytes = codec::to_bytes(&tx);
        assert_eq!(codec::from_bytes::<Tx>(&bytes), Ok(tx.clone()));
        let signed = chain.sign(chain.envelope(vis(), tx));
        assert_eq!(SignedEnvelope::decode(signed.bytes().to_vec()), Ok(signed));
    }
}

#[test]
fn every_code_survives_its_bytes() {
    // 122 codes: the first byte says which; those with contents need more bytes.
    let mut codes = 0;
    for first in 0..=u8::MAX {
        let bytes = [0usize, 1, 16].map(|more| [vec![first], vec![0; more]].concat());
        if let Some(code) = bytes.iter().find_map(|b| codec::from_bytes::<RejectCode>(b).ok()) {
            assert_eq!(codec::to_bytes(&code)[0], first);
            assert!(!code.to_string().is_empty());
            assert!(serde_json::to_string(&code).is_ok());
            codes += 1;
        } else {
            assert!(first >= codes, "a gap in the codes");
        }
    }
    assert_eq!(codes, 122);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = codec::from_bytes::<StateKey>(&bytes);
        let _ = codec::from_bytes::<Tx>(&bytes);
        let _ = codec::from_bytes::<Envelope>(&bytes);
        let _ = SignedEnvelope::decode(bytes);
    }

    /// Far more of these get past the first fields.
    #[test]
    fn damaged_envelopes_never_panic_and_stay_canonical(
        which in 0usize..30,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut chain = Chain::new();
        let signed = chain.sign(chain.envelope(vis(), one_of_each().swap_remove(which)));
        let mut bytes = signed.bytes().to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(decoded) = SignedEnvelope::decode(bytes.clone()) {
            // One value has one encoding: nobody can make a second envelope of it.
            let body = codec::to_bytes(decoded.envelope());
            prop_assert_eq!(&bytes[..bytes.len() - 64], body.as_slice());
            // Whatever it says now, it executes, even when its sender really signed it.
            chain.run(&decoded);
            let resigned = chain.sign(decoded.envelope().clone());
            chain.run(&resigned);
        }
    }

    #[test]
    fn state_keys_survive_their_bytes(bytes in proptest::collection::vec(0u8..20, 0..80)) {
        if let Ok(key) = codec::from_bytes::<StateKey>(&bytes) {
            prop_assert_eq!(codec::to_bytes(&key), bytes);
        }
    }

    #[test]
    fn envelopes_survive_their_bytes(
        which in 0usize..30, version in any::<u8>(), key in any::<u32>(), lane in any::<u16>(), sequence in any::<u64>(),
        network in any::<[u8; 32]>(),
    ) {
        let chain = Chain::new();
        let base = chain.envelope(vis(), one_of_each().swap_remove(which));
        let signed = chain.sign(Envelope { version, network: Digest(network), key, lane, sequence, ..base });
        let decoded = SignedEnvelope::decode(signed.bytes().to_vec()).unwrap();
        prop_assert_eq!(&decoded, &signed);
        prop_assert_eq!(decoded.digest(), signed.digest());
    }
}
