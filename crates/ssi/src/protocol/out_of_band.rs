//! Invitations: what one agent shows another outside of any connection, as a message, a link or its QR code.
//!
//! An invitation is not authenticated: whoever made it is known only once the exchange that follows was signed by its key.
//! It is not secret either, unless its maker gives it to one alone: then its id, which the answer names inside its envelope
//! and nobody can guess, tells that one from others ([`Invitation::under`]).
//!
//! Source: Aries RFC 0434.

use super::{Family, Illegal};
use crate::did::{Did, DidError, Document, Endpoint, Target, VerificationKey, base64url};
use crate::didcomm::{Message, MessageId, MessageType};
use crate::protocol::content::{optional_text, with_text};
use serde_json::{Value, json};

/// The longest invitation that is read.
pub const INVITATION_BYTES_MAX: usize = 16 * 1024;
/// The most services of an invitation.
const SERVICES_MAX: usize = 8;
/// The most entries of its other lists.
const LIST_MAX: usize = 16;
/// The envelopes that are spoken here, as invitations name them.
const ACCEPT: [&str; 2] = ["didcomm/aip1", "didcomm/aip2;env=rfc19"];

/// One way to the inviter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvitationService {
    /// An identifier, whose document says more.
    Did(Did),
    /// Keys and an endpoint.
    Inline(Target),
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    id: MessageId,
    label: Option<String>,
    goal_code: Option<String>,
    goal: Option<String>,
    services: Vec<InvitationService>,
    did_exchange: bool,
}

impl Invitation {
    /// An invitation to a DID exchange with one service. `label` is what people are shown.
    #[must_use]
    pub fn new(id: MessageId, label: Option<&str>, service: InvitationService) -> Self {
        let label = label.map(str::to_owned);
        Self { id, label, goal_code: None, goal: None, services: vec![service], did_exchange: true }
    }

    /// The same invitation under another id, so that who answers it can be told from those who answer others with the same
    /// key.
    #[must_use]
    pub fn under(self, id: MessageId) -> Self {
        Self { id, ..self }
    }

    /// The invitation with its purpose, for programs and for people.
    #[must_use]
    pub fn with_goal(mut self, code: &str, goal: &str) -> Self {
        (self.goal_code, self.goal) = (Some(code.to_owned()), Some(goal.to_owned()));
        self
    }

    /// Reads an invitation from its JSON.
    ///
    /// # Errors
    /// [`Illegal::Malformed`] and others.
    pub fn parse(bytes: &[u8]) -> Result<Self, Illegal> {
        if bytes.len() > INVITATION_BYTES_MAX {
            return Err(Illegal::Malformed("an invitation of this length, which"));
        }
        Self::read(&Message::parse(bytes).map_err(|_| Illegal::Malformed("the invitation"))?)
    }

