//! Credentials and proofs over a connection: the protocols' machines, driven.

use super::ChargingError;
use super::issuer::CredentialPlace;
use crate::agent::{Agent, PATIENCE, count_credential, count_presentation, new_id};
use crate::clock::{in_time, now};
use eroam_ledger::registry::RegistryWindow;
use eroam_ssi::anoncreds::{AttributeValues, Credential, CredentialOffer, CredentialRequest};
use eroam_ssi::didcomm::MessageId;
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::issue_credential::{self, Issuer as Issuing, Offer, Preview};
use eroam_ssi::protocol::present_proof::{self, Prover, Request, Verifier};
use eroam_ssi::protocol::questions::{self, Question};
use eroam_ssi::protocol::{Formatted, Incoming, find_format};
use std::time::{Duration, Instant};

/// So long a step is good for the other side, and usually waited for.
pub const STEP_WITHIN: Duration = PATIENCE;

/// So long a person may take to agree to what is shown.
pub const AGREES_WITHIN: Duration = Duration::from_secs(300);

/// One attachment of a format.
#[must_use]
pub fn formatted(format: &str, content: Vec<u8>) -> Vec<Formatted> {
    vec![Formatted { format: format.to_owned(), content }]
}

fn send_proof(
    agent: &Agent,
    connection: &Connection,
    effects: &[present_proof::Effect],
) -> Result<(), ChargingError> {
    for effect in effects {
        if let present_proof::Effect::Send(message) = effect {
            agent.send(connection, message)?;
        }
    }
    Ok(())
}

/// A proof that was asked for and is awaited.
pub struct Awaited {
    verifier: Verifier<()>,
    thread: MessageId,
    asked_at: Instant,
}

/// Asks for a proof in a format, of whom nobody has to agree to it.
///
/// # Errors
/// [`ChargingError`].
pub fn ask_proof(
    agent: &Agent,
    connection: &Connection,
    format: &str,
    request: Vec<u8>,
) -> Result<Awaited, ChargingError> {
    ask_within(agent, connection, format, request, STEP_WITHIN)
}

/// As [`ask_proof`], of a person: [`Awaited::shown_by`].
///
/// # Errors
/// [`ChargingError`].
pub fn ask_person(
    agent: &Agent,
    connection: &Connection,
    format: &str,
    request: Vec<u8>,
) -> Result<Awaited, ChargingError> {
    ask_within(agent, connection, format, request, AGREES_WITHIN)
}

fn ask_within(
    agent: &Agent,
    connection: &Connection,
    format: &str,
    request: Vec<u8>,
    within: Duration,
) -> Result<Awaited, ChargingError> {
    let asked_at = Instant::now();
    let asked = Request { comment: None, will_confirm: false, requests: formatted(format, request) };
    let (verifier, effects) = Verifier::request(connection.channel(), &asked, new_id(), in_time(within))?;
    send_proof(agent, connection, &effects)?;
    let thread = verifier.unfinished().map(|conversation| conversation.thread().clone());
    let thread = thread.ok_or_else(|| ChargingError::unexpected("a proof", "it was not asked for"))?;
    Ok(Awaited { verifier, thread, asked_at })
}

impl Awaited {
    /// Waits for the proof: what was shown, in a format.
    ///
    /// # Errors
    /// [`ChargingError`]; [`ChargingError::Abandoned`] if the other side does not show it.
    pub fn shown(
        self,
        agent: &Agent,
        connection: &Connection,
        format: &str,
    ) -> Result<Vec<u8>, ChargingError> {
        let came = agent.receive_from(connection, Some(&self.thread), STEP_WITHIN)?;
        self.read(agent, connection, format, &came)
    }

    /// As [`Awaited::shown`], of somebody who may leave instead, which is said on another thread.
    ///
    /// # Errors
    /// [`ChargingError`]; [`ChargingError::DriverLeft`] if something comes on that thread.
    pub fn shown_by(
        self,
        agent: &Agent,
        connection: &Connection,
        format: &str,
        leaves: &MessageId,
    ) -> Result<Vec<u8>, ChargingError> {
        let came = agent.receive("proof", AGREES_WITHIN, |incoming| {
            let thread = incoming.message().thread();
            incoming.channel() == connection.channel() && (*thread == self.thread || thread == leaves)
        })?;
        if came.message().thread() == leaves {
            return Err(ChargingError::DriverLeft);
        }
        self.read(agent, connection, format, &came)
    }

    fn read(
        self,
        agent: &Agent,
        connection: &Connection,
        format: &str,
        came: &Incoming,
    ) -> Result<Vec<u8>, ChargingError> {
        let (_, effects) = agent.drive(connection, came, self.verifier.handle(came, now()))?;
        for effect in effects {
            match effect {
                present_proof::Effect::Presented(shown) => {
                    count_presentation(self.asked_at.elapsed());
                    let found = find_format(&shown, format).map(<[u8]>::to_vec);
                    return found.ok_or_else(|| ChargingError::unexpected("a proof", format));
                }
                present_proof::Effect::Abandoned(why) => return Err(ChargingError::Abandoned(why)),
                _ => {}
            }
        }
        Err(ChargingError::unexpected("a proof", "another message came"))
    }
}

