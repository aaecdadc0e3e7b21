//! What a driver's credential costs: to issue, to show, to check, and the sealed messages that carry it; beside it the
//! library of the cryptography alone.
//!
//! Ours and the library take turns, so that a machine that gets slower meanwhile makes both slower. The library's
//! values are parsed beforehand and stay in memory; ours go through JSON and all checks, as between agents.

use super::BadWorkload;
use anoncreds_clsignatures as cl;
use eroam_ssi::anoncreds::issuer::{self, NewCredentialDefinition, NewRegistry, Place, RegistrySecret};
use eroam_ssi::anoncreds::{
    AnonCredsError, AttributeValues, Comparison, Credential, CredentialDefinition, CredentialOffer,
    CredentialRequest, Freshness, FreshnessPolicy, HeldCredential, KnownObjects, LinkSecret, ObjectId,
    PendingCredential, Prepared, Presentation, ProofRequest, Restriction, RevocationIndex,
    RevocationRegistryDefinition, Schema, Selection, StatusDelta, StatusList, Tails, Timestamp, WitnessState,
    encode, holder, limits, normalise, prepared, verifier,
};
use eroam_ssi::didcomm::{Message, MessageId, MessageType, OsRng, SigningKey, pack, unpack};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// Places in the registry that credentials are issued from and shown with.
const REGISTRY: u32 = 1_000;
/// The holder's place.
const INDEX: u32 = 5;
/// The instant of the first status list, in seconds.
const START: u64 = 1_795_000_000;
/// Bytes of the sealed message's content.
const CONTENT_BYTES: usize = 10_000;
/// What the revocations of the larger registry cover: a hundred places, none of them the holder's.
const REVOKED: std::ops::Range<u32> = 100..200;
/// Attributes that are compared, and with what, in this order.
const COMPARED: [(&str, i32); PREDICATES_MAX] = [("expiry", 20_261_122), ("limit_day", 50)];
/// How many comparisons a request can have here.
pub const PREDICATES_MAX: usize = 2;
/// The smallest larger registry: all of its hundred revocations have their places.
pub const REGISTRY_MIN: u32 = REVOKED.end + 1;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct CredentialsSetup {
    /// How often each; medians are taken.
    pub runs: usize,
    /// Comparisons in the request, at most [`PREDICATES_MAX`].
    pub predicates: usize,
    /// Also make a registry of so many places and revoke a hundred of them; at least [`REGISTRY_MIN`].
    pub registry: Option<u32>,
}

/// What credentials and their messages cost. Times are medians in milliseconds, on one core where nothing else is said.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CredentialsMeasured {
    /// How often each was done.
    pub runs: usize,
    /// Comparisons in the request.
    pub predicates: usize,
    /// Request, signature and acceptance of a revocable credential of eight attributes, through JSON.
    pub issue_ms: f64,
    /// The share of a presentation that is computed before the nonce is known.
    pub prepare_ms: f64,
    /// The share of a presentation that needs the nonce, and its JSON.
    pub finalize_ms: f64,
    /// A presentation read and verified: zones and tariff shown, not revoked, comparisons.
    pub verify_ms: f64,
    /// A message of ten kilobytes sealed for one recipient, authenticated.
    pub pack_ms: f64,
    /// The same opened.
    pub unpack_ms: f64,
    /// The library alone, from request to acceptance.
    pub bare_issue_ms: f64,
    /// The library alone: the whole proof.
    pub bare_prove_ms: f64,
    /// The library alone: a proof read and verified.
    pub bare_verify_ms: f64,
    /// Threads that verify at once: one for each core.
    pub threads: usize,
    /// Verifications per second on one thread.
    pub verify_per_s_one: f64,
    /// Verifications per second on all threads together.
    pub verify_per_s_all: f64,
    /// Time per verification when all threads verify.
    pub verify_threads_ms: f64,
    /// How many times as many verifications all threads do.
    pub verify_threads_speedup: f64,
    /// How many malformed messages were refused.
    pub malformed_refused: usize,
    /// The longest that one of them took to be refused (its fastest of three).
    pub malformed_refused_ms_max: f64,
    /// The larger registry.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub large: Option<RegistryMeasured>,
}

