//! `eroam ledger block` and `eroam ledger tx`: blocks and envelopes for people.

use super::keys::{self, in_a_line, status_in_words};
use super::reader::{Reader, ReaderError};
use super::recheck::outcome_in_words;
use eroam_chain::block::Block;
use eroam_chain::read_model::{PAGE_MAX, Place, TxKind};
use eroam_domain::cdr::{Adjustment, Cdr, CdrId};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{Nullifier, SignedVoucher};
use eroam_ledger::agreement::{AgreementRecord, AgreementTx};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::forecast::ForecastTx;
use eroam_ledger::membership::MembershipTx;
use eroam_ledger::query;
use eroam_ledger::registry::RegistryTx;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::settlement::{CreditReservation, SettlementTx};
use eroam_ledger::state::{StateError, StateKey, read};
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::{PublicKey, SignedEnvelope, Tx};
use eroam_ledger::voucher::{VoucherKey, VoucherReservation, VoucherTx};
use eroam_light::certificate::{Certificate, CertificateError};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ShowError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error("the ledger's state cannot be read")]
    State(#[from] StateError),
    #[error("the body of block {0} cannot be read: take the directory of another validator with --validator")]
    Body(u64),
    #[error("the certificate of block {height} cannot be read")]
    Certificate {
        height: u64,
        #[source]
        source: CertificateError,
    },
    #[error(
        "no envelope and no item has the digest {0}: `eroam ledger block` lists a block's envelopes, `eroam ledger tx` \
         an envelope's items"
    )]
    Unknown(Digest),
    #[error(
        "{what} is not in the blocks from {from} on, and this validator, which copied the state of others, keeps no others: \
         take the directory of another validator with --validator"
    )]
    NotFoundHere { what: String, from: u64 },
    #[error("{operator} has booked no record {id}; a charge at its driver's own utility is on no ledger")]
    UnknownRecord { operator: PartyId, id: CdrId },
}

/// What proves a block final.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Finality {
    /// The block that the certificate names: the block itself, or one after it.
    pub certified_height: u64,
    /// How many validators signed.
    pub votes: usize,
    /// How many there are.
    pub validators: usize,
}

/// An envelope of a block.
#[derive(Clone, Debug, Serialize)]
pub struct EnvelopeLine {
    /// Its place in the block, from 0.
    pub index: usize,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Who sent it.
    pub member: PartyId,
    /// The sender's lane.
    pub lane: u16,
    /// The lane's number.
    pub sequence: u64,
    /// What it asks, as in `cdr.record_cdrs`.
    pub kind: &'static str,
    /// How many items it has.
    pub items: usize,
    /// How many of them were accepted.
    pub accepted: usize,
    /// How many were refused, by the name of the refusal.
    pub refused: BTreeMap<String, usize>,
}

/// A block.
#[derive(Clone, Debug, Serialize)]
pub struct BlockView {
    /// Its place in the chain.
    pub height: u64,
    /// Its digest.
    pub digest: Digest,
    /// That of the block before it; the network for the genesis block.
    pub parent: Digest,
    /// Its time.
    pub time: String,
    /// Its epoch.
    pub epoch: u64,
    /// The view of the epoch in which it was proposed.
    pub view: u64,
    /// The key of the validator that proposed it.
    pub leader: PublicKey,
    /// Who runs that validator.
    pub leader_party: Option<PartyId>,
    /// The root over its receipts.
    pub receipts: Digest,
    /// The root of the state after it.
    pub state: Digest,
    /// The size of its body.
    pub body_bytes: usize,
    /// What proves it final; nothing for the genesis block, which follows from the genesis.
    pub finality: Option<Finality>,
    /// The envelopes, in the order of their execution.
    pub envelopes: Vec<EnvelopeLine>,
}

/// The block at a height.
///
/// # Errors
/// [`ShowError`].
pub fn block(reader: &Reader, height: u64) -> Result<BlockView, ShowError> {
    let block = reader.block(height)?;
    let header = block.header();
    let contents = block.contents().ok_or(ShowError::Body(height))?;
    let envelopes = contents.envelopes.iter().zip(&contents.items).enumerate();
    let validators = &reader.client().genesis().consensus.validators;
    let leader = validators.iter().find(|v| v.key == header.leader);
    Ok(BlockView {
        height,
        digest: header.digest(),
        parent: header.parent,
        time: header.time.to_string(),
        epoch: header.epoch,
        view: header.view,
        leader: header.leader,
        leader_party: leader.map(|v| v.party),
        receipts: header.receipts,
        state: header.state,
        body_bytes: block.body().len(),
        finality: if height == 0 { None } else { Some(finality(reader, height)?) },
        envelopes: envelopes.map(|(index, (signed, items))| line(index, signed, items)).collect(),
    })
}

