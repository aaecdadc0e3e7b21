//! Receipts of envelopes that the ledger executed, and the files that receipts and state proofs travel in.

use crate::engine::{Network, apply, header_of, member_key, party, with_db};
use crate::flipped;
use commonware_codec::Encode as _;
use eroam_domain::agreement::AgreementId;
use eroam_domain::cdr::{AgreementRef, Cdr, ChargingPeriod, EvsePseudonym, Payer, TariffRef, session_digest};
use eroam_domain::codec::{Digest, ShortText, SignatureBytes, to_bytes};
use eroam_domain::money::{Currency, Money, Price};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_domain::voucher::{OneTimeKey, SignedVoucher, SpentVoucher, Voucher, VoucherAcceptance};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::execute::{Header as Context, execute};
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::settlement::{CreditReservation, SettlementTx};
use eroam_ledger::state::MemoryState;
use eroam_ledger::tree::Path;
use eroam_ledger::tx::{Envelope, Tx, VERSION};
use eroam_ledger::voucher::{VoucherReservation, VoucherTx};
use eroam_light::block::{Body, Header};
use eroam_light::document::{Document, DocumentError, FILE_BYTES_MAX, Verified};
use eroam_light::receipt::{CONTENT_BYTES_MAX, Content, ReceiptError, ReceiptProof};
use eroam_light::state::{StateProof, stored_key};
use eroam_light::trust::FinalityError;
use proptest::prelude::*;

fn eur(micros: i64) -> Money {
    Money::new(micros, Currency::new("EUR").unwrap())
}

fn at(ms: i64) -> UnixMillis {
    UnixMillis::new(1_740_000_000_000 + ms).unwrap()
}

fn agreement() -> AgreementRef {
    let id: AgreementId = Digest::of(b"agreement").to_string().parse().unwrap();
    AgreementRef { id, version: 1 }
}

fn record(number: u64, periods: u16) -> Cdr {
    let energy = WattHours::from_wh(10_000 + number).unwrap();
    let period = |n: u16| ChargingPeriod {
        start: at(i64::from(n)),
        energy: if n == 0 { energy } else { WattHours::ZERO },
        charging: DurationMs::ZERO,
        parking: DurationMs::ZERO,
        reservation: DurationMs::ZERO,
        power: None,
        current: None,
    };
    Cdr {
        id: ShortText::new(&format!("cdr-{number}")).unwrap(),
        session: session_digest(party("PT-CPO"), &ShortText::new(&format!("cdr-{number}")).unwrap()),
        agreement: agreement(),
        tariff: TariffRef { id: ShortText::new("T1").unwrap(), version: 1 },
        evse: EvsePseudonym([1; 16]),
        zone: ShortText::new("PT-N").unwrap(),
        accepted_at: at(0),
        start: at(0),
        end: at(3_600_000),
        clock: LocalClock::UTC,
        periods: (0..periods).map(period).collect(),
        energy,
        attestation: None,
        price: Price { excl_vat: 3_500_000, incl_vat: 4_305_000 },
        currency: Currency::new("EUR").unwrap(),
        quote: Digest::of(b"quote"),
        readings: Digest::of(b"readings"),
        acceptance: SignatureBytes([7; 64]),
        payer: Payer::Contract { commitment: Digest::of(b"payer") },
    }
}

/// A voucher that nobody's published key signed: the ledger refuses it, and has a receipt for that.
fn signed_voucher(n: u8) -> SignedVoucher {
    let voucher = Voucher {
        network: Digest::of(b"network"),
        emsp: party("PT-CPO"),
        key: 0,
        holder: OneTimeKey([n; 32]),
        cap: eur(30_000_000),
        valid_from: at(0),
        valid_until: at(86_400_000),
    };
    SignedVoucher { voucher, signature: SignatureBytes([n; 64]) }
}

fn voucher_reservation(n: u8) -> VoucherReservation {
    let acceptance = VoucherAcceptance {
        session: Digest::of(&[n]),
        operator: party("PT-CPO"),
        quote: Digest::of(b"quote"),
        limit: 12_500_000,
        accepted_at: at(5),
    };
    let spent = SpentVoucher { voucher: signed_voucher(n), acceptance, signature: SignatureBytes([9; 64]) };
    VoucherReservation { agreement: agreement(), spent, expires_at: at(100) }
}