/// What a larger registry costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RegistryMeasured {
    /// Its places.
    pub registry: u32,
    /// Making it and its tails, once.
    pub registry_create_s: f64,
    /// The tails file.
    pub tails_bytes: usize,
    /// The change that revokes a hundred, as JSON.
    pub delta_100_bytes: usize,
    /// A holder's witness brought up to date after a hundred revocations.
    pub witness_update_100_ms: f64,
}

fn bad(error: impl Display) -> BadWorkload {
    BadWorkload(error.to_string())
}

fn id(text: &str) -> Result<ObjectId, BadWorkload> {
    ObjectId::new(text).map_err(bad)
}

/// The issuer, its registry and a holder's credential.
struct World {
    schema_id: ObjectId,
    cred_def_id: ObjectId,
    schema: Schema,
    issuer: NewCredentialDefinition,
    registry: Registry,
    link_secret: LinkSecret,
    values: AttributeValues,
}

struct Registry {
    definition: RevocationRegistryDefinition,
    secret: RegistrySecret,
    tails: Tails,
    tails_bytes: usize,
    list: StatusList,
}

impl Registry {
    fn new(
        definition: &CredentialDefinition,
        cred_def_id: &ObjectId,
        size: u32,
    ) -> Result<Self, BadWorkload> {
        let new = NewRegistry {
            issuer_id: definition.issuer_id().clone(),
            cred_def_id: cred_def_id.clone(),
            tag: "0".to_owned(),
            size,
            tails_location: "https://emsp.example/tails".to_owned(),
        };
        let mut bytes = Vec::new();
        let (registry, secret) = issuer::new_registry(definition, new, &mut bytes).map_err(bad)?;
        let now = Timestamp::new(START).map_err(bad)?;
        let registry_id = id(&format!("{cred_def_id}/reg/0"))?;
        let list =
            issuer::first_status_list(definition, registry_id, &registry, &secret, now).map_err(bad)?;
        let tails_bytes = bytes.len();
        let tails = Tails::open(bytes, &registry).map_err(bad)?;
        Ok(Self { definition: registry, secret, tails, tails_bytes, list })
    }

    fn index(&self, index: u32) -> Result<RevocationIndex, BadWorkload> {
        RevocationIndex::new(index, self.definition.size()).map_err(bad)
    }

    fn witness(&self) -> Result<WitnessState, BadWorkload> {
        WitnessState::create(&self.definition, self.index(INDEX)?, &self.list, &self.tails).map_err(bad)
    }

    fn fresh(&self) -> FreshnessPolicy {
        FreshnessPolicy::new()
            .with(self.list.registry_id().clone(), Freshness::Exactly(self.list.timestamp()))
    }
}

/// The messages of an issuance.
struct Issued {
    offer: Vec<u8>,
    request: Vec<u8>,
    credential: Vec<u8>,
    held: HeldCredential,
}

impl World {
    fn new(say: &mut dyn FnMut(&str)) -> Result<Self, BadWorkload> {
        let values = AttributeValues::new([
            ("customer id", "C-4711"),
            ("name", "Ada"),
            ("contract", "DE*EMS*C1"),
            ("limit_day", "80"),
            ("allowed_zones", "A,B"),
            ("tariff", "std"),
            ("issued", "20261121"),
            ("expiry", "20301231"),
        ])
        .map_err(bad)?;
        let issuer_id = id("did:eroam:emsp")?;
        let (schema_id, cred_def_id) =
            (id("did:eroam:emsp/schema/driver")?, id("did:eroam:emsp/def/driver")?);
        let names: Vec<&str> = values.iter().map(|(name, _)| name).collect();
        let schema = Schema::new(issuer_id.clone(), "driver", "1.0", names).map_err(bad)?;
        say("making an issuer's key: safe primes, up to a minute");
        let issuer = issuer::new_credential_definition(issuer_id, schema_id.clone(), &schema, "1", true)
            .map_err(bad)?;
        say(&format!("making a registry of {REGISTRY} places"));
        let registry = Registry::new(&issuer.definition, &cred_def_id, REGISTRY)?;
        let link_secret = LinkSecret::random().map_err(bad)?;
        Ok(Self { schema_id, cred_def_id, schema, issuer, registry, link_secret, values })
    }

    fn objects(&self) -> KnownObjects {
        let mut objects = KnownObjects::new();
        objects.add_schema(self.schema_id.clone(), self.schema.clone());
        objects.add_credential_definition(self.cred_def_id.clone(), self.issuer.definition.clone());
        objects.add_registry(self.registry.list.registry_id().clone(), self.registry.definition.clone());
        objects.add_status_list(self.registry.list.clone());
        objects
    }

