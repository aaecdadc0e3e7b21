//! State keys and their values in words: what `eroam ledger prove` is asked for, what a proof says, what tables count.

use borsh::BorshDeserialize;
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::CdrStatus;
use eroam_domain::codec::from_bytes;
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_domain::tariff::Tariff;
use eroam_ledger::agreement::{AgreementRecord, AgreementStatus};
use eroam_ledger::cdr::CdrRecord;
use eroam_ledger::forecast::ZoneRights;
use eroam_ledger::genesis::Parameters;
use eroam_ledger::membership::Member;
use eroam_ledger::registry::{
    DefinitionRecord, DidDocument, DidRecord, DidService, Mandate, RegistryRecord, RegistryWindow,
    RevocationChange, RevocationList, SchemaRecord,
};
use eroam_ledger::settlement::ClosedPeriod;
use eroam_ledger::state::{Account, AttestationKind, StateKey};
use eroam_ledger::voucher::{VoucherKey, VoucherState};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

/// The keys that can be asked for, as they are written.
pub const USAGE: &str = "parameters; member PARTY; agreement ID; terms ID VERSION; tariff PARTY ID VERSION; \
                         cdr OPERATOR ID; balance PARTY CURRENCY; closed-period PERIOD CURRENCY; did DID; schema ID; \
                         credential-definition ID; revocation-registry ID; registry-window ID; revocation-list ID; \
                         revocation-change ID VERSION; mandate PARTY ISSUER SCHEMA; voucher-keys EMSP; \
                         voucher EMSP NULLIFIER; zone-attester ZONE PARTY";

/// Words that name no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None of the kinds, or another number of words than it has.
    #[error("`{0}` is no key; write one of: {USAGE}")]
    Unknown(String),
    /// A word is not what stands in its place.
    #[error("`{word}` is no {what}: {reason}")]
    Word {
        /// What stands there.
        what: &'static str,
        /// The word.
        word: String,
        /// Why not.
        reason: String,
    },
}

