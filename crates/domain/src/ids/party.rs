//! The organisations that roam: a country and three characters.

use crate::codec::invalid;
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;
use std::str::FromStr;

/// One organisation in one country, `PT-EDP`: an operator of charging points or a provider of contracts.
///
/// ISO 3166-1 alpha-2 country code and three alphanumerics, upper-cased when parsed. That the country is assigned
/// and the party registered is not checked: `UK` is in use, and the directory of members is the consortium's.
///
/// Canonical bytes: the five characters. Source: eMI3 part 2, OCPI 2.2.1 (`country_code`, `party_id`). It is the
/// routing key to the home AAA node in Paper A, section 2 (the first five characters of a CIN).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct PartyId {
    country: [u8; 2],
    id: [u8; 3],
}

/// Why text names no party.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartyIdError {
    /// Neither `CCXXX` nor `CC-XXX` nor `CC*XXX`.
    #[error("`{found}` is no party: write country and party code as PT-EDP, PT*EDP or PTEDP")]
    WrongShape {
        /// The beginning of the text.
        found: String,
    },
    /// The country is not two letters.
    #[error("`{found}` is no country code: two letters of ISO 3166-1 alpha-2 are expected, such as PT")]
    BadCountry {
        /// The beginning of the text that stood for the country.
        found: String,
    },
    /// The party code is not three alphanumerics.
    #[error("`{found}` is no party code: three letters or digits are expected, such as EDP")]
    BadCode {
        /// The beginning of the text that stood for the party code.
        found: String,
    },
}

impl PartyId {
    /// A party from its country and its three characters, of either case.
    ///
    /// # Errors
    /// [`PartyIdError::BadCountry`], then [`PartyIdError::BadCode`].
    pub fn new(country: &str, id: &str) -> Result<Self, PartyIdError> {
        let country = <[u8; 2]>::try_from(country.as_bytes())
            .ok()
            .filter(|raw| raw.iter().all(u8::is_ascii_alphabetic))
            .ok_or_else(|| PartyIdError::BadCountry { found: beginning(country) })?;
        let id = <[u8; 3]>::try_from(id.as_bytes())
            .ok()
            .filter(|raw| raw.iter().all(u8::is_ascii_alphanumeric))
            .ok_or_else(|| PartyIdError::BadCode { found: beginning(id) })?;
        Ok(Self { country: country.map(|b| b.to_ascii_uppercase()), id: id.map(|b| b.to_ascii_uppercase()) })
    }

    /// The country's two capital letters.
    #[must_use]
    pub fn country(&self) -> &str {
        ascii(&self.country)
    }

    /// The party's three capital letters or digits.
    #[must_use]
    pub fn id(&self) -> &str {
        ascii(&self.id)
    }
}

impl FromStr for PartyId {
    type Err = PartyIdError;
    fn from_str(s: &str) -> Result<Self, PartyIdError> {
        let shape = || PartyIdError::WrongShape { found: beginning(s) };
        let (country, id) = match s.len() {
            5 => s.split_at_checked(2).ok_or_else(shape)?,
            6 => s.split_once(['-', '*']).ok_or_else(shape)?,
            _ => return Err(shape()),
        };
        Self::new(country, id)
    }
}

impl fmt::Display for PartyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.country(), self.id())
    }
}

impl fmt::Debug for PartyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

crate::codec::text_serde!(PartyId);

impl BorshDeserialize for PartyId {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let country = <[u8; 2]>::deserialize_reader(reader)?;
        let id = <[u8; 3]>::deserialize_reader(reader)?;
        if country.iter().all(u8::is_ascii_uppercase) && id.iter().all(is_normal) {
            Ok(Self { country, id })
        } else {
            Err(invalid("party id"))
        }
    }
}

/// A digit or a capital letter: the only characters that identifiers keep.
pub(super) fn is_normal(byte: &u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_uppercase()
}

/// The text of bytes that a constructor has checked to be ASCII; the fallback is unreachable and harmless.
pub(super) fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("")
}

/// At most 16 characters of text from outside, escaped, so that an error stays short whatever it quotes.
pub(super) fn beginning(text: &str) -> String {
    text.chars().take(16).flat_map(char::escape_debug).collect()
}

/// Any party.
#[cfg(test)]
pub(crate) fn arb_party_id() -> impl proptest::strategy::Strategy<Value = PartyId> {
    use proptest::prelude::*;
    ("[A-Z]{2}", "[A-Z0-9]{3}").prop_map(|(country, id)| PartyId::new(&country, &id).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{from_bytes, to_bytes};
    use proptest::prelude::*;

    #[test]
    fn every_spelling_names_the_same_party() {
        let want = PartyId::new("PT", "EDP").unwrap();
        for text in ["PT-EDP", "PT*EDP", "PTEDP", "pt-edp", "Pt*eDp", "ptEDP"] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        assert_eq!((want.country(), want.id()), ("PT", "EDP"));
        assert_eq!(want.to_string(), "PT-EDP");
    }

    #[test]
    fn what_is_no_party_is_refused_with_its_reason() {
        let shape = |found: &str| PartyIdError::WrongShape { found: found.to_owned() };
        let country = |found: &str| PartyIdError::BadCountry { found: found.to_owned() };
        let code = |found: &str| PartyIdError::BadCode { found: found.to_owned() };
        for (text, want) in [
            ("", shape("")),
            ("PT", shape("PT")),
            ("PT-EDPX", shape("PT-EDPX")),
            ("PT_EDP", shape("PT_EDP")),
            ("PéEDP", shape("PéEDP")),
            ("P\u{e9}ED", shape("PéED")),
            ("a-very-long-party-name", shape("a-very-long-part")),
            ("P1EDP", country("P1")),
            ("PTE-DP", country("PTE")),
            ("P-TEDP", country("P")),
            ("12-EDP", country("12")),
            ("PT-E*P", code("E*P")),
            ("PT--DP", code("-DP")),
            ("PTE-P", code("E-P")),
        ] {
            assert_eq!(text.parse::<PartyId>(), Err(want), "{text}");
        }
        assert_eq!(PartyId::new("PRT", "?"), Err(country("PRT")), "the country is checked first");
    }

    #[test]
    fn bytes_in_lower_case_are_refused() {
        let party = PartyId::new("PT", "E1P").unwrap();
        assert_eq!(to_bytes(&party), b"PTE1P");
        for raw in [b"ptE1P", b"PTe1p", b"P1E1P", b"PTE-P", b"PT\xffDP"] {
            assert!(from_bytes::<PartyId>(raw).is_err());
        }
    }

    proptest! {
        #[test]
        fn text_json_and_bytes_round_trip(party in arb_party_id()) {
            prop_assert_eq!(party.to_string().parse(), Ok(party));
            let json = serde_json::to_string(&party).unwrap();
            prop_assert_eq!(serde_json::from_str::<PartyId>(&json).unwrap(), party);
            prop_assert_eq!(from_bytes::<PartyId>(&to_bytes(&party)), Ok(party));
        }

        #[test]
        fn arbitrary_text_and_bytes_never_panic(text in ".{0,8}", bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            let _ = text.parse::<PartyId>();
            let _ = from_bytes::<PartyId>(&bytes);
        }
    }
}