/// A request for a proof that came.
pub struct Asked {
    prover: Prover,
    /// What is asked.
    pub request: Vec<u8>,
}

/// Waits for a request for a proof over a connection, in a format.
///
/// # Errors
/// [`ChargingError`].
pub fn asked_proof(agent: &Agent, connection: &Connection, format: &str) -> Result<Asked, ChargingError> {
    let came = agent.receive("request for a proof", agent.patience(), |incoming| {
        incoming.channel() == connection.channel()
            && incoming.message().kind().name() == "request-presentation"
    })?;
    read_asked(agent, connection, &came, format)
}

/// As [`asked_proof`], of somebody who may say something on another thread instead, which is then given back.
///
/// # Errors
/// [`ChargingError`].
pub fn asked_proof_or_told(
    agent: &Agent,
    connection: &Connection,
    format: &str,
    tells: &MessageId,
) -> Result<Result<Asked, Incoming>, ChargingError> {
    let came = agent.receive("request for a proof", agent.patience(), |incoming| {
        let message = incoming.message();
        incoming.channel() == connection.channel()
            && (message.kind().name() == "request-presentation" || message.thread() == tells)
    })?;
    if came.message().thread() == tells {
        return Ok(Err(came));
    }
    read_asked(agent, connection, &came, format).map(Ok)
}

fn read_asked(
    agent: &Agent,
    connection: &Connection,
    came: &Incoming,
    format: &str,
) -> Result<Asked, ChargingError> {
    let handled = Prover::requested(came, now(), in_time(AGREES_WITHIN));
    let (prover, effects) = agent.drive(connection, came, handled)?;
    for effect in effects {
        if let present_proof::Effect::Requested(request) = effect {
            let found = find_format(&request.requests, format).map(<[u8]>::to_vec);
            let request = found.ok_or_else(|| ChargingError::unexpected("a request for a proof", format))?;
            return Ok(Asked { prover, request });
        }
    }
    Err(ChargingError::unexpected("a request for a proof", "another message came"))
}

impl Asked {
    /// Shows what was asked for.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn show(
        self,
        agent: &Agent,
        connection: &Connection,
        format: &str,
        shown: Vec<u8>,
    ) -> Result<(), ChargingError> {
        let (_, effects) = self.prover.present(&formatted(format, shown), new_id(), now())?;
        send_proof(agent, connection, &effects)
    }

    /// Shows nothing, and says why.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn decline(self, agent: &Agent, connection: &Connection, why: &str) -> Result<(), ChargingError> {
        let (_, effects) = self.prover.decline(why, new_id())?;
        send_proof(agent, connection, &effects)
    }
}

/// Asks one of our own questions and waits for its answer.
///
/// # Errors
/// [`ChargingError`]; [`ChargingError::Denied`] for a denial.
pub fn question<Q: Question>(
    agent: &Agent,
    connection: &Connection,
    question: &Q,
) -> Result<Q::Answer, ChargingError> {
    let thread = new_id();
    let message = questions::ask(question, thread.clone(), in_time(STEP_WITHIN))?;
    agent.send(connection, &message)?;
    answer_to::<Q>(agent, connection, &thread)
}

/// Waits for the answer to a question that was asked as `thread`.
///
/// # Errors
/// [`ChargingError`]; [`ChargingError::Denied`] for a denial.
pub fn answer_to<Q: Question>(
    agent: &Agent,
    connection: &Connection,
    thread: &MessageId,
) -> Result<Q::Answer, ChargingError> {
    let came = agent.receive_from(connection, Some(thread), STEP_WITHIN)?;
    let answer = agent.drive(connection, &came, questions::read_answer::<Q>(&came, thread))?;
    Ok(answer?)
}

fn send_issue(
    agent: &Agent,
    connection: &Connection,
    effects: &[issue_credential::Effect],
) -> Result<(), ChargingError> {
    for effect in effects {
        if let issue_credential::Effect::Send(message) = effect {
            agent.send(connection, message)?;
        }
    }
    Ok(())
}