fn word<T: FromStr>(what: &'static str, word: &str) -> Result<T, KeyError>
where
    T::Err: fmt::Display,
{
    word.parse().map_err(|e: T::Err| KeyError::Word { what, word: word.to_owned(), reason: e.to_string() })
}

/// The key that some words name, see [`USAGE`].
///
/// # Errors
/// [`KeyError`].
pub fn parse(words: &[String]) -> Result<StateKey, KeyError> {
    // A single argument may hold them all; otherwise each is a word, whatever is in it.
    let parts: Vec<&str> = match words {
        [all] => all.split_whitespace().collect(),
        words => words.iter().map(String::as_str).collect(),
    };
    let party = |p: &str| word::<PartyId>("party", p);
    Ok(match parts[..] {
        ["parameters"] => StateKey::Parameters,
        ["member", p] => StateKey::Member(party(p)?),
        ["agreement", id] => StateKey::Agreement(word("agreement's id", id)?),
        ["terms", id, version] => {
            StateKey::AgreementTerms(word("agreement's id", id)?, word("version", version)?)
        }
        ["tariff", p, id, version] => {
            StateKey::Tariff(party(p)?, word("tariff's id", id)?, word("version", version)?)
        }
        ["cdr", p, id] => StateKey::Cdr(party(p)?, word("record's id", id)?),
        ["balance", p, currency] => StateKey::Account(Account::Cash(party(p)?, word("currency", currency)?)),
        ["closed-period", period, currency] => {
            StateKey::ClosedPeriod(word("settlement period", period)?, word("currency", currency)?)
        }
        ["did", did] => StateKey::Did(word("DID", did)?),
        ["schema", id] => StateKey::Schema(word("schema's id", id)?),
        ["credential-definition", id] => {
            StateKey::CredentialDefinition(word("credential definition's id", id)?)
        }
        ["revocation-registry", id] => StateKey::RevocationRegistry(word("revocation registry's id", id)?),
        ["registry-window", id] => StateKey::RegistryWindow(word("revocation registry's id", id)?),
        ["revocation-list", id] => StateKey::RevocationList(word("revocation registry's id", id)?),
        ["revocation-change", id, version] => {
            StateKey::RevocationChange(word("revocation registry's id", id)?, word("version", version)?)
        }
        ["mandate", p, issuer, schema] => {
            StateKey::Mandate(party(p)?, party(issuer)?, word("schema's id", schema)?)
        }
        ["zone-attester", zone, p] => StateKey::ZoneAttester(word("grid zone", zone)?, party(p)?),
        ["voucher-keys", emsp] => StateKey::VoucherKeys(party(emsp)?),
        ["voucher", emsp, nullifier] => StateKey::Voucher(party(emsp)?, word("nullifier", nullifier)?),
        _ => return Err(KeyError::Unknown(parts.join(" "))),
    })
}

/// What kind of entry a key is of, for tables.
#[must_use]
pub const fn kind(key: &StateKey) -> &'static str {
    match key {
        StateKey::Parameters => "parameters",
        StateKey::Lane(..) => "lane",
        StateKey::Member(..) => "member",
        StateKey::Agreement(..) => "agreement",
        StateKey::AgreementTerms(..) => "terms",
        StateKey::AgreementOf(..) => "agreements between two",
        StateKey::TariffHead(..) => "latest version of a tariff",
        StateKey::Tariff(..) => "tariff",
        StateKey::Cdr(..) => "cdr",
        StateKey::EvseDay(..) => "day of an EVSE",
        StateKey::Exposure(..) => "exposure",
        StateKey::Reservation(..) => "reservation",
        StateKey::Account(..) => "account",
        StateKey::PeriodPairs(..) => "open period",
        StateKey::ClosedPeriod(..) => "closed period",
        StateKey::Unpaid(..) => "unpaid periods",
        StateKey::Attestation(..) => "attestation",
        StateKey::Attested(..) => "attested deposits",
        StateKey::TariffPublished(..) => "publication of a tariff",
        StateKey::Did(..) => "did",
        StateKey::Schema(..) => "schema",
        StateKey::CredentialDefinition(..) => "credential-definition",
        StateKey::RevocationRegistry(..) => "revocation-registry",
        StateKey::RevocationList(..) => "revocation-list",
        StateKey::RevocationChange(..) => "revocation-change",
        StateKey::Mandate(..) => "mandate",
        StateKey::VoucherKeys(..) => "voucher-keys",
        StateKey::Voucher(..) => "voucher",
        StateKey::ZoneAttester(..) => "zone-attester",
        StateKey::ForecastDay(..) => "forecasts of a day",
        StateKey::ForecastTimes(..) => "times of forecasts of a day",
        StateKey::LoadDay(..) => "loads of a day",
        StateKey::RegistryWindow(..) => "registry-window",
    }
}

/// A key in words; where [`parse`] knows such a key, the words it reads.
#[must_use]
pub fn in_words(key: &StateKey) -> String {
    let kind = kind(key);
    match key {
        StateKey::Parameters => kind.to_owned(),
        StateKey::Lane(party, lane) => format!("{kind} {lane} of {party}"),
        StateKey::Member(party) => format!("{kind} {party}"),
        StateKey::Agreement(id) | StateKey::Exposure(id) => format!("{kind} {id}"),
        StateKey::AgreementTerms(id, version) => format!("{kind} {id} {version}"),
        StateKey::AgreementOf(emsp, cpo) => format!("{kind} {emsp} {cpo}"),
        StateKey::TariffHead(party, id) => format!("{kind} {party} {id}"),
        StateKey::Tariff(party, id, version) | StateKey::TariffPublished(party, id, version) => {
            format!("{kind} {party} {id} {version}")
        }
        StateKey::Cdr(party, id) => format!("{kind} {party} {id}"),
        StateKey::EvseDay(party, evse, slot) => {
            format!("{kind} {party} {} {slot}", hex(&evse.0))
        }
        StateKey::Reservation(id, session) => format!("{kind} {id} {session}"),
        StateKey::Account(account) => in_words_account(*account),
        StateKey::PeriodPairs(period, currency) => format!("{kind} {period} {currency}"),
        StateKey::ClosedPeriod(period, currency) => format!("closed-period {period} {currency}"),
        StateKey::Unpaid(currency) | StateKey::Attested(currency) => format!("{kind} {currency}"),
        StateKey::Attestation(AttestationKind::Deposit, reference) => format!("deposit {reference}"),
        StateKey::Attestation(AttestationKind::Payout, reference) => format!("payout {reference}"),
        StateKey::Did(did) => format!("{kind} {did}"),
        StateKey::Schema(id) => format!("{kind} {id}"),
        StateKey::CredentialDefinition(id) => format!("{kind} {id}"),
        StateKey::RevocationRegistry(id) | StateKey::RevocationList(id) | StateKey::RegistryWindow(id) => {
            format!("{kind} {id}")
        }
        StateKey::RevocationChange(id, version) => format!("{kind} {id} {version}"),
        StateKey::Mandate(party, issuer, schema) => format!("{kind} {party} {issuer} {schema}"),
        StateKey::VoucherKeys(emsp) => format!("{kind} {emsp}"),
        StateKey::Voucher(emsp, nullifier) => format!("{kind} {emsp} {nullifier}"),
        StateKey::ZoneAttester(zone, party) => format!("{kind} {zone} {party}"),
        StateKey::ForecastDay(party, zone, slot)
        | StateKey::ForecastTimes(party, zone, slot)
        | StateKey::LoadDay(party, zone, slot) => format!("{kind} {party} {zone} {slot}"),
    }
}

