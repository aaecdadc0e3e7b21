//! A registration with a home utility: what the form asks for, what is filled in and signed, and what is accepted of it.
//!
//! The schema of the form is ours: the paper shows pictures of it. Everything that is wrong is said at once, each in a sentence
//! that whoever registers reads.
//!
//! Source: paper B, section 5.1, figures 3, 6 and 24.

use super::attached::{AttachedContract, AttachedError};
use super::provider::{tier_of, zones_of};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::PartyId;
use eroam_ssi::did::VerificationKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The longest value of a field in bytes.
const FIELD_BYTES_MAX: usize = 256;

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Any text.
    Text,
    /// An address of electronic mail.
    Email,
    /// A tier: `standard`, `gold`, `platinum` or `diamond`.
    Tier,
    /// Grid zones separated by commas, or `*` for everywhere.
    Zones,
    /// An ISO 13616 account number.
    Iban,
}

/// A field of the form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name in the registration.
    pub name: String,
    /// What a person reads beside it.
    pub label: String,
    /// What it takes.
    pub kind: FieldKind,
    /// Whether it must be there.
    pub required: bool,
}

/// What a provider wants to know of whoever registers, and under which terms (figure 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationForm {
    /// The form's version.
    pub schema: String,
    /// Whose form it is.
    pub provider: PartyId,
    /// Its name.
    pub name: String,
    /// Where the registration is sent, below the provider's address.
    pub endpoint: String,
    /// The fields.
    pub fields: Vec<Field>,
    /// The terms of the contract.
    pub terms: String,
}

/// A registration (figure 24).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The fields by name.
    pub fields: BTreeMap<String, String>,
    /// The key that the driver signs the contract with: a `did:key`.
    pub signer: String,
    /// Over [`contract_digest`].
    pub signature: SignatureBytes,
    /// A contract that was signed elsewhere, if there is one: its hash is part of what is signed.
    #[serde(default)]
    pub attached: Option<AttachedContract>,
}

impl Registration {
    /// The hash of the contract that was signed elsewhere.
    #[must_use]
    pub fn attached(&self) -> Option<Digest> {
        self.attached.as_ref().map(|attached| attached.sha256)
    }
}

/// What both sides sign: the form with its terms, what was entered, and the hash of what is attached.
#[must_use]
pub fn contract_digest(
    form: &RegistrationForm,
    fields: &BTreeMap<String, String>,
    attached: Option<Digest>,
) -> Digest {
    let text = serde_json::to_vec(&(form, fields, attached)).unwrap_or_default();
    Digest::of_parts("eroam/contract/1", &[&text])
}

/// What is wrong with a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// A sentence for each field that is wrong, by its name; for the whole, under an empty name.
    pub reasons: BTreeMap<String, String>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("your registration was refused without a reason: call the provider");
        }
        let sentences: Vec<&str> = self.reasons.values().map(String::as_str).collect();
        f.write_str(&sentences.join("; "))
    }
}

/// What is wrong with a value of a kind, if anything is.
fn wrong_value(kind: FieldKind, value: &str) -> Option<&'static str> {
    let (is_good, wrong) = match kind {
        FieldKind::Text => return None,
        FieldKind::Email => {
            (is_email(value), "is no address of electronic mail: enter one such as name@example.org")
        }
        FieldKind::Iban => (
            is_iban(value),
            "is no account number, since its check digits do not fit: copy it again from your bank's papers",
        ),
        FieldKind::Tier => (
            tier_of(value).is_some(),
            "is none of standard, gold, platinum and diamond: enter one of these, or leave it out",
        ),
        FieldKind::Zones => (
            zones_of(value).is_some(),
            "is no list of grid zones: enter them with commas between, or * for everywhere",
        ),
    };
    (!is_good).then_some(wrong)
}