fn finality(reader: &Reader, height: u64) -> Result<Finality, ShowError> {
    let certified = reader.certified(height)?;
    let certificate = Certificate::decode(&certified.certificate)
        .map_err(|source| ShowError::Certificate { height, source })?;
    Ok(Finality {
        certified_height: certified.descendants.last().map_or(height, |header| header.height),
        votes: certificate.votes(),
        validators: reader.client().genesis().consensus.validators.len(),
    })
}

fn line(index: usize, signed: &SignedEnvelope, items: &[Item]) -> EnvelopeLine {
    let envelope = signed.envelope();
    let mut refused = BTreeMap::new();
    for code in items.iter().filter_map(|item| item.outcome.rejection()) {
        *refused.entry(code_name(code)).or_default() += 1;
    }
    EnvelopeLine {
        index,
        digest: signed.digest(),
        member: envelope.member,
        lane: envelope.lane,
        sequence: envelope.sequence,
        kind: TxKind::of(&envelope.tx).name(),
        items: items.len(),
        accepted: items.iter().filter(|item| item.outcome.is_accepted()).count(),
        refused,
    }
}

/// The name of a refusal to machines, without what it says besides.
fn code_name(code: RejectCode) -> String {
    match serde_json::to_value(code) {
        Ok(Value::String(name)) => name,
        Ok(Value::Object(fields)) => fields.keys().next().cloned().unwrap_or_default(),
        _ => code.to_string(),
    }
}

impl fmt::Display for BlockView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "block      {} ({})", self.height, self.time)?;
        writeln!(f, "digest     {}", self.digest)?;
        writeln!(f, "parent     {}", self.parent)?;
        writeln!(f, "epoch      {}, view {}", self.epoch, self.view)?;
        match self.leader_party {
            Some(party) => writeln!(f, "leader     {} of {party}", self.leader)?,
            None => writeln!(f, "leader     {}", self.leader)?,
        }
        writeln!(f, "receipts   {}", self.receipts)?;
        writeln!(f, "state      {}", self.state)?;
        match self.finality {
            Some(Finality { certified_height, votes, validators }) => {
                let by = if certified_height == self.height {
                    String::new()
                } else {
                    format!(", with block {certified_height}")
                };
                writeln!(f, "final      signed by {votes} of {validators} validators{by}")?;
            }
            None => writeln!(f, "final      it follows from the genesis")?,
        }
        write!(f, "envelopes  {} in {} bytes", self.envelopes.len(), self.body_bytes)?;
        for line in &self.envelopes {
            let EnvelopeLine { index, digest, member, lane, sequence, kind, items, accepted, refused } = line;
            write!(
                f,
                "\n  {index:>4}  {digest}  {member}  {lane}/{sequence}  {kind}: {accepted} of {items} accepted"
            )?;
            for (name, count) in refused {
                write!(f, ", {count} {name}")?;
            }
        }
        Ok(())
    }
}

/// An item of an envelope.
#[derive(Clone, Debug, Serialize)]
pub struct ItemView {
    /// Its place in the envelope, from 0.
    pub index: usize,
    /// What it is known by.
    pub hash: Digest,
    /// What became of it.
    pub outcome: ItemOutcome,
    /// What it is, for a record, a reservation or a voucher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// The same for people.
    #[serde(skip)]
    words: String,
}

/// An envelope in a block.
#[derive(Clone, Debug, Serialize)]
pub struct TxView {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its block.
    pub height: u64,
    /// Its place in the block, from 0.
    pub index: u16,
    /// The block's time.
    pub time: String,
    /// Who sent it.
    pub member: PartyId,
    /// Which of the sender's keys signed.
    pub key: u32,
    /// The sender's lane.
    pub lane: u16,
    /// The lane's number.
    pub sequence: u64,
    /// Until when it could have been included.
    pub expires_at: String,
    /// The family of transactions, as in `cdr`.
    pub family: &'static str,
    /// What it asks, as in `record_cdrs`.
    pub kind: &'static str,
    /// What it says besides its items.
    pub says: Value,
    /// The items.
    pub items: Vec<ItemView>,
    /// The item that was asked for, if it was an item.
    pub item: Option<u8>,
    /// Where else that item was asked for: `height.envelope.item`.
    pub elsewhere: Vec<String>,
    /// The first block that this validator knows, where one before it may have accepted the item that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_before: Option<u64>,
}