    fn offer(&self) -> Result<Vec<u8>, BadWorkload> {
        let (schema, definition) = (self.schema_id.clone(), self.cred_def_id.clone());
        Ok(issuer::offer(schema, definition, &self.issuer.key_correctness).map_err(bad)?.to_json())
    }

    fn issue(&self, offer: Vec<u8>) -> Result<Issued, AnonCredsError> {
        let (definition, registry) = (&self.issuer.definition, &self.registry);
        let offered = CredentialOffer::from_json(&offer)?;
        let (request, pending) = holder::request(&offered, &self.cred_def_id, definition, &self.link_secret)?;
        let request = request.to_json();
        let asked = CredentialRequest::from_json(&request)?;
        let place = Place {
            registry: &registry.definition,
            secret: &registry.secret,
            list: &registry.list,
            index: RevocationIndex::new(INDEX, registry.definition.size())?,
        };
        let issued =
            issuer::issue(definition, &self.issuer.secret, &offered, &asked, &self.values, Some(place))?;
        let credential = issued.to_json();
        let received = Credential::from_json(&credential)?;
        let pending = PendingCredential::import_secret(&pending.export_secret()?)?;
        let known = Some(&registry.definition);
        let held = pending.accept(received, &self.link_secret, definition, known, &self.values)?;
        Ok(Issued { offer, request, credential, held })
    }

    fn request(&self, predicates: usize) -> Result<ProofRequest, BadWorkload> {
        let ours = || Restriction::cred_def(&self.cred_def_id);
        let now = Timestamp::new(START + 100_000).map_err(bad)?;
        let request = ProofRequest::builder("charge", "1.0")
            .group("zones", ["allowed_zones", "tariff"], ours())
            .non_revoked(self.registry.fresh().interval(now));
        let compared = COMPARED.iter().take(predicates);
        compared
            .fold(request, |request, (name, bound)| {
                request.predicate(&format!("{name} suffices"), name, Comparison::AtLeast, *bound, ours())
            })
            .build()
            .map_err(bad)
    }

    fn prepare(
        &self,
        request: &ProofRequest,
        held: &HeldCredential,
        witness: &WitnessState,
        objects: &KnownObjects,
    ) -> Result<Prepared, BadWorkload> {
        let selection = Selection::choose(request, [(held, Some(witness))], objects).map_err(bad)?;
        prepared::prepare(request, &selection, &self.link_secret, objects).map_err(bad)
    }
}

fn parsed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, BadWorkload> {
    T::deserialize(value).map_err(bad)
}

fn value(bytes: &[u8]) -> Result<Value, BadWorkload> {
    serde_json::from_slice(bytes).map_err(bad)
}

/// The library alone, with everything parsed before.
struct Bare {
    key: cl::CredentialPublicKey,
    secret: cl::CredentialPrivateKey,
    correctness: cl::CredentialKeyCorrectnessProof,
    open: cl::CredentialSchema,
    blinded: cl::NonCredentialSchema,
    signature: cl::CredentialSignature,
    known: cl::CredentialValues,
    hidden: cl::CredentialValues,
    values: cl::CredentialValues,
    registry_key: cl::RevocationKeyPublic,
    registry_secret: cl::RevocationKeyPrivate,
    registry: cl::RevocationRegistry,
    witness: cl::Witness,
}

/// The name under which the library has the link secret.
const LINK_SECRET: &str = "master_secret";