/// Sees that everything is filled in and signed as it should be, and that the file is there whose hash was signed.
///
/// # Errors
/// [`Rejected`], with all that is wrong.
pub(super) fn check(form: &RegistrationForm, registration: &Registration) -> Result<(), Rejected> {
    let mut reasons = BTreeMap::new();
    for name in registration.fields.keys() {
        if !form.fields.iter().any(|field| field.name == *name) {
            reasons.insert(name.clone(), format!("{name} is not asked for: leave it out"));
        }
    }
    for Field { name, kind, required, .. } in &form.fields {
        let value = registration.fields.get(name).map_or("", |value| value.trim());
        let wrong = if value.is_empty() {
            required.then(|| "is missing: enter it".to_owned())
        } else if value.len() > FIELD_BYTES_MAX {
            Some(format!("has {} bytes: enter at most {FIELD_BYTES_MAX}", value.len()))
        } else {
            wrong_value(*kind, value).map(str::to_owned)
        };
        if let Some(wrong) = wrong {
            reasons.insert(name.clone(), format!("{name} {wrong}"));
        }
    }
    let attached = registration.attached.as_ref().map(AttachedContract::file).transpose();
    let wrong = check_signature(form, registration)
        .err()
        .or_else(|| attached.err().map(|error: AttachedError| error.to_string()));
    reasons.extend(wrong.map(|wrong| (String::new(), wrong)));
    if reasons.is_empty() { Ok(()) } else { Err(Rejected { reasons }) }
}

fn check_signature(form: &RegistrationForm, registration: &Registration) -> Result<(), String> {
    let digest = contract_digest(form, &registration.fields, registration.attached());
    match VerificationKey::from_did_key(&registration.signer) {
        Err(_) => Err("the registration names no key that can sign: enrol again with a newer program".to_owned()),
        Ok(key) if key.verifies(&digest.0, &registration.signature.0) => Ok(()),
        Ok(_) => Err("the contract is not signed by the key that the registration names, or it is another contract than the \
                      provider's of today: enrol again"
            .to_owned()),
    }
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(who, at)| !who.is_empty() && at.contains('.'))
}

/// Whether an account number's check digits fit (ISO 13616: the remainder by 97 is 1).
fn is_iban(text: &str) -> bool {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let form = (15..=34).contains(&compact.len()) && compact.chars().all(|c| c.is_ascii_alphanumeric());
    let Some((head, tail)) = compact.split_at_checked(4).filter(|_| form) else { return false };
    let rest = tail.chars().chain(head.chars()).filter_map(|c| c.to_digit(36)).fold(0u32, |rest, value| {
        let shift = if value > 9 { 100 } else { 10 };
        (rest * shift + value) % 97
    });
    rest == 1
}

#[cfg(test)]
mod tests {
    use super::super::provider::Provider;
    use super::*;
    use eroam_ssi::didcomm::{OsRng, SigningKey};

    fn form() -> RegistrationForm {
        Provider::form("PT-E01".parse().unwrap(), "Home utility 1")
    }