/// Where something stands: an envelope, or an item of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The place; its item means something only if an item was asked for.
    pub place: Place,
    /// Whether an item was asked for.
    pub is_item: bool,
    /// Where else that item was asked for.
    pub elsewhere: Vec<Place>,
    /// The first block that is known here, where the item was refused and one before may have accepted it.
    pub unknown_before: Option<u64>,
}

/// Looks for an envelope by its digest, or for an item by its hash: where it was accepted, or where it was refused
/// last.
///
/// # Errors
/// [`ShowError`].
pub fn find(reader: &Reader, digest: &Digest) -> Result<Found, ShowError> {
    reader.wait_for_read_model();
    let read_model = reader.client().read_model();
    let envelope = read_model.transaction(digest).map_err(ReaderError::from)?;
    if let Some(row) = envelope {
        return Ok(Found { place: row.place, is_item: false, elsewhere: Vec::new(), unknown_before: None });
    }
    let rows = read_model.item(digest, None, PAGE_MAX).map_err(ReaderError::from)?.rows;
    let accepted = rows.iter().find(|row| row.outcome.is_accepted());
    let Some(found) = accepted.or(rows.first()) else {
        return Err(unknown(reader, digest.to_string(), ShowError::Unknown(*digest))?);
    };
    // What is refused as known already was accepted before: perhaps in a block that this validator has not.
    let unknown_before = match accepted {
        Some(_) => None,
        None => begins_late(reader)?,
    };
    let place = found.place;
    let elsewhere = rows.iter().map(|row| row.place).filter(|other| *other != place).collect();
    Ok(Found { place, is_item: true, elsewhere, unknown_before })
}

/// Looks for the record that an operator booked under an id.
///
/// # Errors
/// [`ShowError`].
pub fn find_record(reader: &Reader, operator: PartyId, id: &CdrId) -> Result<Found, ShowError> {
    reader.wait_for_read_model();
    let row = reader.client().read_model().record(operator, id).map_err(ReaderError::from)?;
    let Some(row) = row else {
        let nothing = ShowError::UnknownRecord { operator, id: id.clone() };
        return Err(unknown(reader, format!("{operator}'s record {id}"), nothing)?);
    };
    Ok(Found { place: row.place, is_item: true, elsewhere: Vec::new(), unknown_before: None })
}

/// The height of the first block that the read model knows, if that is not the first of the chain.
fn begins_late(reader: &Reader) -> Result<Option<u64>, ShowError> {
    let begins = reader.client().read_model().begins_at().map_err(ReaderError::from)?;
    Ok((begins > 1).then_some(begins))
}

/// What is said of something that was not found: `nothing`, if all blocks are known here.
fn unknown(reader: &Reader, what: String, nothing: ShowError) -> Result<ShowError, ShowError> {
    Ok(match begins_late(reader)? {
        None => nothing,
        Some(from) => ShowError::NotFoundHere { what, from },
    })
}

/// The envelope at a place that was found.
///
/// # Errors
/// [`ShowError`].
pub fn envelope(reader: &Reader, found: &Found) -> Result<TxView, ShowError> {
    let height = found.place.height;
    let block: Block = reader.block(height)?;
    let contents = block.contents().ok_or(ShowError::Body(height))?;
    let index = usize::from(found.place.envelope);
    let (signed, items) =
        contents.envelopes.get(index).zip(contents.items.get(index)).ok_or(ShowError::Body(height))?;
    let envelope = signed.envelope();
    let (family, kind) = TxKind::of(&envelope.tx).name().split_once('.').unwrap_or_default();
    let items = items
        .iter()
        .enumerate()
        .map(|(index, item)| item_view(reader, envelope.member, &envelope.tx, index, item));
    Ok(TxView {
        digest: signed.digest(),
        height,
        index: found.place.envelope,
        time: block.header().time.to_string(),
        member: envelope.member,
        key: envelope.key,
        lane: envelope.lane,
        sequence: envelope.sequence,
        expires_at: envelope.expires_at.to_string(),
        family,
        kind,
        says: says(&envelope.tx),
        items: items.collect::<Result<_, _>>()?,
        item: found.is_item.then_some(found.place.item),
        elsewhere: found.elsewhere.iter().map(Place::to_string).collect(),
        unknown_before: found.unknown_before,
    })
}