impl Bare {
    fn new(world: &World, held: &HeldCredential, witness: &WitnessState) -> Result<Self, BadWorkload> {
        let definition = value(&world.issuer.definition.to_json())?;
        let mut open = cl::CredentialSchemaBuilder::new().map_err(bad)?;
        let mut blinded = cl::NonCredentialSchemaBuilder::new().map_err(bad)?;
        blinded.add_attr(LINK_SECRET).map_err(bad)?;
        let new_values = || cl::CredentialValuesBuilder::new().map_err(bad);
        let (mut known, mut hidden, mut values) = (new_values()?, new_values()?, new_values()?);
        for (name, raw) in world.values.iter() {
            let (name, number) = (normalise(name), encode(raw));
            open.add_attr(&name).map_err(bad)?;
            known.add_dec_known(&name, &number).map_err(bad)?;
            values.add_dec_known(&name, &number).map_err(bad)?;
        }
        let link_secret = world.link_secret.export_secret();
        hidden.add_dec_hidden(LINK_SECRET, &link_secret).map_err(bad)?;
        values.add_dec_hidden(LINK_SECRET, &link_secret).map_err(bad)?;
        let state = value(&witness.to_json().map_err(bad)?)?;
        let registry = value(&world.registry.definition.to_json())?;
        Ok(Self {
            key: cl::CredentialPublicKey::build_from_parts(
                &parsed(&definition["value"]["primary"])?,
                Some(&parsed(&definition["value"]["revocation"])?),
            )
            .map_err(bad)?,
            secret: parsed(&value(&world.issuer.secret.export_secret().map_err(bad)?)?)?,
            correctness: parsed(&value(&world.issuer.key_correctness.to_json())?)?,
            open: open.finalize().map_err(bad)?,
            blinded: blinded.finalize().map_err(bad)?,
            signature: parsed(&value(&held.export_secret())?["signature"])?,
            known: known.finalize().map_err(bad)?,
            hidden: hidden.finalize().map_err(bad)?,
            values: values.finalize().map_err(bad)?,
            registry_key: parsed(&registry["value"]["publicKeys"]["accumKey"])?,
            registry_secret: parsed(&value(&world.registry.secret.export_secret().map_err(bad)?)?)?,
            registry: parsed(&state["rev_reg"])?,
            witness: parsed(&state["witness"])?,
        })
    }

    fn issue(&self) -> Result<(), cl::Error> {
        let (offered, asked) = (cl::new_nonce()?, cl::new_nonce()?);
        let (blinded, factors, proof) =
            cl::Prover::blind_credential_secrets(&self.key, &self.correctness, &self.hidden, &offered)?;
        let mut registry = self.registry.clone();
        let (mut signature, correctness, witness, _) = cl::Issuer::sign_credential_with_revoc(
            "holder",
            &blinded,
            &proof,
            &offered,
            &asked,
            &self.known,
            &self.key,
            &self.secret,
            INDEX,
            REGISTRY,
            true,
            &mut registry,
            &self.registry_secret,
        )?;
        cl::Prover::process_credential_signature(
            &mut signature,
            &self.values,
            &correctness,
            &factors,
            &self.key,
            &asked,
            Some(&self.registry_key),
            Some(&registry),
            Some(&witness),
        )
    }

    fn asked(&self, predicates: usize) -> Result<cl::SubProofRequest, cl::Error> {
        let mut asked = cl::SubProofRequestBuilder::new()?;
        asked.add_revealed_attr("allowed_zones")?;
        asked.add_revealed_attr("tariff")?;
        for (name, bound) in COMPARED.iter().take(predicates) {
            asked.add_predicate(&normalise(name), "GE", *bound)?;
        }
        asked.finalize()
    }

    fn prove(&self, predicates: usize, nonce: &cl::Nonce) -> Result<cl::Proof, cl::Error> {
        let mut builder = cl::Prover::new_proof_builder()?;
        builder.add_common_attribute(LINK_SECRET)?;
        builder.add_sub_proof_request(
            &self.asked(predicates)?,
            &self.open,
            &self.blinded,
            &self.signature,
            &self.values,
            &self.key,
            Some(&self.registry),
            Some(&self.witness),
        )?;
        builder.finalize(nonce)
    }

    fn verify(&self, predicates: usize, proof: &cl::Proof, nonce: &cl::Nonce) -> Result<bool, cl::Error> {
        let mut verifier = cl::Verifier::new_proof_verifier()?;
        verifier.add_common_attribute(LINK_SECRET)?;
        let (asked, key, registry) = (self.asked(predicates)?, &self.registry_key, &self.registry);
        verifier.add_sub_proof_request(
            &asked,
            &self.open,
            &self.blinded,
            &self.key,
            Some(key),
            Some(registry),
        )?;
        verifier.verify(proof, nonce)
    }
}