/// A block of real envelopes: three records, two reservations, a deposit, an envelope that comes too late, and vouchers:
/// two reserved, one taken back, two blocked.
fn body(network: &Network) -> Body {
    let mut state = MemoryState::default();
    state.apply(network.genesis.state().unwrap());
    let context = Context { network: network.genesis.network(), height: 42, time: at(7_200_000) };
    let reservation = |n: u64| CreditReservation {
        agreement: agreement(),
        session: Digest::of_value("session", &n),
        amount: 1_000_000,
        reserved_at: at(0),
        expires_at: at(100),
    };
    let deposit = |micros| {
        let (amount, reference) = (eur(micros), ShortText::new("bank 1").unwrap());
        Tx::Settlement(SettlementTx::AttestDeposit { party: party("PT-CPO"), amount, reference })
    };
    let voucher = Tx::Voucher;
    let mut body = Body::default();
    for (member, sequence, expires_at, tx) in [
        (
            "PT-CPO",
            0,
            at(i64::from(u32::MAX)),
            Tx::Cdr(CdrTx::RecordCdrs((0..3).map(|n| record(n, 2)).collect())),
        ),
        (
            "PT-CPO",
            1,
            at(i64::from(u32::MAX)),
            Tx::Settlement(SettlementTx::ReserveCredit((0..2).map(reservation).collect())),
        ),
        ("PT-TRE", 0, at(i64::from(u32::MAX)), deposit(5_000_000)),
        ("PT-TRE", 1, at(1), deposit(6_000_000)),
        ("PT-CPO", 2, at(9_000_000), voucher(VoucherTx::Reserve([1, 2].map(voucher_reservation).to_vec()))),
        ("PT-CPO", 3, at(9_000_000), voucher(VoucherTx::Refund(vec![signed_voucher(3)]))),
        (
            "PT-CPO",
            4,
            at(9_000_000),
            voucher(VoucherTx::Block([4, 5].map(|n| signed_voucher(n).voucher.nullifier()).to_vec())),
        ),
    ] {
        let (version, network, member_id) = (VERSION, network.genesis.network(), party(member));
        let envelope =
            Envelope { version, network, member: member_id, key: 0, lane: 0, sequence, expires_at, tx };
        let signed = envelope.sign(&member_key(member));
        let outcome = execute(&state, &signed, &context).unwrap();
        state.apply(outcome.writes);
        body.envelopes.push(signed.bytes().to_vec());
        body.items.push(outcome.items);
    }
    body
}

fn header(network: &Network, body: &Body) -> Header {
    Header { receipts: body.receipts_root(), body: Body::digest(&body.to_bytes()), ..network.header(42) }
}

/// A receipt for each item of the block.
pub(crate) fn receipts(network: &Network) -> Vec<ReceiptProof> {
    let body = body(network);
    let finality = network.prove(header(network, &body));
    let places =
        body.items.iter().zip(0..).flat_map(|(items, e)| (0..items.len() as u32).map(move |i| (e, i)));
    places.map(|(e, i)| ReceiptProof::of(finality.clone(), &body, e, i).unwrap()).collect()
}

#[test]
fn every_item_of_a_block_has_its_receipt() {
    let network = Network::new("receipts", 4);
    let body = body(&network);
    let shapes: Vec<usize> = body.items.iter().map(Vec::len).collect();
    assert_eq!(shapes, [3, 2, 1, 1, 2, 1, 2]);
    let outcome = |e: usize, i: usize| body.items[e][i].outcome;
    assert_eq!(outcome(0, 1), ItemOutcome::Rejected(RejectCode::UnknownAgreement));
    assert_eq!(outcome(2, 0), ItemOutcome::ACCEPTED);
    assert_eq!(outcome(3, 0), ItemOutcome::Rejected(RejectCode::Expired));
    assert_eq!(outcome(5, 0), ItemOutcome::Rejected(RejectCode::UnknownVoucherKey));
    assert_eq!(outcome(6, 1), ItemOutcome::ACCEPTED);
    for proof in receipts(&network) {
        let receipt = proof.verify(&network.trust).unwrap();
        let (e, i) = (receipt.envelope_index() as usize, receipt.item_index() as usize);
        assert_eq!(*receipt.item(), body.items[e][i]);
        assert_eq!(receipt.envelope(), Digest::of(&body.envelopes[e]));
        assert_eq!(receipt.header().header(), &proof.finality.header);
        match (e, receipt.content().unwrap()) {
            (0, Content::Record(cdr)) => assert_eq!(**cdr, record(i as u64, 2)),
            (1, Content::Reservation(found)) => {
                assert_eq!(found.session, Digest::of_value("session", &(i as u64)));
            }
            (2 | 3, Content::Envelope(bytes)) => assert_eq!(*bytes, body.envelopes[e]),
            (4, Content::VoucherReservation(found)) => {
                assert_eq!(**found, voucher_reservation([1, 2][i]));
            }
            (5, Content::VoucherRefund(found)) => assert_eq!(**found, signed_voucher(3)),
            (6, Content::VoucherBlock(found)) => {
                assert_eq!(*found, signed_voucher([4, 5][i]).voucher.nullifier());
            }
            (_, other) => panic!("item {i} of envelope {e} is about {other:?}"),
        }
    }
}