fn item_view(
    reader: &Reader,
    member: PartyId,
    tx: &Tx,
    index: usize,
    item: &Item,
) -> Result<ItemView, ShowError> {
    let (content, words) = match tx {
        Tx::Cdr(CdrTx::RecordCdrs(cdrs)) => match cdrs.get(index) {
            Some(cdr) => record(reader, member, cdr, item)?,
            None => (None, String::new()),
        },
        Tx::Cdr(CdrTx::TrueUp(cdrs)) => match cdrs.get(index) {
            Some(cdr) => trued_up(reader, cdr, item)?,
            None => (None, String::new()),
        },
        Tx::Settlement(SettlementTx::ReserveCredit(all)) => match all.get(index) {
            Some(reservation) => reserved(reader, reservation)?,
            None => (None, String::new()),
        },
        Tx::Voucher(tx) => match tx {
            VoucherTx::PublishKey { .. } | VoucherTx::RevokeKey { .. } => (None, String::new()),
            VoucherTx::Reserve(all) => {
                all.get(index).map(|item| reserved_voucher(reader, item)).transpose()?.unwrap_or_default()
            }
            VoucherTx::Refund(all) => all.get(index).map(refunded_voucher).unwrap_or_default(),
            VoucherTx::Block(all) => all.get(index).map(blocked_voucher).unwrap_or_default(),
        },
        _ => (None, String::new()),
    };
    Ok(ItemView { index, hash: item.hash, outcome: item.outcome, content, words })
}

/// Emsp and cpo of an agreement, if there is such an agreement.
fn sides(reader: &Reader, id: Digest) -> Result<Option<(PartyId, PartyId)>, StateError> {
    let agreement: Option<AgreementRecord> = read(reader.client(), &StateKey::Agreement(id))?;
    Ok(agreement.map(|a| (a.emsp, a.cpo)))
}

fn record(
    reader: &Reader,
    operator: PartyId,
    cdr: &Cdr,
    item: &Item,
) -> Result<(Option<Value>, String), ShowError> {
    let emsp = sides(reader, cdr.agreement.id)?.map(|(emsp, _)| emsp);
    let booked = query::cdr(reader.client(), operator, &cdr.id)?.filter(|booked| booked.digest == item.hash);
    let now = reader.client().latest().time;
    let status = booked.as_ref().map(|booked| status_in_words(&booked.status_at(now)));
    let [excl, incl] =
        [cdr.price.excl_vat, cdr.price.incl_vat].map(|m| Money::new(m, cdr.currency).to_string());
    let owes = match (emsp, &booked) {
        (Some(emsp), Some(booked)) => {
            format!("{emsp} owes {operator} {} for it", Money::new(booked.amount, cdr.currency))
        }
        (Some(emsp), None) => format!("of {emsp}'s driver at {operator}"),
        (None, _) => format!("at {operator}"),
    };
    let words = format!(
        "record {} of {} to {}, {}, {excl} without and {incl} with VAT, {owes}",
        cdr.id, cdr.start, cdr.end, cdr.energy
    );
    let value = json!({
        "record": cdr.id,
        "cpo": operator,
        "emsp": emsp,
        "agreement": cdr.agreement,
        "tariff": cdr.tariff,
        "start": cdr.start.to_string(),
        "end": cdr.end.to_string(),
        "energy_milli_wh": cdr.energy.milli_wh(),
        "price_excl_vat_micros": cdr.price.excl_vat,
        "price_incl_vat_micros": cdr.price.incl_vat,
        "currency": cdr.currency,
        "booked_micros": booked.as_ref().map(|booked| booked.amount),
        "status": status,
    });
    Ok((Some(value), words))
}

/// A record that a side had trued up.
fn trued_up(reader: &Reader, cdr: &Cdr, item: &Item) -> Result<(Option<Value>, String), ShowError> {
    let Some((_, operator)) = sides(reader, cdr.agreement.id)? else { return Ok((None, String::new())) };
    let booked = query::cdr(reader.client(), operator, &cdr.id)?.filter(|b| b.digest == cdr.digest());
    let micros =
        booked.iter().flat_map(|booked| &booked.adjustments).find_map(|adjustment| match adjustment {
            Adjustment::TrueUp { micros } if item.outcome.is_accepted() => Some(*micros),
            _ => None,
        });
    let by = micros.map_or_else(String::new, |micros| format!(" by {}", Money::new(micros, cdr.currency)));
    let words = format!("true-up of record {} at {operator}{by}", cdr.id);
    let value =
        json!({ "record": cdr.id, "cpo": operator, "agreement": cdr.agreement, "true_up_micros": micros });
    Ok((Some(value), words))
}