/// Times of one kind.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    /// Does it and notes how long it took.
    fn take<T, E: Display>(&mut self, what: impl FnOnce() -> Result<T, E>) -> Result<T, BadWorkload> {
        let begun = Instant::now();
        let made = black_box(what());
        self.0.push(begun.elapsed());
        made.map_err(bad)
    }

    /// The median; of an even number the mean of the two in the middle.
    fn median_ms(mut self) -> f64 {
        self.0.sort_unstable();
        let (low, high) = (self.0.len().saturating_sub(1) / 2, self.0.len() / 2);
        let at = |place: usize| self.0.get(place).map_or(0.0, |d| d.as_secs_f64() * 1e3);
        f64::midpoint(at(low), at(high))
    }
}

/// Measures; `say` is told what is being done.
///
/// # Errors
/// [`BadWorkload`].
pub fn credentials(
    setup: CredentialsSetup,
    say: &mut dyn FnMut(&str),
) -> Result<CredentialsMeasured, BadWorkload> {
    let CredentialsSetup { runs, predicates, registry } = setup;
    let world = World::new(say)?;
    let (objects, policy) = (world.objects(), world.registry.fresh());
    let witness = world.registry.witness()?;
    let issued = world.issue(world.offer()?).map_err(bad)?;
    let request = world.request(predicates)?;
    let bare = Bare::new(&world, &issued.held, &witness)?;
    let (sender, recipient) = (SigningKey::generate(&mut OsRng), SigningKey::generate(&mut OsRng));
    let kind = MessageType::parse("https://didcomm.org/basicmessage/1.0/message")
        .ok_or_else(|| bad("a message's type"))?;
    let message =
        Message::new(kind, MessageId::random(&mut OsRng)).with("content", "x".repeat(CONTENT_BYTES));
    let plaintext = message.to_bytes();

    say(&format!("{runs} runs of everything"));
    let (mut issue, mut prepare, mut finalize) = (Times::default(), Times::default(), Times::default());
    let (mut verify, mut seal, mut open) = (Times::default(), Times::default(), Times::default());
    let (mut bare_issue, mut bare_prove, mut bare_verify) =
        (Times::default(), Times::default(), Times::default());
    let check = |json: &[u8]| -> Result<(), BadWorkload> {
        let presentation = Presentation::from_json(json).map_err(bad)?;
        verifier::verify(&presentation, &request, &objects, &policy).map_err(bad)?;
        Ok(())
    };
    let mut presentation = Vec::new();
    let mut envelope = Vec::new();
    for _ in 0..runs.max(1) {
        let offer = world.offer()?;
        issue.take(|| world.issue(offer))?;
        bare_issue.take(|| bare.issue())?;
        let ready = prepare.take(|| world.prepare(&request, &issued.held, &witness, &objects))?;
        presentation = finalize.take(|| ready.finalize(request.nonce()).map(|p| p.to_json()))?;
        let nonce = cl::new_nonce().map_err(bad)?;
        let proof = bare_prove.take(|| bare.prove(predicates, &nonce))?;
        let proof = serde_json::to_vec(&proof).map_err(bad)?;
        verify.take(|| check(&presentation))?;
        let holds = bare_verify.take(|| {
            let proof = serde_json::from_slice(&proof).map_err(bad)?;
            bare.verify(predicates, &proof, &nonce).map_err(bad)
        })?;
        if !holds {
            return Err(bad("the library's own proof"));
        }
        let to = [recipient.verification_key()];
        envelope = seal.take(|| pack(&plaintext, &to, Some(&sender), &mut OsRng))?;
        let mine = |wanted: &_| (recipient.verification_key() == *wanted).then_some(&recipient);
        open.take(|| unpack(&envelope, mine))?;
    }

    let threads = thread::available_parallelism().map_or(1, usize::from);
    say(&format!("verifying on {threads} threads at once"));
    let verify_per_s_one = verify_per_s(1, runs, || check(&presentation))?;
    let verify_per_s_all = verify_per_s(threads, runs, || check(&presentation))?;

    say("refusing malformed messages");
    let messages = Messages { world: &world, issued: &issued, request: &request, presentation, envelope };
    let (malformed_refused, slowest) = messages.refuse(&recipient, &plaintext)?;
    let large = registry.map(|size| large(&world, size, runs, say)).transpose()?;
    Ok(CredentialsMeasured {
        runs,
        predicates,
        issue_ms: issue.median_ms(),
        prepare_ms: prepare.median_ms(),
        finalize_ms: finalize.median_ms(),
        verify_ms: verify.median_ms(),
        pack_ms: seal.median_ms(),
        unpack_ms: open.median_ms(),
        bare_issue_ms: bare_issue.median_ms(),
        bare_prove_ms: bare_prove.median_ms(),
        bare_verify_ms: bare_verify.median_ms(),
        threads,
        verify_per_s_one,
        verify_per_s_all,
        verify_threads_ms: 1e3 / verify_per_s_all,
        verify_threads_speedup: verify_per_s_all / verify_per_s_one,
        malformed_refused,
        malformed_refused_ms_max: slowest.as_secs_f64() * 1e3,
        large,
    })
}