#[test]
fn a_receipt_says_which_voucher_and_what_was_agreed_to_with_it() {
    let network = Network::new("vouchers", 4);
    let says = |place: usize| {
        let text = Document::Receipt(receipts(&network)[place].clone()).encode();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["says"].clone()
    };
    // After three records, two reservations, a deposit and a late envelope.
    let reserved = says(7);
    let nullifier = signed_voucher(1).voucher.nullifier().to_string();
    assert_eq!(
        reserved["voucher"],
        serde_json::json!({
            "nullifier": nullifier, "issuer": "PT-CPO", "pays_at_most": "30.00 EUR", "operator": "PT-CPO",
            "limit": "12.50 EUR", "accepted_at": at(5).to_string(),
        })
    );
    let refunded = says(9);
    assert_eq!(refunded["voucher"]["pays_at_most"], "30.00 EUR");
    assert!(refunded["voucher"].get("limit").is_none());
    let blocked = says(10);
    let nullifier = signed_voucher(4).voucher.nullifier().to_string();
    assert_eq!(blocked["voucher"], serde_json::json!({ "nullifier": nullifier }));
    assert!(says(0).get("voucher").is_none());
}

#[test]
fn there_is_no_receipt_of_what_is_not_in_the_block() {
    let network = Network::new("none", 1);
    let body = body(&network);
    let finality = network.prove(header(&network, &body));
    for (envelope, item) in [(0, 3), (2, 1), (7, 0), (u32::MAX, 0), (0, u32::MAX)] {
        assert_eq!(ReceiptProof::of(finality.clone(), &body, envelope, item), None);
    }
}

#[test]
fn an_altered_receipt_is_refused_whatever_was_altered() {
    let network = Network::new("altered", 4);
    let all = receipts(&network);
    let (proof, other) = (&all[1], &all[2]);
    let refused = |name: &str, alter: &dyn Fn(&mut ReceiptProof)| {
        let mut altered = proof.clone();
        alter(&mut altered);
        let error = altered.verify(&network.trust).expect_err(name);
        // Without its content no receipt proves more.
        altered.content = None;
        assert!(altered.verify(&network.trust).is_err() || name == "content", "{name}");
        error
    };
    let accepted = ItemOutcome::ACCEPTED;
    let error = refused("outcome", &|p| p.item.outcome = accepted);
    assert!(matches!(error, ReceiptError::WrongRoot { envelope: 0, item: 1, .. }));
    let error = refused("content", &|p| p.content = other.content.clone());
    assert!(matches!(error, ReceiptError::WrongContent { .. }));
    let error = refused("item", &|p| (p.item, p.content) = (other.item, other.content.clone()));
    assert!(matches!(error, ReceiptError::WrongRoot { .. }));
    let error = refused("envelope", &|p| p.envelope = Digest::ZERO);
    assert!(matches!(error, ReceiptError::WrongRoot { .. }));
    let error = refused("another place", &|p| p.item_path = other.item_path.clone());
    assert!(matches!(error, ReceiptError::WrongRoot { item: 2, .. }));
    let error = refused("another envelope's place", &|p| p.envelope_path = all[3].envelope_path.clone());
    assert!(matches!(error, ReceiptError::WrongRoot { envelope: 1, .. }));
    let error = refused("a missing neighbour", &|p| {
        let steps = p.envelope_path.steps()[1..].to_vec();
        p.envelope_path = Path::new(0, steps).unwrap();
    });
    assert!(matches!(error, ReceiptError::WrongRoot { .. }));
    let error = refused("another block", &|p| p.finality.header.receipts = Digest::ZERO);
    assert!(matches!(error, ReceiptError::Finality(FinalityError::WrongBlock { .. })));
    let error = refused("another network", &|p| p.finality.network = Digest::ZERO);
    assert!(matches!(error, ReceiptError::Finality(FinalityError::WrongNetwork { .. })));
}

