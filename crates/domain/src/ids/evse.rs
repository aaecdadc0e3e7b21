//! Charging points as drivers and partners name them.

use super::party::{PartyId, PartyIdError, beginning};
use crate::codec::invalid;
use borsh::{BorshDeserialize, BorshSerialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// One charging point: the EVSEID, `PT*GLP*E0007*1`. It has no check digit.
///
/// Accepted, in either case:
///
/// - ISO 15118-2 and eMI3: `CC[*]OPR[*]E` and an outlet of 1 to 31 letters, digits and `*`;
/// - DIN SPEC 91286: `+` and 1 to 3 digits of country, `*`, 3 to 6 digits of operator, `*`, an outlet of 1 to 32
///   digits and `*`.
///
/// An outlet needs one letter or digit. **Equality, order, hash and canonical bytes ignore the asterisks** (except
/// the two that delimit the parts of the DIN form, which have no fixed length). The spelling is kept in upper case
/// for `Display`; it is no part of the canonical bytes, so a decoded value shows [`EvseId::canonical`].
///
/// Source: ISO 15118-2, eMI3 part 2; mobilityid, `EvseId.scala`; OCPI 2.2.1 `mod_cdrs` (`evse_id`; the technical key
/// `evse_uid` is something else).
#[derive(Clone)]
pub struct EvseId {
    /// The operator; the DIN form's is no party.
    operator: Option<PartyId>,
    /// Upper case, without optional asterisks: what is compared.
    normalised: Box<str>,
    /// Upper case, otherwise as read.
    spelling: Box<str>,
}

/// Which standard shapes an [`EvseId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvseIdForm {
    /// ISO 15118-2 and eMI3, `PT*GLP*E0007*1`.
    Iso,
    /// DIN SPEC 91286, `+49*810*000*438`.
    Din,
}

/// Why text names no charging point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvseIdError {
    /// Something other than letters, digits, `*` and a leading `+`.
    #[error("character {position} of the EVSE id is `{}`: use only A to Z, 0 to 9 and `*` (and `+` before a DIN country)", character.escape_debug())]
    IllegalCharacter {
        /// The character.
        character: char,
        /// Where it stands, from 1.
        position: usize,
    },
    /// The ISO form does not start with country and operator.
    #[error(transparent)]
    BadOperator(PartyIdError),
    /// No `E` after the operator.
    #[error(
        "an EVSE id has the letter E after country and operator, as in PT*GLP*E0007; `{found}` stands there"
    )]
    MissingType {
        /// The beginning of what stands there.
        found: String,
    },
    /// The outlet is empty, too long, or nothing but `*`.
    #[error("the outlet has {found} characters: 1 to {max} are expected, with a letter or digit among them")]
    BadOutlet {
        /// Characters in the outlet.
        found: usize,
        /// The greatest number allowed.
        max: usize,
    },
    /// The DIN form's country or operator does not fit.
    #[error("a DIN EVSE id is `+`, 1 to 3 digits, `*`, 3 to 6 digits, `*`, digits, as in +49*810*000*438")]
    BadDin,
}

/// Characters in the outlet of the ISO form, at most.
const ISO_OUTLET_MAX: usize = 31;
/// Characters in the outlet of the DIN form, at most.
const DIN_OUTLET_MAX: usize = 32;
/// Bytes of the normalised form, at most: `+CCC*DDDDDD*` and the outlet of the DIN form.
const NORMALISED_MAX: usize = 12 + DIN_OUTLET_MAX;

impl EvseId {
    /// The standard that shapes it.
    #[must_use]
    pub const fn form(&self) -> EvseIdForm {
        match self.operator {
            Some(_) => EvseIdForm::Iso,
            None => EvseIdForm::Din,
        }
    }

    /// The operator. `None` for the DIN form, whose operators are numbers that belong to no [`PartyId`].
    #[must_use]
    pub const fn operator(&self) -> Option<PartyId> {
        self.operator
    }

    /// What is compared: upper case, without asterisks, `PTGLPE00071` (DIN: only the two between the parts,
    /// `+49*810*000438`).
    #[must_use]
    pub fn normalised(&self) -> &str {
        &self.normalised
    }

