//! A station asks its operator for its credential, and proves that it has the key which the credential is made for.
//!
//! ```text
//! station                                                         operator
//!   | -- register {claims, key, invitation, signature} ----------->   signed with that key, for this connection?
//!   | <- register-answer {sd_jwt} --------------------------------
//! ```
//! Whoever has seen the operator's invitation can connect. The key of a station that registered before is no secret either,
//! since every wallet sees it in the credential: what tells the station from anybody else is the signature. It names the keys
//! of the one connection, so that what was signed is of no use on another.

use super::questions::{Question, STATION};
use crate::did::VerificationKey;
use crate::sd_jwt::{KeyError, SigningKey, VerifyingKey};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::time::TimeZoneName;
use eroam_domain::visit::StationClaims;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a registration is not the station's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The key cannot be used.
    #[error("the key of the station's credential cannot be used")]
    Key(#[from] KeyError),
    /// Somebody else signed, or something else was signed, or it was signed for another connection.
    #[error("the registration is not signed by the station's own key for this connection")]
    Signature,
}

/// A station asks to be one of an operator's, with a key that its credential is made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationRegistration {
    /// What it says of itself; its operator decides.
    pub claims: StationClaims,
    /// The P-256 key of its credential, as a JWK.
    pub key: Value,
    /// What is on its post, as a URL: who reads the operator's listing can connect without scanning.
    pub invitation: String,
    /// By that key (ES256), over everything else and the keys of the connection.
    pub signature: SignatureBytes,
}

impl Question for StationRegistration {
    const PROTOCOL: &'static str = STATION;
    const NAME: &'static str = "register";
    type Answer = StationCredential;
}

/// A station's credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationCredential {
    /// An SD-JWT.
    pub sd_jwt: String,
}

impl StationRegistration {
    /// Signs one with the key of the credential, for the connection on which the station has the key `station` and its
    /// operator the key `operator`.
    #[must_use]
    pub fn sign(
        claims: StationClaims,
        invitation: String,
        key: &SigningKey,
        station: &VerificationKey,
        operator: &VerificationKey,
    ) -> Self {
        let jwk = key.verifying_key().to_jwk();
        let digest = digest(&claims, &key.verifying_key(), &invitation, [station, operator]);
        Self { claims, key: jwk, invitation, signature: SignatureBytes(key.sign(&digest.0)) }
    }

    /// The key of the credential, if whoever sent this over that connection has it.
    ///
    /// # Errors
    /// [`RegistrationError`].
    pub fn signer(
        &self,
        station: &VerificationKey,
        operator: &VerificationKey,
    ) -> Result<VerifyingKey, RegistrationError> {
        let key = VerifyingKey::from_jwk(&self.key)?;
        let digest = digest(&self.claims, &key, &self.invitation, [station, operator]);
        if key.verifies(&digest.0, &self.signature.0) { Ok(key) } else { Err(RegistrationError::Signature) }
    }
}

/// What is signed.
fn digest(
    claims: &StationClaims,
    key: &VerifyingKey,
    invitation: &str,
    [station, operator]: [&VerificationKey; 2],
) -> Digest {
    let StationClaims { operator: party, evse, zone, place, power, meter_key, meter_certified, time_zone } =
        claims;
    let (party, evse, zone) = (party.to_string(), evse.to_string(), zone.to_string());
    let power = power.get().to_le_bytes();
    Digest::of_parts(
        "eroam/station-registration/2",
        &[
            party.as_bytes(),
            evse.as_bytes(),
            zone.as_bytes(),
            place.as_bytes(),
            &power,
            meter_key.as_bytes(),
            &[u8::from(*meter_certified)],
            // No name is empty.
            time_zone.as_ref().map_or("", TimeZoneName::as_str).as_bytes(),
            key.to_jwk().to_string().as_bytes(),
            invitation.as_bytes(),
            station.as_bytes(),
            operator.as_bytes(),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::didcomm::{OsRng, SigningKey as ChannelKey};
    use eroam_domain::quantity::Watts;

    fn channel_key(n: u8) -> VerificationKey {
        ChannelKey::from_seed(&[n; 32]).verification_key()
    }

    fn claims() -> StationClaims {
        StationClaims {
            operator: "PT-GLP".parse().unwrap(),
            evse: "PT*GLP*E0007".parse().unwrap(),
            zone: "PT-1".parse().unwrap(),
            place: "Rua A".to_owned(),
            power: Watts::new(11_000),
            meter_key: "04ab".to_owned(),
            meter_certified: false,
            time_zone: Some("Europe/Lisbon".parse().unwrap()),
        }
    }

    fn signed(key: &SigningKey) -> StationRegistration {
        let invitation = "http://127.0.0.1:1/?oob=e30".to_owned();
        StationRegistration::sign(claims(), invitation, key, &channel_key(1), &channel_key(2))
    }

    #[test]
    fn what_the_station_signed_for_this_connection_is_its_own() {
        let key = SigningKey::generate(&mut OsRng);
        let sent = serde_json::to_string(&signed(&key)).unwrap();
        let came: StationRegistration = serde_json::from_str(&sent).unwrap();
        assert_eq!(came.signer(&channel_key(1), &channel_key(2)), Ok(key.verifying_key()));
    }

    #[test]
    fn what_somebody_else_signed_or_changed_or_took_to_another_connection_is_refused() {
        let key = SigningKey::generate(&mut OsRng);
        let good = signed(&key);
        let stranger = signed(&SigningKey::generate(&mut OsRng));
        let with = |change: &dyn Fn(&mut StationRegistration)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed
        };
        let changed: [(&str, StationRegistration); 13] = [
            ("a stranger's signature", with(&|r| r.signature = stranger.signature)),
            ("a stranger's key", with(&|r| r.key = stranger.key.clone())),
            ("operator", with(&|r| r.claims.operator = "PT-LUZ".parse().unwrap())),
            ("evse", with(&|r| r.claims.evse = "PT*GLP*E0008".parse().unwrap())),
            ("zone", with(&|r| r.claims.zone = "PT-2".parse().unwrap())),
            ("place", with(&|r| r.claims.place.push('x'))),
            ("power", with(&|r| r.claims.power = Watts::new(1))),
            ("meter's key", with(&|r| r.claims.meter_key.push('x'))),
            ("certified", with(&|r| r.claims.meter_certified = true)),
            ("time zone", with(&|r| r.claims.time_zone = Some(TimeZoneName::utc()))),
            ("no time zone", with(&|r| r.claims.time_zone = None)),
            ("invitation", with(&|r| r.invitation.push('x'))),
            ("no signature", with(&|r| r.signature = SignatureBytes([0; 64]))),
        ];
        for (what, registration) in changed {
            let signer = registration.signer(&channel_key(1), &channel_key(2));
            assert_eq!(signer, Err(RegistrationError::Signature), "{what}");
        }
        for (station, operator) in [(1, 3), (3, 2), (2, 1)] {
            let signer = good.signer(&channel_key(station), &channel_key(operator));
            assert_eq!(signer, Err(RegistrationError::Signature), "{station}, {operator}");
        }
        let no_key = with(&|r| r.key = serde_json::json!({ "kty": "EC" }));
        let refused = no_key.signer(&channel_key(1), &channel_key(2));
        assert!(matches!(refused, Err(RegistrationError::Key(_))), "{refused:?}");
    }
}