/// The last of three leaves looks like the second of two: only its index in the leaf tells them apart.
#[test]
fn an_index_cannot_be_lied_about() {
    let network = Network::new("index", 1);
    let mut proof = receipts(&network).remove(2);
    assert_eq!((proof.item_path.index(), proof.item_path.steps()[0]), (2, None));
    proof.item_path = Path::new(1, proof.item_path.steps()[1..].to_vec()).unwrap();
    assert!(matches!(proof.verify(&network.trust), Err(ReceiptError::WrongRoot { item: 1, .. })));
}

#[test]
fn a_receipt_means_nothing_under_another_genesis() {
    let (network, other) = (Network::new("mine", 4), Network::new("theirs", 4));
    let text = Document::Receipt(receipts(&network).remove(0)).encode();
    let document = Document::decode(text.as_bytes()).unwrap();
    assert!(document.verify(&network.trust).is_ok());
    assert!(matches!(
        document.verify(&other.trust),
        Err(DocumentError::Receipt(ReceiptError::Finality(FinalityError::WrongNetwork { .. })))
    ));
}

#[test]
fn a_receipt_of_a_block_that_a_descendant_finalized_travels_with_the_headers_between() {
    let network = Network::new("between", 4);
    let body = body(&network);
    let mut chain = network.chain(42, 3);
    chain[0].receipts = body.receipts_root();
    chain[1].parent = chain[0].digest();
    chain[2].parent = chain[1].digest();
    let mut finality = network.prove(chain[2]);
    (finality.header, finality.descendants) = (chain[0], chain[1..].to_vec());
    let document = Document::Receipt(ReceiptProof::of(finality, &body, 0, 0).unwrap());
    let read = Document::decode(document.encode().as_bytes()).unwrap();
    assert_eq!(read, document);
    assert!(read.verify(&network.trust).is_ok());
}

#[test]
fn the_largest_record_fits_into_a_receipt_and_a_larger_envelope_is_left_out() {
    let largest = Content::Record(Box::new(record(1, 512)));
    assert!(largest.to_bytes().len() <= CONTENT_BYTES_MAX / 2, "{}", largest.to_bytes().len());
    let network = Network::new("large", 1);
    let mut body = body(&network);
    let place = body.envelopes.len();
    let envelope = vec![1; CONTENT_BYTES_MAX + 1];
    let item = Item { hash: Digest::of(&envelope), outcome: ItemOutcome::Rejected(RejectCode::BatchSize) };
    body.envelopes.push(envelope.clone());
    body.items.push(vec![item]);
    let finality = network.prove(header(&network, &body));
    let mut proof = ReceiptProof::of(finality, &body, place as u32, 0).unwrap();
    assert_eq!(proof.content, None);
    assert!(proof.verify(&network.trust).is_ok());
    proof.content = Some(Content::Envelope(envelope));
    let too_large = ReceiptError::ContentTooLarge(CONTENT_BYTES_MAX + 1);
    assert_eq!(proof.verify(&network.trust), Err(too_large));
}

/// A proof that a key has a value, and one that another has none.
pub(crate) fn state_proofs(network: &Network) -> [StateProof; 2] {
    with_db(|db| async move {
        let changes = (0u8..50).map(|n| (vec![n; 9], Some(vec![n; usize::from(n)])));
        let db = apply(db, changes.collect(), None).await;
        let finality = network.prove(header_of(network, &db));
        let inclusion = db.key_value_proof(stored_key(&[7; 9])).await.unwrap().encode().to_vec();
        let exclusion = db.exclusion_proof(&stored_key(b"none")).await.unwrap().encode().to_vec();
        let (key, value) = (vec![7; 9], Some(vec![7; 7]));
        [
            StateProof { finality: finality.clone(), key, value, proof: inclusion },
            StateProof { finality, key: b"none".to_vec(), value: None, proof: exclusion },
        ]
    })
}