    /// A registration with what is usual, but for `changes`; an empty value leaves a field out.
    fn registration(changes: &[(&str, &str)], attached: Option<AttachedContract>) -> Registration {
        let usual =
            [("name", "A driver"), ("email", "driver@example.org"), ("iban", "GB29NWBK60161331926819")];
        let mut fields = BTreeMap::from(usual.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for (name, value) in changes {
            fields.insert((*name).to_owned(), (*value).to_owned());
        }
        let key = SigningKey::generate(&mut OsRng);
        let hash = attached.as_ref().map(|attached| attached.sha256);
        let signature = SignatureBytes(key.sign(&contract_digest(&form(), &fields, hash).0));
        let signer = key.verification_key().to_did_key().to_string();
        Registration { fields, signer, signature, attached }
    }

    fn reads(registration: &Registration) -> String {
        check(&form(), registration).unwrap_err().to_string()
    }

    #[test]
    fn what_is_filled_in_as_it_should_be_is_accepted() {
        let longest = "x".repeat(FIELD_BYTES_MAX);
        for changes in [
            &[][..],
            &[("tier", "gold"), ("zones", "PT-1, ES-2")],
            &[("tier", " "), ("zones", "*"), ("iban", " GB29 NWBK 6016 1331 9268 19 ")],
            &[("name", &longest)],
        ] {
            assert_eq!(check(&form(), &registration(changes, None)), Ok(()), "{changes:?}");
        }
    }

    #[test]
    fn whoever_registers_reads_what_is_wrong_with_each_field() {
        let no_email = "email is no address of electronic mail: enter one such as name@example.org";
        let no_iban = "iban is no account number, since its check digits do not fit: copy it again from your bank's papers";
        let long = "x".repeat(FIELD_BYTES_MAX + 1);
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("name", "")], "name is missing: enter it"),
            (&[("name", "  ")], "name is missing: enter it"),
            (&[("name", &long)], "name has 257 bytes: enter at most 256"),
            (&[("nickname", "d")], "nickname is not asked for: leave it out"),
            (&[("email", "driver")], no_email),
            (&[("email", "@example.org")], no_email),
            (&[("email", "driver@example")], no_email),
            (&[("iban", "GB28NWBK60161331926819")], no_iban),
            (&[("iban", "GB")], no_iban),
            (
                &[("tier", "Gold")],
                "tier is none of standard, gold, platinum and diamond: enter one of these, or leave it out",
            ),
            (
                &[("zones", "PT-1,,ES-2")],
                "zones is no list of grid zones: enter them with commas between, or * for everywhere",
            ),
            (
                &[("email", ""), ("name", ""), ("phone", "1")],
                "email is missing: enter it; name is missing: enter it; phone is not asked for: leave it out",
            ),
        ];
        for (changes, sentence) in table {
            assert_eq!(reads(&registration(changes, None)), *sentence, "{changes:?}");
        }
    }

    #[test]
    fn what_nobody_signed_is_refused() {
        let not_signed = "the contract is not signed by the key that the registration names, or it is another contract than \
                          the provider's of today: enrol again";
        let signed = registration(&[], None);
        let other_key = registration(&[], None).signer;
        let changed = BTreeMap::from_iter(
            signed.fields.clone().into_iter().chain([("tier".to_owned(), "diamond".to_owned())]),
        );
        let attached = AttachedContract::of(b"terms").ok();
        let mut other_file = registration(&[], attached.clone());
        other_file.attached = AttachedContract::of(b"other terms").ok();
        for (what, registration) in [
            ("another's key", Registration { signer: other_key, ..signed.clone() }),
            ("other fields", Registration { fields: changed, ..signed.clone() }),
            ("a file that is not part of it", Registration { attached, ..signed.clone() }),
            ("another file with its own hash", other_file),
        ] {
            assert_eq!(reads(&registration), not_signed, "{what}");
        }
        assert_eq!(
            reads(&Registration { signer: "did:key:z".to_owned(), ..signed.clone() }),
            "the registration names no key that can sign: enrol again with a newer program"
        );
        let mut other_terms = form();
        other_terms.terms.push_str(" And twice in May.");
        assert_eq!(check(&other_terms, &signed).unwrap_err().to_string(), not_signed);
    }

    #[test]
    fn a_file_with_another_hash_than_the_signed_one_is_refused() {
        let attached = AttachedContract::of(b"terms").unwrap();
        let good = registration(&[], Some(attached.clone()));
        assert_eq!(check(&form(), &good), Ok(()));
        let sent = serde_json::to_string(&good).unwrap();
        // "terms" and "TERMS" in base64.
        let changed: Registration = serde_json::from_str(&sent.replace("dGVybXM=", "VEVSTVM=")).unwrap();
        assert_eq!(
            reads(&changed),
            format!(
                "the attached contract is not the one that was signed: its SHA-256 is {}, and {} was signed: attach the file \
                 that belongs to it",
                Digest::of(b"TERMS"),
                attached.sha256
            )
        );
    }

    #[test]
    fn a_refusal_without_a_reason_says_so() {
        let rejected = Rejected { reasons: BTreeMap::new() };
        assert_eq!(rejected.to_string(), "your registration was refused without a reason: call the provider");
    }

    #[test]
    fn account_numbers_are_known_by_their_check_digits() {
        // The examples of the registry of ISO 13616.
        for good in ["GB29 NWBK 6016 1331 9268 19", "DE89370400440532013000", "PT50000201231234567890154"] {
            assert!(is_iban(good), "{good}");
        }
        for bad in
            ["GB28 NWBK 6016 1331 9268 19", "DE8937040044053201300", "", "DE89", "DE8937040044053201300é"]
        {
            assert!(!is_iban(bad), "{bad}");
        }
    }
}