    /// One spelling for all that are equal: asterisks after country and operator only, `PT*GLP*E00071`.
    #[must_use]
    pub fn canonical(&self) -> String {
        match (self.operator, self.normalised.get(5..)) {
            (Some(operator), Some(rest)) => format!("{}*{}*{rest}", operator.country(), operator.id()),
            _ => self.normalised.to_string(),
        }
    }

    fn iso(spelling: String) -> Result<Self, EvseIdError> {
        let (country, rest) = spelling.split_at_checked(2).unwrap_or((&spelling, ""));
        let rest = rest.strip_prefix('*').unwrap_or(rest);
        let (code, rest) = rest.split_at_checked(3).unwrap_or((rest, ""));
        let operator = PartyId::new(country, code).map_err(EvseIdError::BadOperator)?;
        let rest = rest.strip_prefix('*').unwrap_or(rest);
        let outlet =
            rest.strip_prefix('E').ok_or_else(|| EvseIdError::MissingType { found: beginning(rest) })?;
        check_outlet(outlet, ISO_OUTLET_MAX)?;
        let normalised = spelling.replace('*', "").into();
        Ok(Self { operator: Some(operator), normalised, spelling: spelling.into() })
    }

    fn din(spelling: String) -> Result<Self, EvseIdError> {
        let mut parts = spelling.splitn(3, '*');
        let (Some(country), Some(operator), Some(outlet)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(EvseIdError::BadDin);
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let fits = country.strip_prefix('+').is_some_and(|c| digits(c) && (1..=3).contains(&c.len()))
            && digits(operator)
            && (3..=6).contains(&operator.len())
            && outlet.split('*').all(digits);
        if !fits {
            return Err(EvseIdError::BadDin);
        }
        check_outlet(outlet, DIN_OUTLET_MAX)?;
        let normalised = format!("{country}*{operator}*{}", outlet.replace('*', "")).into();
        Ok(Self { operator: None, normalised, spelling: spelling.into() })
    }
}

fn check_outlet(outlet: &str, max: usize) -> Result<(), EvseIdError> {
    let found = outlet.len();
    if found > max || outlet.bytes().all(|b| b == b'*') {
        return Err(EvseIdError::BadOutlet { found, max });
    }
    Ok(())
}

impl FromStr for EvseId {
    type Err = EvseIdError;

    /// Reads any accepted spelling. Checked in this order: characters, then from left to right (the DIN form's outlet
    /// length last).
    fn from_str(s: &str) -> Result<Self, EvseIdError> {
        let legal = |position, c: char| c.is_ascii_alphanumeric() || c == '*' || (c == '+' && position == 1);
        if let Some((position, character)) = (1..).zip(s.chars()).find(|&(at, c)| !legal(at, c)) {
            return Err(EvseIdError::IllegalCharacter { character, position });
        }
        let spelling = s.to_ascii_uppercase();
        if spelling.starts_with('+') { Self::din(spelling) } else { Self::iso(spelling) }
    }
}

impl fmt::Display for EvseId {
    /// The spelling as read, in upper case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelling)
    }
}

impl fmt::Debug for EvseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for EvseId {
    fn eq(&self, other: &Self) -> bool {
        self.normalised == other.normalised
    }
}

impl Eq for EvseId {}

impl PartialOrd for EvseId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EvseId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.normalised.cmp(&other.normalised)
    }
}

impl Hash for EvseId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.normalised.hash(state);
    }
}

crate::codec::text_serde!(EvseId);

impl BorshSerialize for EvseId {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        BorshSerialize::serialize(&*self.normalised, writer)
    }
}

impl BorshDeserialize for EvseId {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let length =
            usize::try_from(u32::deserialize_reader(reader)?).map_err(|_| invalid("EVSE id length"))?;
        if length > NORMALISED_MAX {
            return Err(invalid("EVSE id length"));
        }
        let mut raw = vec![0; length];
        reader.read_exact(&mut raw)?;
        let text = String::from_utf8(raw).map_err(|_| invalid("EVSE id"))?;
        let mut evse: Self = text.parse().map_err(|_| invalid("EVSE id"))?;
        // Only the normalised form is canonical, or one charging point would have many bytes.
        if *evse.normalised != *text {
            return Err(invalid("EVSE id"));
        }
        evse.spelling = evse.canonical().into();
        Ok(evse)
    }
}