#[test]
fn files_say_what_they_prove() {
    let network = Network::new("says", 4);
    let text = Document::Receipt(receipts(&network).remove(0)).encode();
    println!("receipt of {} bytes:\n{text}", text.len());
    let start = r#"{
  "format": "eroam-receipt/1",
  "says": {
    "height": 42,
    "time": "2025-02-19T21:20:00.123Z",
    "outcome": {
      "rejected": "unknown_agreement"
    },
    "record": {
      "id": "cdr-0",
      "start": "2025-02-19T21:20:00Z",
      "end": "2025-02-19T22:20:00Z",
      "energy": "10.00 kWh",
      "price_excl_vat": "3.50 EUR",
      "price_incl_vat": "4.305 EUR"
    }
  },
  "network": ""#;
    assert!(text.starts_with(start), "{text}");
    let [inclusion, _] = state_proofs(&network);
    let text = Document::State(inclusion).encode();
    let start = r#"{
  "format": "eroam-state/1",
  "says": {
    "height": 42,
    "time": "2025-02-19T21:20:00.123Z"
  },
  "network": ""#;
    assert!(text.starts_with(start), "{text}");
    println!("state proof of {} bytes", text.len());
}

#[test]
fn a_file_is_read_back_and_verified() {
    let network = Network::new("files", 4);
    let receipts = receipts(&network).into_iter().map(Document::Receipt);
    for document in receipts.chain(state_proofs(&network).map(Document::State)) {
        let read = Document::decode(document.encode().as_bytes()).unwrap();
        assert_eq!(read, document);
        match (read.verify(&network.trust).unwrap(), document) {
            (Verified::Receipt(receipt), Document::Receipt(proof)) => assert_eq!(*receipt.item(), proof.item),
            (Verified::State(entry), Document::State(proof)) => {
                assert_eq!((entry.key(), entry.value()), (proof.key.as_slice(), proof.value.as_deref()));
                assert_eq!(entry.header().header(), &proof.finality.header);
            }
            (verified, _) => panic!("the file proves something else: {verified:?}"),
        }
    }
}

fn check(network: &Network, text: &[u8]) -> Result<Verified, DocumentError> {
    Document::decode(text)?.verify(&network.trust)
}

#[test]
fn every_flipped_bit_of_a_receipt_file_is_refused() {
    let network = Network::new("flip", 1);
    let text = Document::Receipt(receipts(&network).remove(2)).encode();
    assert!(check(&network, text.as_bytes()).is_ok());
    for (bit, other) in flipped(text.as_bytes()) {
        assert!(check(&network, &other).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&other));
    }
}

#[test]
fn every_flipped_bit_of_a_state_file_is_refused() {
    let network = Network::new("flip", 1);
    for proof in state_proofs(&network) {
        let text = Document::State(proof.clone()).encode();
        assert!(check(&network, text.as_bytes()).is_ok());
        for (bit, other) in flipped(text.as_bytes()) {
            assert!(
                check(&network, &other).is_err() || is_missing_beside(&proof, &other),
                "bit {bit}: {}",
                String::from_utf8_lossy(&other)
            );
        }
    }
}

/// Whether a file says nothing else than that another key is missing, which would stand beside the one that `proof` says
/// is missing: what proves that the one is missing proves it of all between the same neighbours.
fn is_missing_beside(proof: &StateProof, other: &[u8]) -> bool {
    let Ok(Document::State(other)) = Document::decode(other) else { return false };
    let beside = stored_key(&other.key).iter().zip(stored_key(&proof.key)).take(6).all(|(a, b)| *a == b);
    beside && proof.value.is_none() && other == StateProof { key: other.key.clone(), ..proof.clone() }
}

#[test]
fn a_state_proof_of_another_key_or_value_is_refused() {
    let network = Network::new("other", 1);
    let [inclusion, exclusion] = state_proofs(&network);
    assert!(inclusion.verify(&network.trust).is_ok() && exclusion.verify(&network.trust).is_ok());
    for alter in [
        |p: &mut StateProof| p.key.push(0),
        |p: &mut StateProof| p.value = None,
        |p: &mut StateProof| p.value = Some(b"more".to_vec()),
        |p: &mut StateProof| p.proof.clear(),
        |p: &mut StateProof| p.finality.header.state = Digest::ZERO,
    ] {
        let mut altered = inclusion.clone();
        alter(&mut altered);
        assert!(altered.verify(&network.trust).is_err());
    }
    let mut altered = exclusion;
    altered.key = vec![7; 9];
    assert!(altered.verify(&network.trust).is_err());
    altered.value = Some(vec![7; 7]);
    assert!(altered.verify(&network.trust).is_err());
}

