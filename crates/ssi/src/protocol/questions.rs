//! Our own protocols of one question and one answer: a station asks its operator, a wallet its home utility.
//!
//! ```text
//! asks                         is asked
//!   | ---- <name> ------------> read_question
//!   | <--- <name>-answer ------ answer        what was asked for, or a denial in words
//! ```
//! The question is the thread. It may be asked again, and whoever is asked gives the same answer again: an answer may
//! get lost.

use super::{Illegal, Incoming};
use crate::did::VerificationKey;
use crate::didcomm::{Message, MessageId, MessageType};
use eroam_domain::cdr::CdrId;
use eroam_domain::charge::Quote;
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::money::{Currency, Price};
use eroam_domain::quantity::WattHours;
use eroam_domain::retail::RetailTerms;
use eroam_domain::time::{CivilMonth, UnixMillis};
use eroam_domain::visit::{Accounting, Denied, Enabled, QuoteRequest, ReserveRequest};
use eroam_domain::voucher::{OneTimeKey, SignedVoucher};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a message says, under this name.
pub(super) const CONTENT: &str = "content";
/// Why nothing was given, under this name.
const DENIED: &str = "denied";

/// Between a station and its operator.
pub const STATION: &str = "https://eroam.example/station/1.0";
/// Between a wallet and its home utility.
pub const CUSTOMER: &str = "https://eroam.example/customer/1.0";

/// A question, and what answers it.
pub trait Question: Serialize + DeserializeOwned {
    /// The protocol's URI.
    const PROTOCOL: &'static str;
    /// The message's name.
    const NAME: &'static str;
    /// What is given.
    type Answer: Serialize + DeserializeOwned;
}

impl Question for QuoteRequest {
    const PROTOCOL: &'static str = STATION;
    const NAME: &'static str = "quote";
    type Answer = Quote;
}

impl Question for ReserveRequest {
    const PROTOCOL: &'static str = STATION;
    const NAME: &'static str = "reserve";
    type Answer = Enabled;
}

impl Question for Accounting {
    const PROTOCOL: &'static str = STATION;
    const NAME: &'static str = "account";
    type Answer = Received;
}

/// A wallet asks for vouchers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// From which UTC day on they shall be valid: days since 1970.
    pub day: i64,
    /// A key of its own for each.
    pub keys: Vec<OneTimeKey>,
}

impl Question for Withdrawal {
    const PROTOCOL: &'static str = CUSTOMER;
    const NAME: &'static str = "withdraw";
    type Answer = Vec<SignedVoucher>;
}

/// Anybody asks a station of which kind its AnonCreds credential is, before it has it proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AboutStation {}

impl Question for AboutStation {
    const PROTOCOL: &'static str = STATION;
    const NAME: &'static str = "about";
    type Answer = StationKind;
}

/// Where a station's AnonCreds credential comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationKind {
    /// Its credential definition.
    pub definition: String,
    /// Its revocation registry.
    pub registry: String,
}

/// A wallet shows over a new connection whose contract it has: before the contract is issued to it, and when it was away,
/// since it has no address between two runs and may be on another device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejoin {
    /// Which contract.
    pub contract: ContractId,
    /// By the key that signed the contract, over [`rejoin_digest`] for [`Rejoining::Customer`].
    pub signature: SignatureBytes,
}

impl Question for Rejoin {
    const PROTOCOL: &'static str = CUSTOMER;
    const NAME: &'static str = "rejoin";
    type Answer = Rejoined;
}

/// The home utility knows the wallet again, and shows that it is the one that signed the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejoined {
    /// By the key that countersigned the contract, over [`rejoin_digest`] for [`Rejoining::Provider`].
    pub signature: SignatureBytes,
}

/// Who signs that a contract is taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoining {
    /// The wallet.
    Customer,
    /// The home utility.
    Provider,
}

/// What is signed when a contract is taken up again: it names the keys of this one connection, so that what was signed is
/// of no use on another.
#[must_use]
pub fn rejoin_digest(
    who: Rejoining,
    contract: &ContractId,
    wallet: &VerificationKey,
    provider: &VerificationKey,
) -> Digest {
    let context = match who {
        Rejoining::Customer => "eroam/rejoin/customer/1",
        Rejoining::Provider => "eroam/rejoin/provider/1",
    };
    let contract = contract.to_string();
    Digest::of_parts(context, &[contract.as_bytes(), wallet.as_bytes(), provider.as_bytes()])
}