fn in_words_account(account: Account) -> String {
    match account {
        Account::Treasury(currency) => format!("treasury {currency}"),
        Account::Cash(party, currency) => format!("balance {party} {currency}"),
        Account::Payable(period, debtor, creditor, currency) => {
            format!("payable {period} of {debtor} to {creditor} {currency}")
        }
        Account::Receivable(period, creditor, debtor, currency) => {
            format!("receivable {period} of {creditor} from {debtor} {currency}")
        }
        Account::Net(period, party, currency) => format!("net position {period} of {party} {currency}"),
    }
}

/// The key in words; bytes that are none in hexadecimal.
#[must_use]
pub fn bytes_in_words(key: &[u8]) -> String {
    from_bytes(key).map_or_else(|_| format!("key {}", hex(key)), |key| in_words(&key))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What stands under a key, for those that [`parse`] knows; other values in hexadecimal.
#[must_use]
pub fn value(key: &StateKey, bytes: &[u8]) -> Value {
    let known = match key {
        StateKey::Parameters => decoded(bytes, |p: Parameters| json!(p)),
        StateKey::Member(_) => decoded(
            bytes,
            |member: Member| json!({ "name": member.name, "roles": member.roles, "key": member.current_key(), "keys": member.keys.len() }),
        ),
        StateKey::Agreement(_) => decoded(bytes, agreement),
        StateKey::AgreementTerms(..) => decoded(bytes, |terms: RoamingAgreement| json!(terms)),
        StateKey::Tariff(..) => decoded(bytes, |tariff: Tariff| json!(tariff)),
        StateKey::Cdr(..) => decoded(bytes, record),
        StateKey::Account(account) => {
            decoded(bytes, |micros: i64| json!(Money::new(micros, account.currency()).to_string()))
        }
        StateKey::ClosedPeriod(_, currency) => decoded(bytes, |closed: ClosedPeriod| {
            let money = |micros| Money::new(micros, *currency).to_string();
            let net: Vec<Value> =
                closed.net.iter().map(|n| json!({ "party": n.party, "net": money(n.micros) })).collect();
            let owes = |(debtor, creditor, micros): &(PartyId, PartyId, i64)| json!({ "debtor": debtor, "creditor": creditor, "amount": money(*micros) });
            json!({ "net": net, "gross": closed.gross.iter().map(owes).collect::<Vec<_>>() })
        }),
        StateKey::Did(_) => decoded(
            bytes,
            |did: DidRecord| json!({ "member": did.member, "version": did.version, "document": document(&did.document) }),
        ),
        StateKey::Schema(_) => {
            decoded(bytes, |schema: SchemaRecord| json!({ "attributes": schema.attributes }))
        }
        StateKey::CredentialDefinition(_) => decoded(bytes, definition),
        StateKey::RevocationRegistry(_) => decoded(bytes, registry),
        StateKey::RegistryWindow(_) => decoded(bytes, registry_window),
        StateKey::RevocationList(_) => decoded(bytes, |list: RevocationList| {
            let indexes = 0..u32::try_from(list.revoked.len().saturating_mul(8)).unwrap_or(u32::MAX);
            let revoked: Vec<u32> = indexes.filter(|i| list.is_revoked(*i) == Some(true)).collect();
            json!({ "version": list.version, "time": list.time.to_string(), "accumulator": list.accumulator, "revoked": revoked })
        }),
        StateKey::RevocationChange(..) => {
            decoded(bytes, |change: RevocationChange| revocation_change(&change))
        }
        StateKey::Mandate(..) => decoded(
            bytes,
            |mandate: Mandate| json!({ "from": mandate.from.to_string(), "until": mandate.until.to_string() }),
        ),
        StateKey::VoucherKeys(_) => {
            decoded(bytes, |keys: Vec<VoucherKey>| keys.iter().map(voucher_key).collect())
        }
        StateKey::Voucher(..) => decoded(bytes, |state: VoucherState| voucher(&state)),
        StateKey::ZoneAttester(..) => decoded(
            bytes,
            |rights: ZoneRights| json!({ "forecasts": rights.forecasts, "loads": rights.loads }),
        ),
        _ => None,
    };
    known.unwrap_or_else(|| json!(hex(bytes)))
}

fn decoded<T: BorshDeserialize>(bytes: &[u8], show: impl FnOnce(T) -> Value) -> Option<Value> {
    from_bytes(bytes).ok().map(show)
}

/// A DID's keys and services.
pub(crate) fn document(document: &DidDocument) -> Value {
    let service = |s: &DidService| json!({ "id": s.id, "type": s.kind, "endpoint": s.endpoint });
    json!({ "keys": document.keys, "services": document.services.iter().map(service).collect::<Vec<_>>() })
}

/// Keys that were published as JSON; other text as it is.
fn published(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

pub(crate) fn definition(record: DefinitionRecord) -> Value {
    json!({ "schema": record.schema, "revocable": record.revocable, "value": published(record.value.as_str()) })
}

pub(crate) fn registry(record: RegistryRecord) -> Value {
    json!({
        "credential_definition": record.definition,
        "size": record.size,
        "tails_hash": record.tails_hash,
        "tails_location": record.tails_location,
        "public_keys": published(record.public_keys.as_str()),
    })
}

pub(crate) fn registry_window(window: RegistryWindow) -> Value {
    json!({ "from": window.from.to_string(), "until": window.until.to_string() })
}

pub(crate) fn revocation_change(change: &RevocationChange) -> Value {
    json!({
        "time": change.time.to_string(),
        "accumulator": change.accumulator,
        "revoked": change.revoked,
        "reinstated": change.reinstated,
    })
}

pub(crate) fn voucher_key(key: &VoucherKey) -> Value {
    json!({
        "key": key.public,
        "valid_from": key.valid_from.to_string(),
        "valid_until": key.valid_until.to_string(),
        "revoked": key.is_revoked(),
    })
}

fn voucher(state: &VoucherState) -> Value {
    match state {
        VoucherState::Reserved { agreement, session, acceptance, limit, final_after } => json!({
            "status": "reserved",
            "agreement": agreement,
            "session": session,
            "acceptance": acceptance,
            "limit_micros": limit,
            "final_after": final_after.to_string(),
        }),
        VoucherState::Spent { operator, cdr, amount } => {
            json!({ "status": "spent", "operator": operator, "record": cdr, "booked_micros": amount })
        }
        VoucherState::Refunded => json!({ "status": "refunded" }),
        VoucherState::Blocked => json!({ "status": "blocked" }),
    }
}

fn agreement(record: AgreementRecord) -> Value {
    let status = match record.status {
        AgreementStatus::Proposed => "proposed".to_owned(),
        AgreementStatus::Active => "active".to_owned(),
        AgreementStatus::Terminated { at } => format!("terminated at {at}"),
    };
    let versions: Vec<String> =
        record.versions.iter().map(|v| format!("{} since {}", v.number, v.since)).collect();
    json!({
        "emsp": record.emsp,
        "cpo": record.cpo,
        "status": status,
        "versions": versions,
        "pending": record.pending.map(|p| p.version.number),
    })
}

/// Where a record stands, in words.
pub(crate) fn status_in_words(status: &CdrStatus) -> String {
    match status {
        CdrStatus::Provisional { contest_until } => format!("provisional until {contest_until}"),
        CdrStatus::Contested { resolve_until, .. } => format!("contested until {resolve_until}"),
        CdrStatus::Final => "final".to_owned(),
    }
}

fn record(record: CdrRecord) -> Value {
    json!({
        "record": record.digest,
        "agreement": record.agreement.id,
        "version": record.agreement.version,
        "emsp": record.emsp,
        "booked_micros": record.amount,
        "owed_micros": record.balance(),
        "period": record.period,
        "status": status_in_words(&record.status),
        "adjustments": record.adjustments,
    })
}

/// A value that was made for machines, for people: names and values one after the other.
#[must_use]
pub fn in_a_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let parts = fields.iter().filter(|(_, value)| !value.is_null());
            let parts: Vec<String> = parts
                .map(|(name, value)| format!("{} {}", name.replace('_', " "), in_a_line(value)))
                .collect();
            parts.join("; ")
        }
        Value::Array(items) => {
            let item = |item: &Value| {
                let text = in_a_line(item);
                if item.is_object() { format!("({text})") } else { text }
            };
            items.iter().map(item).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DID: &str = "did:eroam:0123456789abcdef:0123456789abcdef0123456789abcdef";

    #[test]
    fn the_words_of_a_key_name_it_again() {
        let id = "ab".repeat(32);
        for words in [
            "parameters".to_owned(),
            "member PT-LUZ".to_owned(),
            format!("agreement {id}"),
            format!("terms {id} 2"),
            "tariff PT-LUZ AC-FLAT 1".to_owned(),
            "cdr ES-SLV demo-0001".to_owned(),
            "balance PT-LUZ EUR".to_owned(),
            "closed-period 2026-05 EUR".to_owned(),
            format!("did {DID}"),
            format!("schema {DID}/anoncreds/v1/schema/driver%20card/1.0"),
            format!("credential-definition {DID}/anoncreds/v1/credential-definition/0123456789abcdef/a"),
            format!("revocation-registry {DID}/anoncreds/v1/revocation-registry/0123456789abcdef/a"),
            format!("registry-window {DID}/anoncreds/v1/revocation-registry/0123456789abcdef/a"),
            format!("revocation-list {DID}/anoncreds/v1/revocation-registry/0123456789abcdef/a"),
            format!("revocation-change {DID}/anoncreds/v1/revocation-registry/0123456789abcdef/a 7"),
            format!("mandate PT-LUZ ES-SLV {DID}/anoncreds/v1/schema/driver%20card/1.0"),
            "voucher-keys PT-LUZ".to_owned(),
            format!("voucher PT-LUZ {id}"),
            "zone-attester PT-N PT-LUZ".to_owned(),
        ] {
            let key = parse(std::slice::from_ref(&words)).unwrap();
            assert_eq!(in_words(&key), words);
            assert_eq!(bytes_in_words(&key.to_bytes()), words);
            let apart: Vec<String> = words.split(' ').map(str::to_owned).collect();
            assert_eq!(parse(&apart), Ok(key));
        }
    }

    #[test]
    fn what_is_no_key_is_said_with_the_word_or_the_kinds() {
        for (words, says) in [
            ("", "write one of: parameters; member PARTY"),
            ("member", "`member` is no key"),
            ("member PT-LUZ EUR", "closed-period PERIOD CURRENCY"),
            ("wallet PT-LUZ", "`wallet PT-LUZ` is no key"),
            ("member Lisbon", "`Lisbon` is no party"),
            ("balance PT-LUZ euro", "`euro` is no currency"),
            ("agreement 12", "`12` is no agreement's id"),
            ("closed-period may EUR", "`may` is no settlement period"),
            ("terms 12 x", "`12` is no agreement's id"),
            ("did did:key:z6Mk", "`did:key:z6Mk` is no DID"),
            ("schema PT-LUZ", "/anoncreds/v1/schema/<name>/<version>"),
            ("voucher PT-LUZ 12", "`12` is no nullifier"),
        ] {
            let error = parse(&[words.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(says), "`{says}` is not in: {error}");
        }
    }
}