/// Issues a credential over a connection; gives the place at which it can be revoked. `values` says what it is going to say, of a
/// registry's window, with which it ends. `kept` hears of the place before the credential leaves: whoever cannot remember it
/// cannot revoke.
///
/// # Errors
/// [`ChargingError`].
pub fn issue(
    agent: &Agent,
    connection: &Connection,
    issuer: &super::issuer::Issuer,
    values: impl FnOnce(RegistryWindow) -> Vec<(&'static str, String)>,
    kept: impl FnOnce(CredentialPlace, RegistryWindow) -> Result<(), ChargingError>,
) -> Result<CredentialPlace, ChargingError> {
    // Given back if it comes to nothing.
    let taken = issuer.take_place()?;
    let (place, window) = (taken.place(), taken.window());
    let values = values(window);
    let offer = issuer.offer()?;
    let preview = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let message = Offer {
        comment: None,
        preview: Preview::new(preview)?,
        offers: formatted(issue_credential::ANONCREDS_OFFER, offer.to_json()),
    };
    let (issuing, effects) = Issuing::offer(connection.channel(), &message, new_id(), in_time(STEP_WITHIN))?;
    send_issue(agent, connection, &effects)?;
    let thread = issuing.unfinished().map(|conversation| conversation.thread().clone());
    let thread = thread.ok_or_else(|| ChargingError::unexpected("an offer", "it was not made"))?;
    let came = agent.receive_from(connection, Some(&thread), STEP_WITHIN)?;
    let (issuing, effects) = agent.drive(connection, &came, issuing.handle(&came, now()))?;
    let requests = effects.iter().find_map(|effect| match effect {
        issue_credential::Effect::Requested(requests) => Some(requests),
        _ => None,
    });
    let requests = requests
        .ok_or_else(|| ChargingError::unexpected("a request for a credential", "another message came"))?;
    let request = find_format(requests, issue_credential::ANONCREDS_REQUEST);
    let request =
        request.ok_or_else(|| ChargingError::unexpected("a request for a credential", "its format"))?;
    let request = CredentialRequest::from_json(request)?;
    let signed = AttributeValues::new(values.iter().map(|(name, value)| (*name, value.as_str())))?;
    let credential = issuer.issue(taken, &offer, &request, &signed)?;
    kept(place, window)?;
    let credential = formatted(issue_credential::ANONCREDS_CREDENTIAL, credential.to_json());
    let (_, effects) = issuing.issue(&credential, new_id(), now())?;
    send_issue(agent, connection, &effects)?;
    count_credential();
    Ok(place)
}

/// A credential that was offered, with what it is going to say.
pub struct Offered {
    holder: issue_credential::Holder,
    /// The offer.
    pub offer: CredentialOffer,
    /// What it is going to say.
    pub values: Vec<(String, String)>,
}

/// Waits for an offer over a connection.
///
/// # Errors
/// [`ChargingError`].
pub fn offered(agent: &Agent, connection: &Connection) -> Result<Offered, ChargingError> {
    let came = agent.receive("offer of a credential", agent.patience(), |incoming| {
        incoming.channel() == connection.channel() && incoming.message().kind().name() == "offer-credential"
    })?;
    let handled = issue_credential::Holder::offered(&came, now(), in_time(STEP_WITHIN));
    let (holder, effects) = agent.drive(connection, &came, handled)?;
    for effect in effects {
        if let issue_credential::Effect::Offered(offer) = effect {
            let found = find_format(&offer.offers, issue_credential::ANONCREDS_OFFER);
            let found = found.ok_or_else(|| ChargingError::unexpected("an offer", "its format"))?;
            let values = offer.preview.attributes();
            let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            return Ok(Offered { holder, offer: CredentialOffer::from_json(found)?, values });
        }
    }
    Err(ChargingError::unexpected("an offer", "another message came"))
}

impl Offered {
    /// Asks for what was offered and waits for it. It is not looked at here: see
    /// [`PendingCredential::accept`](eroam_ssi::anoncreds::PendingCredential::accept); after that, [`Issued::accept`].
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn request(
        self,
        agent: &Agent,
        connection: &Connection,
        request: &CredentialRequest,
    ) -> Result<(Credential, Issued), ChargingError> {
        let formats = formatted(issue_credential::ANONCREDS_REQUEST, request.to_json());
        let (holder, effects) = self.holder.request(&formats, new_id(), now())?;
        send_issue(agent, connection, &effects)?;
        let thread = holder.unfinished().map(|conversation| conversation.thread().clone());
        let thread =
            thread.ok_or_else(|| ChargingError::unexpected("a credential", "it was not asked for"))?;
        let came = agent.receive_from(connection, Some(&thread), STEP_WITHIN)?;
        let (holder, effects) = agent.drive(connection, &came, holder.handle(&came, now()))?;
        for effect in effects {
            match effect {
                issue_credential::Effect::Issued(credentials) => {
                    let found = find_format(&credentials, issue_credential::ANONCREDS_CREDENTIAL);
                    let found =
                        found.ok_or_else(|| ChargingError::unexpected("a credential", "its format"))?;
                    return Ok((Credential::from_json(found)?, Issued { holder }));
                }
                issue_credential::Effect::Abandoned(why) => return Err(ChargingError::Abandoned(why)),
                _ => {}
            }
        }
        Err(ChargingError::unexpected("a credential", "another message came"))
    }
}

/// A credential that came.
pub struct Issued {
    holder: issue_credential::Holder,
}

impl Issued {
    /// It was checked and is kept: the issuer is told.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn accept(self, agent: &Agent, connection: &Connection) -> Result<(), ChargingError> {
        let (_, effects) = self.holder.accept(new_id())?;
        send_issue(agent, connection, &effects)
    }
}
