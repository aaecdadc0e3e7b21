//! What the fuzz targets of `eroam-ssi` do with their bytes: they read them as somebody else's, and say whether they were
//! accepted. What was accepted is written and must be read again.

#[path = "target.rs"]
mod target;

use eroam_domain::time::UnixMillis;
use eroam_ssi::anoncreds::{
    Credential, CredentialDefinition, CredentialOffer, CredentialRequest, ObjectId, Presentation,
    ProofRequest, RevocationRegistryDefinition, Schema, StatusDelta, StatusList, Tails,
};
use eroam_ssi::custody::{HolderVault, Passphrase};
use eroam_ssi::did::{self, Did, Document};
use eroam_ssi::didcomm::{Attachment, Channel, Message, MessageId, Opened, SigningKey, unpack};
use eroam_ssi::json;
use eroam_ssi::protocol::did_exchange::Responder;
use eroam_ssi::protocol::issue_credential::{Holder, Issuer};
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::present_proof::{Prover, Verifier};
use eroam_ssi::protocol::{
    Conversation, Incoming, basic_message, discover_features, notification, problem_report,
};
use eroam_ssi::sd_jwt::{PresentedSdJwt, SigningKey as Es256Key, TrustedIssuer, VerifiedStatusList};
use target::Target;

/// Every target by its name, which is also that of its corpus.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("attachment", attachment),
    ("basic_message", |b| Message::parse(b).is_ok_and(|m| basic_message::read(&m).is_ok())),
    ("credential", |b| again(b, |b| Credential::from_json(b).ok(), Credential::to_json)),
    ("credential_definition", |b| {
        again(b, |b| CredentialDefinition::from_json(b).ok(), CredentialDefinition::to_json)
    }),
    ("credential_offer", |b| again(b, |b| CredentialOffer::from_json(b).ok(), CredentialOffer::to_json)),
    ("credential_request", |b| {
        again(b, |b| CredentialRequest::from_json(b).ok(), CredentialRequest::to_json)
    }),
    ("did", |b| text(b).and_then(|t| Did::parse(t).ok()).is_some_and(|did| did::resolve(&did).is_ok())),
    ("did_document", |b| {
        again(b, |b| Document::from_json(b).ok(), |document| document.to_json().to_string().into_bytes())
    }),
    ("did_exchange", did_exchange),
    ("discover_features", |b| {
        incoming(b).is_some_and(|i| discover_features::answer(&i, &[], i.message().id().clone()).is_ok())
    }),
    ("envelope", |b| {
        let ours = key(2);
        unpack(b, |wanted| (*wanted == ours.verification_key()).then_some(&ours)).is_ok()
    }),
    ("invitation", |b| {
        let read = Invitation::parse(b).is_ok();
        read || text(b).is_some_and(|url| Invitation::from_url(url).is_ok())
    }),
    ("issue_credential", issue_credential),
    ("json", |b| json::value(b, 1 << 16).is_ok()),
    ("message", |b| again(b, |b| Message::parse(b).ok(), Message::to_bytes)),
    ("notification", |b| Message::parse(b).is_ok_and(|m| notification::read(&m).is_ok())),
    ("object_id", |b| text(b).is_some_and(|t| ObjectId::new(t).is_ok())),
    ("present_proof", present_proof),
    ("presentation", |b| again(b, |b| Presentation::from_json(b).ok(), Presentation::to_json)),
    ("problem_report", |b| Message::parse(b).is_ok_and(|m| problem_report::read(&m).is_ok())),
    ("proof_request", |b| again(b, |b| ProofRequest::from_json(b).ok(), ProofRequest::to_json)),
    ("registry_definition", |b| {
        again(b, |b| RevocationRegistryDefinition::from_json(b).ok(), RevocationRegistryDefinition::to_json)
    }),
    ("sd_jwt", |b| text(b).is_some_and(|t| PresentedSdJwt::parse(t).is_ok())),
    ("sd_jwt_status_list", sd_jwt_status_list),
    ("schema", |b| again(b, |b| Schema::from_json(b).ok(), Schema::to_json)),
    ("status_delta", |b| again(b, |b| StatusDelta::from_json(b).ok(), StatusDelta::to_json)),
    ("status_list", |b| again(b, |b| StatusList::from_json(b).ok(), StatusList::to_json)),
    ("tails", tails),
    ("vault", vault),
];

/// Who issues the lists of the corpus, and under which name.
pub(crate) const LIST_ISSUER: &str = "did:eroam:operator";
/// The name of the list.
pub(crate) const LIST_URI: &str = "https://operator.example/list";

/// The key of that issuer.
pub(crate) fn list_key() -> Es256Key {
    Es256Key::from_scalar(&[1; 32]).unwrap_or_else(|_| unreachable!("ones are a scalar"))
}