fn reserved(reader: &Reader, reservation: &CreditReservation) -> Result<(Option<Value>, String), ShowError> {
    let CreditReservation { agreement, session, amount, reserved_at, expires_at } = reservation;
    let sides = sides(reader, agreement.id)?;
    let between = sides.map_or_else(String::new, |(emsp, cpo)| format!(" of {emsp} with {cpo}"));
    let micros = *amount;
    let words =
        format!("{micros} millionths{between} for session {session}, from {reserved_at} to {expires_at}");
    let value = json!({
        "agreement": agreement,
        "emsp": sides.map(|(emsp, _)| emsp),
        "cpo": sides.map(|(_, cpo)| cpo),
        "session": session,
        "amount_micros": micros,
        "reserved_at": reserved_at.to_string(),
        "expires_at": expires_at.to_string(),
    });
    Ok((Some(value), words))
}

fn reserved_voucher(
    reader: &Reader,
    item: &VoucherReservation,
) -> Result<(Option<Value>, String), ShowError> {
    let (credit, credit_words) = reserved(reader, &item.credit())?;
    let signed = &item.spent.voucher;
    let nullifier = signed.voucher.nullifier();
    let words = format!("voucher {nullifier} of {}: {credit_words}", signed.voucher.emsp);
    let value = json!({
        "nullifier": nullifier,
        "cap": signed.voucher.cap.to_string(),
        "quote": item.spent.acceptance.quote,
        "credit": credit,
    });
    Ok((Some(value), words))
}

fn refunded_voucher(signed: &SignedVoucher) -> (Option<Value>, String) {
    let voucher = &signed.voucher;
    let (nullifier, cap) = (voucher.nullifier(), voucher.cap);
    let words = format!("voucher {nullifier} of up to {cap}, valid until {}", voucher.valid_until);
    let value = json!({
        "nullifier": nullifier,
        "cap": cap.to_string(),
        "valid_until": voucher.valid_until.to_string(),
    });
    (Some(value), words)
}

fn blocked_voucher(nullifier: &Nullifier) -> (Option<Value>, String) {
    (Some(json!({ "nullifier": nullifier })), format!("voucher {nullifier}"))
}

/// What a transaction says, but for the items of a batch.
fn says(tx: &Tx) -> Value {
    match tx {
        Tx::Membership(MembershipTx::RotateKey { key, .. }) => json!({ "new_key": key }),
        Tx::Agreement(AgreementTx::Propose { terms, effective_from }) => {
            json!({ "effective_from": effective_from.to_string(), "terms": terms })
        }
        Tx::Agreement(AgreementTx::Accept { id, version, terms }) => {
            json!({ "agreement": id, "version": version, "terms_digest": terms })
        }
        Tx::Agreement(AgreementTx::Amend { id, terms, effective_from }) => {
            json!({ "agreement": id, "effective_from": effective_from.to_string(), "terms": terms })
        }
        Tx::Agreement(AgreementTx::Terminate { id, at }) => json!({ "agreement": id, "at": at.to_string() }),
        Tx::Tariff(TariffTx::PublishTariff { version, tariff }) => {
            json!({ "version": version, "tariff": tariff })
        }
        Tx::Cdr(CdrTx::RecordCdrs(_) | CdrTx::TrueUp(_)) | Tx::Settlement(SettlementTx::ReserveCredit(_)) => {
            json!({})
        }
        Tx::Cdr(CdrTx::Contest { operator, cdr, evidence }) => {
            json!({ "operator": operator, "record": cdr, "evidence": evidence })
        }
        Tx::Cdr(CdrTx::Resolve { operator, cdr, give_back }) => {
            json!({ "operator": operator, "record": cdr, "give_back_micros": give_back })
        }
        Tx::Cdr(CdrTx::Credit { cdr, amount }) => json!({ "record": cdr, "amount_micros": amount }),
        Tx::Settlement(SettlementTx::ClosePeriod { period, currency }) => {
            json!({ "period": period, "currency": currency })
        }
        Tx::Settlement(
            SettlementTx::AttestDeposit { party, amount, reference }
            | SettlementTx::AttestPayout { party, amount, reference },
        ) => json!({ "party": party, "amount": amount.to_string(), "reference": reference }),
        Tx::Registry(tx) => says_registry(tx),
        Tx::Voucher(VoucherTx::PublishKey { public, valid_from, valid_until }) => {
            let (public, valid_from, valid_until) = (*public, *valid_from, *valid_until);
            keys::voucher_key(&VoucherKey { public, valid_from, valid_until })
        }
        Tx::Voucher(VoucherTx::RevokeKey { key }) => json!({ "key": key }),
        Tx::Voucher(VoucherTx::Reserve(_) | VoucherTx::Refund(_) | VoucherTx::Block(_)) => json!({}),
        Tx::Forecast(tx) => says_forecast(tx),
    }
}