/// A wallet asks what its customer's prices follow from: ahead of its charges, since asking says that one may be near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricesAsked {}

impl Question for PricesAsked {
    const PROTOCOL: &'static str = CUSTOMER;
    const NAME: &'static str = "prices";
    type Answer = RetailTerms;
}

/// A wallet asks what its bill of a month says so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillSoFar {
    /// Which month.
    pub month: CivilMonth,
}

impl Question for BillSoFar {
    const PROTOCOL: &'static str = CUSTOMER;
    const NAME: &'static str = "bill";
    type Answer = Vec<BilledCharge>;
}

/// A charge on a customer's bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BilledCharge {
    /// Whose station.
    pub operator: PartyId,
    /// The operator's record.
    pub cdr: CdrId,
    /// Where.
    pub evse: EvseId,
    /// The place in words.
    pub place: String,
    /// From when.
    pub start: UnixMillis,
    /// Until when.
    pub end: UnixMillis,
    /// How much.
    pub energy: WattHours,
    /// In which currency it is paid.
    pub currency: Currency,
    /// What the customer pays.
    pub price: Price,
}

/// It came, and is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// When.
    pub at: UnixMillis,
}

/// The type of a message of one of our own protocols.
pub(super) fn kind(protocol: &str, name: &str) -> Result<MessageType, Illegal> {
    MessageType::parse(&format!("{protocol}/{name}")).ok_or(Illegal::Malformed("@type"))
}

/// The name of a message of one of our own protocols.
pub(super) fn name_in<'a>(protocol: &str, message: &'a Message) -> Result<&'a str, Illegal> {
    let name = message.kind().name();
    if message.kind().to_string() == format!("{protocol}/{name}") {
        Ok(name)
    } else {
        Err(Illegal::Unsupported { found: message.kind().clone() })
    }
}

pub(super) fn with_content(message: Message, content: &impl Serialize) -> Result<Message, Illegal> {
    let value = serde_json::to_value(content).map_err(|_| Illegal::Malformed(CONTENT))?;
    Ok(message.with(CONTENT, value))
}

pub(super) fn content<T: DeserializeOwned>(message: &Message) -> Result<T, Illegal> {
    member(message, CONTENT)
}

fn member<T: DeserializeOwned>(message: &Message, name: &'static str) -> Result<T, Illegal> {
    let value: &Value = message.body().get(name).ok_or(Illegal::Malformed(name))?;
    T::deserialize(value).map_err(|_| Illegal::Malformed(name))
}

/// Asks. `id` becomes the thread.
///
/// # Errors
/// [`Illegal::Malformed`] for what JSON cannot say.
pub fn ask<Q: Question>(question: &Q, id: MessageId, deadline: UnixMillis) -> Result<Message, Illegal> {
    let message = Message::new(kind(Q::PROTOCOL, Q::NAME)?, id).expiring(deadline);
    with_content(message, question)
}

/// Whether a message is such a question.
#[must_use]
pub fn is_question<Q: Question>(incoming: &Incoming) -> bool {
    name_in(Q::PROTOCOL, incoming.message()).is_ok_and(|name| name == Q::NAME)
}

/// Reads a question.
///
/// # Errors
/// [`Illegal`] for other messages, for malformed ones, and for one that came too late.
pub fn read_question<Q: Question>(incoming: &Incoming, now: UnixMillis) -> Result<Q, Illegal> {
    let message = incoming.message();
    if name_in(Q::PROTOCOL, message)? != Q::NAME {
        return Err(Illegal::Unsupported { found: message.kind().clone() });
    }
    super::in_time(message.expires(), now)?;
    content(message)
}

/// Answers a question.
///
/// # Errors
/// [`Illegal::Malformed`] for what JSON cannot say.
pub fn answer<Q: Question>(
    question: &Incoming,
    answer: &Result<Q::Answer, Denied>,
    id: MessageId,
) -> Result<Message, Illegal> {
    let kind = kind(Q::PROTOCOL, &format!("{}-answer", Q::NAME))?;
    let message = Message::new(kind, id).on_thread(question.message().thread().clone());
    match answer {
        Ok(given) => with_content(message, given),
        Err(denied) => {
            let value = serde_json::to_value(denied).map_err(|_| Illegal::Malformed(DENIED))?;
            Ok(message.with(DENIED, value))
        }
    }
}