/// What the vaults of the corpus are closed with.
pub(crate) fn passphrase() -> Passphrase {
    Passphrase::new("open".to_owned().into()).unwrap_or_else(|_| unreachable!("it is not empty"))
}

fn sd_jwt_status_list(bytes: &[u8]) -> bool {
    let issuer = TrustedIssuer::new(LIST_ISSUER, list_key().verifying_key());
    let (Some(issuer), Some(text)) = (issuer, text(bytes)) else { return false };
    VerifiedStatusList::verify(text, &issuer, LIST_URI, now(), now()).is_ok()
}

fn vault(bytes: &[u8]) -> bool {
    HolderVault::open(bytes, &passphrase()).is_ok()
}

/// Runs one target.
pub(crate) fn run(name: &str, bytes: &[u8]) -> bool {
    target::run(TARGETS, name, bytes)
}

/// Whether bytes are read; what was read is written, and must be read again.
fn again<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Option<T>, write: impl Fn(&T) -> Vec<u8>) -> bool {
    let Some(value) = read(bytes) else { return false };
    assert!(read(&write(&value)).is_some(), "what was written is not read");
    true
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn now() -> UnixMillis {
    UnixMillis::EPOCH
}

fn channel(ours: u8, theirs: u8) -> Channel {
    Channel { ours: key(ours).verification_key(), theirs: key(theirs).verification_key() }
}

/// The bytes as what was in an envelope.
fn received(bytes: &[u8], channel: Channel) -> Option<Incoming> {
    let (recipient, sender) = (channel.ours, Some(channel.theirs));
    Incoming::read(&Opened { plaintext: bytes.to_vec().into(), recipient, sender, recipients: 1 }).ok()
}

fn incoming(bytes: &[u8]) -> Option<Incoming> {
    received(bytes, channel(2, 1))
}

/// The conversation that the message claims, so that no target ends at another thread's.
fn conversation(incoming: &Incoming) -> Conversation {
    Conversation::new(incoming.channel(), incoming.message().thread().clone(), now())
}

fn attachment(bytes: &[u8]) -> bool {
    let Ok(value) = json::value(bytes, 1 << 16) else { return false };
    let Ok(attachment) = Attachment::from_value(&value) else { return false };
    let _ = attachment.verify();
    assert!(Attachment::from_value(&attachment.to_value()).is_ok(), "what was written is not read");
    true
}

/// The registry's definition, a line's end, and the file.
fn tails(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return false };
    let (definition, file) = bytes.split_at(end);
    RevocationRegistryDefinition::from_json(definition)
        .is_ok_and(|definition| Tails::open(file.get(1..).unwrap_or_default().to_vec(), &definition).is_ok())
}

/// The keys are those of the recorded exchange: the invitation's, and the wallet's.
fn did_exchange(bytes: &[u8]) -> bool {
    let Some(incoming) = received(bytes, channel(31, 33)) else { return false };
    let parent: Option<&MessageId> = incoming.message().parent_thread();
    let Some(invitation) = parent.cloned() else { return false };
    let state = Responder::Invited { invitation, key: incoming.channel().ours, deadline: now() };
    state.handle(&incoming, now(), did::resolve).is_ok()
}

fn issue_credential(bytes: &[u8]) -> bool {
    let Some(incoming) = incoming(bytes) else { return false };
    let conversation = conversation(&incoming);
    let issuers = [Issuer::Offered(conversation.clone()), Issuer::Issued(conversation.clone())];
    let issuers = issuers.iter().filter(|state| state.handle(&incoming, now()).is_ok()).count();
    let holder = Holder::Proposed(conversation).handle(&incoming, now()).is_ok();
    let begun =
        [Holder::offered(&incoming, now(), now()).is_ok(), Issuer::proposed(&incoming, now(), now()).is_ok()];
    issuers > 0 || holder || begun.contains(&true)
}

fn present_proof(bytes: &[u8]) -> bool {
    let Some(incoming) = incoming(bytes) else { return false };
    let conversation = conversation(&incoming);
    let provers = [Prover::Proposed(conversation.clone()), Prover::Presented(conversation.clone())];
    let provers = provers.iter().filter(|state| state.handle(&incoming, now()).is_ok()).count();
    let verifier: Verifier<()> = Verifier::Requested { conversation, will_confirm: true };
    let verifier = verifier.handle(&incoming, now()).is_ok();
    let begun = [
        Prover::requested(&incoming, now(), now()).is_ok(),
        Verifier::<()>::proposed(&incoming, now(), now()).is_ok(),
    ];
    provers > 0 || verifier || begun.contains(&true)
}