/// Verifications per second of so many threads, each of which does `runs`.
fn verify_per_s(
    threads: usize,
    runs: usize,
    check: impl Fn() -> Result<(), BadWorkload> + Sync,
) -> Result<f64, BadWorkload> {
    let runs = runs.max(1);
    let begun = Instant::now();
    thread::scope(|scope| {
        let work = || (0..runs).try_for_each(|_| check());
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().try_for_each(|one| {
            one.join().unwrap_or_else(|_| Err(bad("a thread of the verifiers ended early")))
        })
    })?;
    Ok((threads * runs) as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE))
}

/// One proper message of each type.
struct Messages<'a> {
    world: &'a World,
    issued: &'a Issued,
    request: &'a ProofRequest,
    presentation: Vec<u8>,
    envelope: Vec<u8>,
}

/// Whether the bytes are refused.
type Refuses<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;

impl Messages<'_> {
    /// Reads malformed messages of each type: how many were refused, and how long the slowest refusal took.
    fn refuse(&self, recipient: &SigningKey, plaintext: &[u8]) -> Result<(usize, Duration), BadWorkload> {
        let registry = &self.world.registry;
        let mine = |wanted: &_| (recipient.verification_key() == *wanted).then_some(recipient);
        let delta = StatusDelta::between(&registry.list, &revoked(self.world, registry)?.0).map_err(bad)?;
        let kinds: [(Vec<u8>, Refuses<'_>); 12] = [
            (self.world.schema.to_json(), Box::new(|b| Schema::from_json(b).is_err())),
            (
                self.world.issuer.definition.to_json(),
                Box::new(|b| CredentialDefinition::from_json(b).is_err()),
            ),
            (
                registry.definition.to_json(),
                Box::new(|b| RevocationRegistryDefinition::from_json(b).is_err()),
            ),
            (registry.list.to_json(), Box::new(|b| StatusList::from_json(b).is_err())),
            (delta.to_json(), Box::new(|b| StatusDelta::from_json(b).is_err())),
            (self.issued.offer.clone(), Box::new(|b| CredentialOffer::from_json(b).is_err())),
            (self.issued.request.clone(), Box::new(|b| CredentialRequest::from_json(b).is_err())),
            (self.issued.credential.clone(), Box::new(|b| Credential::from_json(b).is_err())),
            (self.request.to_json(), Box::new(|b| ProofRequest::from_json(b).is_err())),
            (self.presentation.clone(), Box::new(|b| Presentation::from_json(b).is_err())),
            (self.envelope.clone(), Box::new(move |b| unpack(b, mine).is_err())),
            (plaintext.to_vec(), Box::new(|b| Message::parse(b).is_err())),
        ];
        let (mut count, mut slowest) = (0, Duration::ZERO);
        for (proper, refuses) in &kinds {
            if refuses(proper) {
                return Err(bad("a proper message is refused"));
            }
            for malformed in malformed(proper)? {
                let mut fastest = Duration::MAX;
                for _ in 0..3 {
                    let begun = Instant::now();
                    if !refuses(black_box(&malformed)) {
                        return Err(bad("a malformed message is taken"));
                    }
                    fastest = fastest.min(begun.elapsed());
                }
                count += 1;
                slowest = slowest.max(fastest);
            }
        }
        Ok((count, slowest))
    }
}

