//! What an agent's connections and invitations are made of, for whoever keeps them over a restart: keys included, so they
//! are secret.

use super::{Agent, AgentError, lock};
use eroam_domain::time::UnixMillis;
use eroam_ssi::did::{self, Did, VerificationKey};
use eroam_ssi::didcomm::{MessageId, SigningKey};
use eroam_ssi::protocol::did_exchange::{Connection, Ours, Responder};
use eroam_ssi::protocol::out_of_band::Invitation;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The seed of a key. Wiped from memory when it is dropped; never printed.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct KeptKey([u8; 32]);

impl KeptKey {
    /// Of a key.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        Self(*key.to_seed())
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> SigningKey {
        SigningKey::from_seed(&self.0)
    }
}

impl fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptKey")
    }
}

/// A connection as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptConnection {
    /// Our identifier.
    ours: String,
    /// Its key.
    key: KeptKey,
    /// Their identifier.
    theirs: String,
    /// Their key, as multikey.
    their_key: String,
    /// What they call themselves.
    label: Option<String>,
    /// The thread of the exchange.
    thread: String,
}

/// An invitation as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptInvitation {
    /// As a URL.
    url: String,
    /// Its key.
    key: KeptKey,
    /// Until when it can be answered.
    deadline: UnixMillis,
}

impl KeptInvitation {
    /// Until when it can be answered.
    #[must_use]
    pub const fn deadline(&self) -> UnixMillis {
        self.deadline
    }
}

fn unusable(why: impl ToString) -> AgentError {
    AgentError::Kept(why.to_string())
}

impl Agent {
    /// A connection with its key, to be kept.
    ///
    /// # Errors
    /// [`AgentError::ForeignKey`].
    pub fn keep_connection(&self, connection: &Connection) -> Result<KeptConnection, AgentError> {
        let key = self.key(connection.ours().key())?;
        Ok(KeptConnection {
            ours: connection.ours().did().as_str().to_owned(),
            key: KeptKey::of(&key),
            theirs: connection.theirs().as_str().to_owned(),
            their_key: connection.channel().theirs.to_multikey(),
            label: connection.label().map(ToOwned::to_owned),
            thread: connection.thread().as_str().to_owned(),
        })
    }

    /// Takes a connection up that was kept: what is said on it is understood from now on.
    ///
    /// # Errors
    /// [`AgentError::Kept`].
    pub fn take_up_connection(&self, kept: &KeptConnection) -> Result<Connection, AgentError> {
        let key = kept.key.key();
        let resolved = |text: &str| {
            let did = Did::parse(text).map_err(unusable)?;
            did::resolve(&did).map_err(unusable)
        };
        let ours = Ours::of(&resolved(&kept.ours)?, key.verification_key()).map_err(unusable)?;
        let their_key = VerificationKey::from_multikey(&kept.their_key).map_err(unusable)?;
        let thread = MessageId::parse(&kept.thread).ok_or_else(|| unusable("its thread"))?;
        let theirs = resolved(&kept.theirs)?;
        let connection = Connection::restore(ours, &theirs, their_key, kept.label.clone(), thread);
        let connection = connection.map_err(unusable)?;
        self.add_key(key);
        Ok(self.known(connection))
    }

    /// An invitation that is out, with its key, to be kept.
    ///
    /// # Errors
    /// [`AgentError::ForeignKey`], [`AgentError::Kept`].
    pub fn keep_invitation(
        &self,
        invitation: &Invitation,
        invited: &Responder,
    ) -> Result<KeptInvitation, AgentError> {
        let Responder::Invited { key, deadline, .. } = invited else {
            return Err(unusable("it was answered already"));
        };
        let (url, deadline) = (invitation.to_url(self.endpoint()), *deadline);
        Ok(KeptInvitation { url, key: KeptKey::of(&*self.key(key)?), deadline })
    }

    /// Takes an invitation up that was kept: it can be answered from now on.
    ///
    /// # Errors
    /// [`AgentError::Kept`].
    pub fn take_up_invitation(&self, kept: &KeptInvitation) -> Result<(Invitation, Responder), AgentError> {
        let invitation = Invitation::from_url(&kept.url).map_err(unusable)?;
        let key = kept.key.key();
        let invited = Responder::invited(&invitation, key.verification_key(), kept.deadline);
        self.add_key(key);
        Ok((invitation, invited))
    }

    fn add_key(&self, key: SigningKey) {
        lock(&self.shared.keys).insert(key.verification_key(), Arc::new(key));
    }
}