    /// Reads an invitation from a link: its query parameter `oob`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_url(url: &str) -> Result<Self, Illegal> {
        if url.len() > INVITATION_BYTES_MAX.saturating_mul(2) {
            return Err(Illegal::Malformed("a link of this length, which"));
        }
        let query = url.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
        let mut found =
            query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.strip_prefix("oob="));
        let (Some(text), None) = (found.next(), found.next()) else { return Err(Illegal::Malformed("oob")) };
        // Padding may be percent-encoded, as in any query.
        let text = text.replace("%3D", "=").replace("%3d", "=");
        Self::parse(&base64url::decode(&text).ok_or(Illegal::Malformed("oob"))?)
    }

    /// The invitation as a link below `base`, which has no query.
    #[must_use]
    pub fn to_url(&self, base: &Endpoint) -> String {
        format!("{base}?oob={}", base64url::encode(&self.to_message().to_bytes()))
    }

    /// The invitation as a message.
    #[must_use]
    pub fn to_message(&self) -> Message {
        let services = self.services.iter().enumerate().map(|(n, service)| match service {
            InvitationService::Did(did) => did.as_str().into(),
            InvitationService::Inline(target) => {
                let routing = target
                    .routing_keys()
                    .iter()
                    .map(VerificationKey::to_did_key_reference)
                    .collect::<Vec<_>>();
                json!({"id": format!("#inline-{n}"), "type": "did-communication",
                    "recipientKeys": [target.recipient().to_did_key_reference()], "routingKeys": routing,
                    "serviceEndpoint": target.endpoint().as_str()})
            }
        });
        let mut message = Message::new(Family::OutOfBand.message("invitation"), self.id.clone())
            .with("accept", ACCEPT.to_vec())
            .with("services", services.collect::<Vec<Value>>());
        if self.did_exchange {
            message = message.with("handshake_protocols", vec![Family::DidExchange.uri()]);
        }
        message = with_text(message, "label", self.label.as_deref());
        message = with_text(message, "goal_code", self.goal_code.as_deref());
        with_text(message, "goal", self.goal.as_deref())
    }

    /// Takes a message for an invitation. Services that cannot be read are passed over as long as one can.
    ///
    /// # Errors
    /// [`Illegal`].
    pub fn read(message: &Message) -> Result<Self, Illegal> {
        let kind = message.kind();
        // Version 1.0 has the same members.
        if !kind.is("out-of-band", 1, "invitation") {
            return Err(Illegal::Unsupported { found: kind.clone() });
        }
        let list = |name: &'static str, max: usize| match message.body().get(name) {
            None | Some(Value::Null) => Ok([].as_slice()),
            Some(Value::Array(items)) if items.len() <= max => Ok(items.as_slice()),
            Some(_) => Err(Illegal::Malformed(name)),
        };
        let exchange = |item: &Value| {
            // A protocol is named as a message without its name.
            let kind = item
                .as_str()
                .and_then(|uri| MessageType::parse(&format!("{}/request", uri.trim_end_matches('/'))));
            kind.is_some_and(|kind| matches!(Family::of(&kind), Ok(Family::DidExchange)))
        };
        let did_exchange = list("handshake_protocols", LIST_MAX)?.iter().any(exchange);
        let accept = list("accept", LIST_MAX)?;
        if !accept.is_empty()
            && !accept.iter().any(|item| item.as_str().is_some_and(|item| ACCEPT.contains(&item)))
        {
            return Err(Illegal::NotOffered("envelope that is spoken here"));
        }
        let mut services = Vec::new();
        let mut problem = Illegal::Malformed("services");
        for service in list("services", SERVICES_MAX)? {
            match read_service(service) {
                Ok(service) => services.push(service),
                Err(error) => problem = error,
            }
        }
        if services.is_empty() {
            return Err(problem);
        }
        Ok(Self {
            id: message.id().clone(),
            label: optional_text(message, "label")?,
            goal_code: optional_text(message, "goal_code")?,
            goal: optional_text(message, "goal")?,
            services,
            did_exchange,
        })
    }

    /// Its id: the thread above the exchange that answers it.
    #[must_use]
    pub const fn id(&self) -> &MessageId {
        &self.id
    }

    /// What the inviter calls itself: its word alone.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Its purpose for programs.
    #[must_use]
    pub fn goal_code(&self) -> Option<&str> {
        self.goal_code.as_deref()
    }

    /// Its purpose for people.
    #[must_use]
    pub fn goal(&self) -> Option<&str> {
        self.goal.as_deref()
    }

    /// The ways to the inviter.
    #[must_use]
    pub fn services(&self) -> &[InvitationService] {
        &self.services
    }

    /// Whether it invites to a DID exchange that is spoken here.
    #[must_use]
    pub const fn offers_did_exchange(&self) -> bool {
        self.did_exchange
    }

    /// Where an answer goes: the first service that leads somewhere. `resolve` finds the documents of identifiers;
    /// [`crate::did::resolve`] those that carry them.
    ///
    /// # Errors
    /// [`Illegal`], for the last of the services.
    pub fn target(&self, resolve: impl Fn(&Did) -> Result<Document, DidError>) -> Result<Target, Illegal> {
        let mut problem = Illegal::Malformed("services");
        for service in &self.services {
            let target = match service {
                InvitationService::Inline(target) => Ok(target.clone()),
                InvitationService::Did(did) => {
                    super::did_exchange::target_of(did, &resolve).map(|(_, target)| target)
                }
            };
            match target {
                Ok(target) => return Ok(target),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }
}

fn read_service(service: &Value) -> Result<InvitationService, Illegal> {
    if let Some(did) = service.as_str() {
        return Ok(InvitationService::Did(Did::parse(did)?));
    }
    let keys = |name: &'static str| match service.get(name) {
        None => Ok(Vec::new()),
        Some(keys) => {
            let keys =
                keys.as_array().filter(|keys| keys.len() <= SERVICES_MAX).ok_or(Illegal::Malformed(name))?;
            let read = keys.iter().map(|key| {
                let key = key.as_str().ok_or(Illegal::Malformed(name))?;
                VerificationKey::from_did_key(key).map_err(|error| Illegal::Did(error.into()))
            });
            read.collect::<Result<Vec<_>, _>>()
        }
    };
    if service.get("type").and_then(Value::as_str) != Some("did-communication") {
        return Err(Illegal::Malformed("the type of a service"));
    }
    let endpoint = service.get("serviceEndpoint").and_then(Value::as_str).and_then(Endpoint::parse);
    let endpoint = endpoint.ok_or(Illegal::Malformed("serviceEndpoint"))?;
    let recipient = *keys("recipientKeys")?.first().ok_or(Illegal::Malformed("recipientKeys"))?;
    let target = Target::new(endpoint, recipient, keys("routingKeys")?);
    Ok(InvitationService::Inline(target.ok_or(Illegal::Malformed("routingKeys"))?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{id, signing_key};
    use super::*;
    use crate::did;
    use proptest::prelude::*;

    fn endpoint() -> Endpoint {
        Endpoint::parse("https://a.example/inbox").unwrap()
    }

    fn of_did() -> Invitation {
        let did = did::peer2::create(&signing_key(3).verification_key(), &endpoint(), &[]).unwrap();
        Invitation::new(id("i1"), Some("Säule 7"), InvitationService::Did(did))
            .with_goal("charge", "Charge a car")
    }

    fn inline() -> Invitation {
        let key = |seed| signing_key(seed).verification_key();
        let target = Target::new(endpoint(), key(3), vec![key(4)]).unwrap();
        Invitation::new(id("i2"), None, InvitationService::Inline(target))
    }

    #[test]
    fn invitations_are_read_back_as_messages_and_as_links() {
        for invitation in [of_did(), inline()] {
            assert_eq!(Invitation::parse(&invitation.to_message().to_bytes()).unwrap(), invitation);
            assert_eq!(Invitation::from_url(&invitation.to_url(&endpoint())).unwrap(), invitation);
            let target = invitation.target(did::resolve).unwrap();
            assert_eq!(target.recipient(), &signing_key(3).verification_key());
        }
        let url = of_did().to_url(&endpoint());
        assert!(url.starts_with("https://a.example/inbox?oob=ey"));
        let with_more = format!("{}&x=1#y", url.replace("?oob=", "?a=b&oob="));
        assert_eq!(Invitation::from_url(&with_more).unwrap(), of_did());
    }

    #[test]
    fn an_invitation_under_another_id_leads_to_the_same_inviter() {
        let other = of_did().under(id("i9"));
        assert_eq!((other.id(), other.services()), (&id("i9"), of_did().services()));
        assert_eq!(other.under(id("i1")), of_did());
    }

    #[test]
    fn malformed_invitations_are_refused() {
        let change = |name: &str, value: Value| {
            let mut message = of_did().to_message().to_value();
            message[name] = value;
            Invitation::parse(message.to_string().as_bytes())
        };
        let service = |member: &str, value: Value| {
            let mut message = inline().to_message().to_value();
            message["services"][0][member] = value;
            Invitation::parse(message.to_string().as_bytes())
        };
        let errors = [
            ("type", change("@type", json!("https://didcomm.org/connections/1.0/invitation"))),
            ("major", change("@type", json!("https://didcomm.org/out-of-band/2.0/invitation"))),
            ("no services", change("services", json!([]))),
            ("not a list", change("services", json!("did:x:y"))),
            ("not a DID", change("services", json!(["x"]))),
            ("too many", change("services", json!(vec!["did:x:y"; 9]))),
            ("label", change("label", json!(1))),
            ("long", change("label", json!("a".repeat(20_000)))),
            ("accept", change("accept", json!(["didcomm/v2"]))),
            ("no keys", service("recipientKeys", json!([]))),
            ("raw key", service("recipientKeys", json!([signing_key(1).verification_key().to_string()]))),
            ("routing", service("routingKeys", json!(1))),
            ("endpoint", service("serviceEndpoint", json!("mailto:a"))),
            ("service type", service("type", json!("x"))),
        ];
        for (name, result) in errors {
            assert!(result.is_err(), "{name}");
        }
        assert!(change("@type", json!("https://didcomm.org/out-of-band/1.0/invitation")).is_ok());
        for url in [
            "https://a",
            "https://a?c_i=e30",
            "https://a?oob=!",
            "https://a?oob=e30",
            "https://a?oob=e30&oob=e30",
        ] {
            assert!(Invitation::from_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_service_that_leads_nowhere_is_passed_over() {
        let mut message = inline().to_message().to_value();
        let list = message["services"].as_array_mut().unwrap();
        list.insert(0, json!("did:web:a.example"));
        list.insert(0, json!({"type": "other"}));
        let invitation = Invitation::parse(message.to_string().as_bytes()).unwrap();
        assert_eq!(invitation.services().len(), 2);
        assert!(invitation.target(did::resolve).is_ok());
        let nowhere =
            Invitation::new(id("i"), None, InvitationService::Did(Did::parse("did:web:a").unwrap()));
        assert!(matches!(nowhere.target(did::resolve), Err(Illegal::Did(_))));
        let key_alone = signing_key(1).verification_key().to_did_key();
        let no_service = Invitation::new(id("i"), None, InvitationService::Did(key_alone));
        assert!(matches!(no_service.target(did::resolve), Err(Illegal::NoService(_))));
    }

    #[test]
    fn only_did_exchange_from_1_1_on_is_offered() {
        let offers = |protocols: Value| {
            let mut message = of_did().to_message().to_value();
            message["handshake_protocols"] = protocols;
            Invitation::parse(message.to_string().as_bytes()).unwrap().offers_did_exchange()
        };
        assert!(offers(json!(["https://didcomm.org/didexchange/1.1"])));
        assert!(offers(json!(["x", "https://didcomm.org/didexchange/1.2/"])));
        assert!(offers(json!(["did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/didexchange/1.1"])));
        assert!(!offers(json!([
            "https://didcomm.org/didexchange/1.0",
            "https://didcomm.org/connections/1.0"
        ])));
        assert!(!offers(Value::Null));
    }

    proptest! {
        #[test]
        fn mutated_links_never_panic(at in 0_usize..2000, with in "[ -~]{0,3}") {
            let mut url = of_did().to_url(&endpoint());
            let at = at % url.len();
            url.replace_range(at..(at + 1), &with);
            let _ = Invitation::from_url(&url);
        }
    }
}