/// What no type of message is: cut off, another type, too deep, too wide, with a member twice, without any, and with
/// bytes after the end.
fn malformed(proper: &[u8]) -> Result<Vec<Vec<u8>>, BadWorkload> {
    let whole = proper.strip_suffix(b"}").ok_or_else(|| bad("a message that is no object"))?;
    let half = proper.get(..proper.len() / 2).unwrap_or_default();
    let first = value(proper)?
        .as_object()
        .and_then(|map| map.keys().next().cloned())
        .ok_or_else(|| bad("a message without members"))?;
    Ok(vec![
        half.to_vec(),
        whole.to_vec(),
        [proper, b"{"].concat(),
        [whole, format!(",{}:0}}", Value::String(first)).as_bytes()].concat(),
        b"{}".to_vec(),
        b"\"text\"".to_vec(),
        vec![b'['; limits::PRESENTATION_BYTES_MAX],
        format!("[{}0]", "0,".repeat(limits::PRESENTATION_BYTES_MAX / 2 - 2)).into_bytes(),
    ])
}

/// A hundred credentials revoked at once, or as many of them as the registry has.
fn revoked(world: &World, registry: &Registry) -> Result<(StatusList, StatusDelta), BadWorkload> {
    let revoked = REVOKED.map(|index| registry.index(index)).collect::<Result<BTreeSet<_>, _>>()?;
    let now = Timestamp::new(START + 60).map_err(bad)?;
    let (definition, restored) = (&world.issuer.definition, BTreeSet::new());
    issuer::next_status_list(definition, &registry.secret, &registry.list, &restored, &revoked, now)
        .map_err(bad)
}

fn large(
    world: &World,
    size: u32,
    runs: usize,
    say: &mut dyn FnMut(&str),
) -> Result<RegistryMeasured, BadWorkload> {
    say(&format!("making a registry of {size} places"));
    let begun = Instant::now();
    let registry = Registry::new(&world.issuer.definition, &world.cred_def_id, size)?;
    let registry_create_s = begun.elapsed().as_secs_f64();
    let first = registry.witness()?;
    let (_, delta) = revoked(world, &registry)?;
    let mut update = Times::default();
    for _ in 0..runs.max(1) {
        let mut state = first.clone();
        update.take(|| state.apply(&delta, &registry.definition, &registry.tails))?;
    }
    Ok(RegistryMeasured {
        registry: size,
        registry_create_s,
        tails_bytes: registry.tails_bytes,
        delta_100_bytes: delta.to_json().len(),
        witness_update_100_ms: update.median_ms(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: CredentialsMeasured = CredentialsMeasured {
        runs: 20,
        predicates: 1,
        issue_ms: 1.0,
        prepare_ms: 1.0,
        finalize_ms: 1.0,
        verify_ms: 1.0,
        pack_ms: 1.0,
        unpack_ms: 1.0,
        bare_issue_ms: 1.0,
        bare_prove_ms: 1.0,
        bare_verify_ms: 1.0,
        threads: 2,
        verify_per_s_one: 1.0,
        verify_per_s_all: 2.0,
        verify_threads_ms: 500.0,
        verify_threads_speedup: 2.0,
        malformed_refused: 96,
        malformed_refused_ms_max: 1.0,
        large: None,
    };

    fn keys(measured: CredentialsMeasured) -> BTreeSet<String> {
        let value = serde_json::to_value(measured).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn the_report_is_one_object_with_these_members() {
        let expected = "bare_issue_ms bare_prove_ms bare_verify_ms finalize_ms issue_ms malformed_refused \
                        malformed_refused_ms_max pack_ms predicates prepare_ms runs threads unpack_ms verify_ms \
                        verify_per_s_all verify_per_s_one verify_threads_ms verify_threads_speedup";
        assert_eq!(keys(MEASURED), expected.split_whitespace().map(str::to_owned).collect());
    }

    #[test]
    fn a_larger_registry_adds_its_own_members() {
        let large = RegistryMeasured {
            registry: 10_000,
            registry_create_s: 1.0,
            tails_bytes: 1,
            delta_100_bytes: 1,
            witness_update_100_ms: 1.0,
        };
        let added = &keys(CredentialsMeasured { large: Some(large), ..MEASURED }) - &keys(MEASURED);
        let expected =
            ["delta_100_bytes", "registry", "registry_create_s", "tails_bytes", "witness_update_100_ms"];
        assert_eq!(added, expected.map(str::to_owned).into());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let times =
            |all: &[u64]| Times(all.iter().map(|ms| Duration::from_millis(*ms)).collect()).median_ms();
        assert_eq!(times(&[9, 1, 2]), 2.0);
        assert_eq!(times(&[9, 1, 2, 4]), 3.0);
        assert_eq!(times(&[]), 0.0);
    }
}