#[test]
fn a_file_with_anything_more_less_or_else_is_refused() {
    let network = Network::new("text", 1);
    let text = Document::Receipt(receipts(&network).remove(0)).encode();
    let json = |text: String| matches!(Document::decode(text.as_bytes()), Err(DocumentError::Json(_)));
    let altered = |text: String| matches!(Document::decode(text.as_bytes()), Err(DocumentError::Altered));
    assert!(json(text.replacen("eroam-receipt/1", "eroam-receipt/2", 1)));
    assert!(json(text.replacen("eroam-receipt/1", "eroam-state/1", 1)));
    assert!(json(text.replacen("{", "{\n  \"more\": 1,", 1)));
    assert!(json(text.replacen("\"certificate\"", "\"certificates\"", 1)));
    assert!(json(text.trim_end().trim_end_matches('}').to_owned()));
    assert!(json(format!("{text}{text}")));
    assert!(altered(format!("{text}\n")));
    assert!(altered(text.replacen("  ", "\t", 1)));
    assert!(altered(text.replacen("\"height\": 42", "\"height\": 43", 1)));
    assert!(altered(text.replacen("unknown_agreement", "no_price", 1)));
    assert!(altered(text.replacen("4.305 EUR", "4.30 EUR", 1)));
    let no_headers = without_headers(&text);
    assert!(matches!(
        Document::decode(no_headers.as_bytes()),
        Err(DocumentError::Field { field: "headers", .. })
    ));
    let large = " ".repeat(FILE_BYTES_MAX + 1);
    assert_eq!(Document::decode(large.as_bytes()), Err(DocumentError::TooLarge(FILE_BYTES_MAX + 1)));
    assert!(json("{".repeat(FILE_BYTES_MAX)) && json("[".repeat(FILE_BYTES_MAX)));
}

/// The text with an empty list of headers.
fn without_headers(text: &str) -> String {
    let (before, rest) = text.split_once("\"headers\": [").unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    format!("{before}\"headers\": []{after}")
}

#[test]
fn a_file_of_the_longest_chain_and_the_largest_network_is_within_the_limit() {
    let network = Network::new("longest", eroam_ledger::genesis::VALIDATORS_MAX);
    let chain = network.chain(100, 1 + eroam_light::trust::DESCENDANTS_MAX as u64);
    let mut finality = network.prove(*chain.last().unwrap());
    (finality.header, finality.descendants) = (chain[0], chain[1..].to_vec());
    let proof = StateProof {
        finality,
        key: vec![0; 512],
        value: None,
        proof: vec![0; eroam_light::state::PROOF_BYTES_MAX],
    };
    let text = Document::State(proof).encode();
    assert!(text.len() <= FILE_BYTES_MAX, "{} bytes", text.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn altered_files_never_panic(at: prop::sample::Index, bytes in prop::collection::vec(any::<u8>(), 1..40)) {
        let network = Network::new("panic", 1);
        let mut text = Document::Receipt(receipts(&network).remove(0)).encode().into_bytes();
        let start = at.index(text.len());
        let end = (start + bytes.len()).min(text.len());
        let same = text[start..end] == bytes;
        text.splice(start..end, bytes);
        prop_assert!(same || check(&network, &text).is_err());
    }

    #[test]
    fn any_block_proves_each_of_its_items(shape in prop::collection::vec(0usize..12, 1..20)) {
        let network = Network::new("any", 1);
        let item = |n: u64| Item { hash: Digest::of_value("item", &n), outcome: ItemOutcome::ACCEPTED };
        let items: Vec<Vec<Item>> = shape.iter().map(|count| (0..*count as u64).map(item).collect()).collect();
        let envelopes = (0..shape.len()).map(|n| to_bytes(&(n as u64))).collect();
        let body = Body { envelopes, items };
        let finality = network.prove(header(&network, &body));
        for (envelope, count) in shape.iter().enumerate() {
            for item in 0..*count as u32 {
                let proof = ReceiptProof::of(finality.clone(), &body, envelope as u32, item).unwrap();
                prop_assert!(proof.verify(&network.trust).is_ok());
            }
        }
    }
}