fn says_forecast(tx: &ForecastTx) -> Value {
    let hour = |first| UnixMillis::from_utc_hour(first).map(|start| start.to_string());
    match tx {
        ForecastTx::AttestForecast(said) => json!({
            "zone": said.zone,
            "first_hour": hour(said.first_hour),
            "load_kw": said.load_kw,
            "low_kw": said.low_kw,
            "high_kw": said.high_kw,
            "renewable_bps": said.renewable_bps,
            "model": said.model,
            "data_window": said.window,
        }),
        ForecastTx::AttestLoad(said) => json!({
            "zone": said.zone,
            "first_hour": hour(said.first_hour),
            "load_kw": said.load_kw,
            "source": said.source,
        }),
    }
}

fn says_registry(tx: &RegistryTx) -> Value {
    match tx {
        RegistryTx::PublishDid { did, version, document, .. } => {
            json!({ "did": did, "version": version, "document": keys::document(document) })
        }
        RegistryTx::PublishSchema { id, schema } => {
            json!({ "schema": id, "attributes": schema.attributes })
        }
        RegistryTx::PublishCredentialDefinition { id, definition } => {
            json!({ "credential_definition": id, "says": keys::definition(definition.clone()) })
        }
        RegistryTx::PublishRevocationRegistry { id, registry } => {
            json!({ "revocation_registry": id, "says": keys::registry(registry.clone()) })
        }
        RegistryTx::PublishDatedRegistry { id, registry, window } => json!({
            "revocation_registry": id,
            "says": keys::registry(registry.clone()),
            "window": keys::registry_window(*window),
        }),
        RegistryTx::UpdateRevocation { id, version, change } => {
            json!({ "revocation_registry": id, "version": version, "change": keys::revocation_change(change) })
        }
        RegistryTx::GrantMandate { agent, schema, mandate } => json!({
            "issuer": agent,
            "schema": schema,
            "from": mandate.from.to_string(),
            "until": mandate.until.to_string(),
        }),
        RegistryTx::RevokeMandate { agent, schema } => json!({ "issuer": agent, "schema": schema }),
    }
}

impl fmt::Display for TxView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "envelope   {}", self.digest)?;
        writeln!(f, "where      block {} ({}), envelope {}", self.height, self.time, self.index)?;
        writeln!(
            f,
            "from       {}, key {}, lane {}, number {}",
            self.member, self.key, self.lane, self.sequence
        )?;
        writeln!(f, "expires    {}", self.expires_at)?;
        writeln!(f, "asks       {}.{}", self.family, self.kind)?;
        for (name, value) in self.says.as_object().into_iter().flatten() {
            // Terms and tariffs are long: as they are written in files.
            let text = if value.is_object() { value.to_string() } else { in_a_line(value) };
            writeln!(f, "  {}: {text}", name.replace('_', " "))?;
        }
        let asked = self.item.map(usize::from);
        let which = asked.map_or_else(String::new, |index| format!(", of which you named number {index}"));
        write!(f, "items      {}{which}", self.items.len())?;
        for item in self.items.iter().filter(|item| asked.is_none_or(|index| index == item.index)) {
            write!(f, "\n  {:>4}  {}  {}", item.index, item.hash, outcome_in_words(item.outcome))?;
            if !item.words.is_empty() {
                write!(f, "\n        {}", item.words)?;
            }
        }
        for place in &self.elsewhere {
            write!(f, "\nalso asked for at {place}")?;
        }
        if let Some(from) = self.unknown_before {
            write!(
                f,
                "\nbefore block {from} nothing is known here, and it may have been accepted there: ask another validator with \
                 --validator"
            )?;
        }
        Ok(())
    }
}