/// Any charging point of either form, in any spelling.
#[cfg(test)]
pub(crate) fn arb_evse_id() -> impl proptest::strategy::Strategy<Value = EvseId> {
    use proptest::prelude::*;
    let iso = r"[A-Z]{2}\*?[A-Z0-9]{3}\*?E[A-Z0-9][A-Z0-9*]{0,30}";
    let din = r"\+[0-9]{1,3}\*[0-9]{3,6}\*[0-9*]{0,31}[0-9]";
    prop_oneof![iso, din].prop_map(|text| text.parse().unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{from_bytes, to_bytes};
    use proptest::prelude::*;
    use std::hash::BuildHasher as _;

    fn id(text: &str) -> EvseId {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn every_spelling_names_the_same_charging_point() {
        let hasher = std::hash::RandomState::new();
        let iso = [
            "PT*GLP*E0007*1",
            "PTGLPE00071",
            "pt*glp*e0007*1",
            "PT*GLPE00071",
            "PTGLP*E0*0*0*7*1",
            "PTGLPE*00071*",
        ];
        let din = ["+49*810*000*438", "+49*810*000438", "+49*810*0*0*0*4*3*8"];
        for spellings in [&iso[..], &din[..]] {
            let first = id(spellings[0]);
            for text in spellings {
                let evse = id(text);
                assert_eq!(evse, first, "{text}");
                assert_eq!(evse.cmp(&first), Ordering::Equal, "{text}");
                assert_eq!(hasher.hash_one(&evse), hasher.hash_one(&first), "{text}");
                assert_eq!(to_bytes(&evse), to_bytes(&first), "{text}");
                assert_eq!(evse.to_string(), text.to_uppercase(), "the spelling is kept");
            }
        }
        assert_ne!(
            id("+49*810*000438"),
            id("+49*8100*00438"),
            "digits of the operator are not of the outlet"
        );
    }

    #[test]
    fn parts_are_those_of_the_standards() {
        // Source: hubject/opcp 05_handling-of-ids.md; mobilityid EvseIdSpec.scala.
        let iso = id("DE*ICE*E45B*78C");
        assert_eq!((iso.form(), iso.operator()), (EvseIdForm::Iso, Some(PartyId::new("DE", "ICE").unwrap())));
        assert_eq!((iso.normalised(), iso.canonical()), ("DEICEE45B78C", "DE*ICE*E45B78C".to_owned()));
        let din = id("+49*810*000*438");
        assert_eq!((din.form(), din.operator()), (EvseIdForm::Din, None));
        assert_eq!((din.normalised(), din.canonical()), ("+49*810*000438", "+49*810*000438".to_owned()));
    }

    #[test]
    fn what_is_no_charging_point_is_refused_with_its_reason() {
        use EvseIdError::{BadDin, BadOutlet};
        let illegal = |character, position| EvseIdError::IllegalCharacter { character, position };
        let country =
            |found: &str| EvseIdError::BadOperator(PartyIdError::BadCountry { found: found.to_owned() });
        let code = |found: &str| EvseIdError::BadOperator(PartyIdError::BadCode { found: found.to_owned() });
        let missing = |found: &str| EvseIdError::MissingType { found: found.to_owned() };
        let (long, longest) = (format!("PT*GLP*E{}", "1".repeat(32)), format!("+49*810*{}", "1".repeat(33)));
        for (text, want) in [
            ("PT-GLP-E0007", illegal('-', 3)),
            ("PT*GLP*E00é", illegal('é', 11)),
            ("49+*810*000", illegal('+', 3)),
            ("PT*GLP*E1\n", illegal('\n', 10)),
            ("", country("")),
            ("P", country("P")),
            ("P1*GLP*E1", country("P1")),
            ("*PTGLPE1", country("*P")),
            ("49*810*000*438", country("49")),
            ("PT", code("")),
            ("PT*GL*E1", code("GL*")),
            ("PT**GLP*E1", code("*GL")),
            ("PTGLP", missing("")),
            ("PT*GLP*0007", missing("0007")),
            ("PT*GLP**E0007", missing("*E0007")),
            ("PT*GLP*E", BadOutlet { found: 0, max: 31 }),
            ("PT*GLP*E***", BadOutlet { found: 3, max: 31 }),
            (&long, BadOutlet { found: 32, max: 31 }),
            ("+", BadDin),
            ("+49*810", BadDin),
            ("+*810*1", BadDin),
            ("+4949*810*1", BadDin),
            ("+4A*810*1", BadDin),
            ("+49*81*1", BadDin),
            ("+49*8100000*1", BadDin),
            ("+49*810*1E", BadDin),
            ("+49*810*", BadOutlet { found: 0, max: 32 }),
            ("+49*810**", BadOutlet { found: 1, max: 32 }),
            (&longest, BadOutlet { found: 33, max: 32 }),
        ] {
            assert_eq!(text.parse::<EvseId>(), Err(want), "{text}");
        }
        assert!(long.get(..39).unwrap().parse::<EvseId>().is_ok());
        assert!(longest.get(..40).unwrap().parse::<EvseId>().is_ok());
    }

    #[test]
    fn bytes_are_the_normalised_text_alone() {
        let bytes = to_bytes(&id("pt*glp*e0007*1"));
        assert_eq!(bytes, b"\x0b\0\0\0PTGLPE00071");
        assert_eq!(from_bytes::<EvseId>(&bytes).unwrap().to_string(), "PT*GLP*E00071");
        let longest = id(&format!("+499*810000*{}", "1".repeat(32)));
        assert_eq!(longest.normalised().len(), NORMALISED_MAX);
        assert_eq!(from_bytes::<EvseId>(&to_bytes(&longest)), Ok(longest));
        for text in ["PT*GLPE1", "ptglpe1", "PTGLPE1*", "+49*810*0*1", "PTGLP", "", "PT\u{e9}GLPE1"] {
            assert!(from_bytes::<EvseId>(&to_bytes(&text.to_owned())).is_err(), "{text}");
        }
        assert!(from_bytes::<EvseId>(b"\xff\xff\xff\xffPTGLPE1").is_err());
    }

    #[test]
    fn json_is_the_spelling() {
        assert_eq!(serde_json::to_string(&id("pt*glp*e0007*1")).unwrap(), r#""PT*GLP*E0007*1""#);
        assert_eq!(serde_json::from_str::<EvseId>(r#""PTGLPE00071""#).unwrap(), id("PT*GLP*E0007*1"));
        assert!(serde_json::from_str::<EvseId>(r#""PT""#).is_err());
    }

    proptest! {
        #[test]
        fn text_json_and_bytes_round_trip(evse in arb_evse_id()) {
            for text in [evse.to_string(), evse.to_string().to_lowercase(), evse.canonical(), evse.normalised().to_owned()] {
                prop_assert_eq!(id(&text), evse.clone());
            }
            prop_assert_eq!(id(&evse.to_string()).to_string(), evse.to_string());
            let json = serde_json::to_string(&evse).unwrap();
            prop_assert_eq!(serde_json::from_str::<EvseId>(&json).unwrap(), evse.clone());
            prop_assert!(evse.to_string().len() <= 48, "OCPI's evse_id is a CiString(48)");
            prop_assert_eq!(from_bytes::<EvseId>(&to_bytes(&evse)), Ok(evse));
        }

        #[test]
        fn arbitrary_text_never_panics(any in ".{0,48}", near in "[+]?[A-Za-z0-9*é]{0,48}") {
            let _ = any.parse::<EvseId>();
            let _ = near.parse::<EvseId>();
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = from_bytes::<EvseId>(&bytes);
            let _ = from_bytes::<EvseId>(&to_bytes(&bytes));
        }
    }
}