/// Reads the answer to the question that was asked as `thread`.
///
/// # Errors
/// [`Illegal`] for other messages, those of other threads, and malformed ones.
pub fn read_answer<Q: Question>(
    incoming: &Incoming,
    thread: &MessageId,
) -> Result<Result<Q::Answer, Denied>, Illegal> {
    let message = incoming.message();
    if name_in(Q::PROTOCOL, message)?.strip_suffix("-answer") != Some(Q::NAME) {
        return Err(Illegal::Unsupported { found: message.kind().clone() });
    }
    if message.thread() != thread {
        let (expected, found) = (thread.clone(), message.thread().clone());
        return Err(Illegal::WrongThread { expected, found });
    }
    match (message.body().contains_key(CONTENT), message.body().contains_key(DENIED)) {
        (true, false) => Ok(Ok(content(message)?)),
        (false, true) => Ok(Err(member(message, DENIED)?)),
        _ => Err(Illegal::Malformed(CONTENT)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, channel, id, incoming};
    use super::*;
    use crate::didcomm::SigningKey;
    use eroam_domain::charge::Denial;

    fn asked() -> (Withdrawal, Incoming) {
        let question = Withdrawal { day: 20_000, keys: vec![OneTimeKey([1; 32]), OneTimeKey([2; 32])] };
        let message = ask(&question, id("q"), at(50)).unwrap();
        (question, incoming(channel(), Message::parse(&message.to_bytes()).unwrap()))
    }

    fn came(message: &Message) -> Incoming {
        incoming(channel(), Message::parse(&message.to_bytes()).unwrap())
    }

    #[test]
    fn a_question_is_read_in_time_and_answered_on_its_thread() {
        let (question, asked) = asked();
        assert!(is_question::<Withdrawal>(&asked) && !is_question::<QuoteRequest>(&asked));
        assert_eq!(read_question::<Withdrawal>(&asked, at(50)).unwrap(), question);
        assert!(matches!(read_question::<Withdrawal>(&asked, at(51)), Err(Illegal::Expired { .. })));
        assert!(matches!(read_question::<ReserveRequest>(&asked, at(1)), Err(Illegal::Unsupported { .. })));
        let denied = Denied::from(Denial::Suspended);
        for given in [Ok(Vec::new()), Err(denied)] {
            let message = answer::<Withdrawal>(&asked, &given, id("a")).unwrap();
            assert_eq!(read_answer::<Withdrawal>(&came(&message), &id("q")).unwrap(), given);
            let other = read_answer::<Withdrawal>(&came(&message), &id("r"));
            assert!(matches!(other, Err(Illegal::WrongThread { .. })));
            let other = read_answer::<Accounting>(&came(&message), &id("q"));
            assert!(matches!(other, Err(Illegal::Unsupported { .. })));
        }
    }

    #[test]
    fn what_is_neither_an_answer_nor_a_denial_is_malformed() {
        let (_, asked) = asked();
        let good = answer::<Withdrawal>(&asked, &Ok(Vec::new()), id("a")).unwrap();
        let denied = serde_json::to_value(Denied::from(Denial::Ended)).unwrap();
        let bare = Message::new(good.kind().clone(), id("b")).on_thread(id("q"));
        for message in
            [good.with(DENIED, denied), bare.clone(), bare.clone().with(CONTENT, 5), bare.with(DENIED, "no")]
        {
            let read = read_answer::<Withdrawal>(&came(&message), &id("q"));
            assert!(matches!(read, Err(Illegal::Malformed(_))), "{read:?}");
        }
    }

    #[test]
    fn what_takes_a_contract_up_again_is_of_one_connection_contract_and_side() {
        let key = |n: u8| SigningKey::from_seed(&[n; 32]).verification_key();
        let (one, other): (ContractId, ContractId) =
            ("PT-LUZ-C00000001".parse().unwrap(), "PT-LUZ-C00000002".parse().unwrap());
        let digests = [
            rejoin_digest(Rejoining::Customer, &one, &key(1), &key(2)),
            rejoin_digest(Rejoining::Provider, &one, &key(1), &key(2)),
            rejoin_digest(Rejoining::Customer, &other, &key(1), &key(2)),
            rejoin_digest(Rejoining::Customer, &one, &key(3), &key(2)),
            rejoin_digest(Rejoining::Customer, &one, &key(1), &key(3)),
            rejoin_digest(Rejoining::Customer, &one, &key(2), &key(1)),
        ];
        let different: std::collections::BTreeSet<_> = digests.iter().map(|digest| digest.0).collect();
        assert_eq!(different.len(), digests.len());
    }
}
