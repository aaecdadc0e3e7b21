//! Contract identifiers (eMAID) in the ISO and the older DIN form, and their check digits.

use super::party::{PartyId, PartyIdError, ascii, is_normal};
use crate::codec::invalid;
use borsh::{BorshDeserialize, BorshSerialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// A contract between a driver and a provider: the eMAID, `PT-EDP-C00123456-X`.
///
/// It is the consumer identification number (CIN) of Paper A, section 2: the first five characters route to the
/// home AAA node ([`ContractId::party`]), the rest names the consumer there ([`ContractId::instance`]).
///
/// Accepted, in either case (CC country, PPP provider, I instance, X check digit):
///
/// | form | without check digit | with check digit | separators |
/// |---|---|---|---|
/// | ISO 15118-2; eMI3 and OCPI let the instance start with C | `CCPPPIIIIIIIII` (14) | 15 characters | `-` |
/// | DIN SPEC 91286 | `CCPPPIIIIII` (11) | 12 characters | `-` or `*` |
///
/// The number of letters and digits alone tells the form, and whether there is a check digit. Separators stand
/// between all parts or nowhere.
///
/// **Equality, order, hash and canonical bytes follow form, party and instance.** They ignore case, separators and
/// the check digit found, which is derived and often absent or wrong in the field (ocpi/ocpi#480). That digit is
/// kept beside the value for [`ContractId::check`] alone, so flag it at the edge: it is gone after `Display`
/// (which shows the right one) and after decoding (which finds it absent). A DIN contract and its conversion to
/// ISO are two values, because two conversions exist; convert before comparing.
///
/// Canonical bytes: form (0 ISO, 1 DIN), then 14 or 11 characters. It identifies a person's contract: do not log it.
#[derive(Clone, Copy)]
pub struct ContractId {
    form: ContractIdForm,
    party: PartyId,
    /// Capital letters and digits; the DIN form uses the first six, zero bytes follow.
    instance: [u8; ISO_INSTANCE],
    /// The check digit as found, in upper case.
    found: Option<u8>,
}

/// Which standard shapes a [`ContractId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum ContractIdForm {
    /// ISO 15118-2, which includes eMI3: an instance of nine characters.
    Iso,
    /// DIN SPEC 91286: an instance of six characters.
    Din,
}

/// What became of the check digit when a [`ContractId`] was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckDigit {
    /// There was none.
    Absent,
    /// It was right.
    Valid,
    /// It was wrong: a typing error in the digit or in the rest, or a provider that does not compute it.
    Wrong {
        /// As read, in upper case.
        found: char,
        /// As computed.
        expected: char,
    },
}

/// Why text names no contract. The text itself is never quoted, because contract ids are not logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractIdError {
    /// Something other than letters, digits and separators.
    #[error("character {position} of the contract id is `{}`: use only A to Z, 0 to 9 and separators", character.escape_debug())]
    IllegalCharacter {
        /// The character.
        character: char,
        /// Where it stands, from 1.
        position: usize,
    },
    /// No form has that many characters.
    #[error(
        "the contract id has {found} letters and digits: 14 are expected (ISO), or 11 (DIN), and one more with a check digit"
    )]
    WrongLength {
        /// Letters and digits in the text.
        found: usize,
    },
    /// The first two characters are no country code.
    #[error(transparent)]
    BadCountry(PartyIdError),
    /// Separators stand at some places only, at wrong places, or are of two kinds.
    #[error(
        "the contract id's separators do not fit: put the same one between country, provider, instance and check digit, or none at all"
    )]
    MixedSeparators,
    /// `*` separates the DIN form only.
    #[error("a contract id of the ISO form is not separated by `*`: use `-` or nothing")]
    AsteriskInIso,
    /// An instance for no form.
    #[error("the instance has {found} characters: 9 are expected (ISO) or 6 (DIN), without a check digit")]
    WrongInstanceLength {
        /// Characters in the instance.
        found: usize,
    },
}

const ISO_INSTANCE: usize = 9;
const DIN_INSTANCE: usize = 6;

impl ContractIdForm {
    const fn instance_length(self) -> usize {
        match self {
            Self::Iso => ISO_INSTANCE,
            Self::Din => DIN_INSTANCE,
        }
    }
}

impl ContractId {
    /// A contract of `party` from its instance, of either case: nine characters make the ISO form, six the DIN form.
    ///
    /// # Errors
    /// [`ContractIdError::IllegalCharacter`] (its position counts within the instance), then
    /// [`ContractIdError::WrongInstanceLength`].
    pub fn from_parts(party: PartyId, instance: &str) -> Result<Self, ContractIdError> {
        refuse_characters(instance, |c| c.is_ascii_alphanumeric())?;
        let form = match instance.len() {
            ISO_INSTANCE => ContractIdForm::Iso,
            DIN_INSTANCE => ContractIdForm::Din,
            found => return Err(ContractIdError::WrongInstanceLength { found }),
        };
        Ok(Self { form, party, instance: padded(instance.bytes()), found: None })
    }

    /// The standard that shapes it.
    #[must_use]
    pub const fn form(&self) -> ContractIdForm {
        self.form
    }

    /// The provider, which is the first five characters: the routing key (Paper A, section 2).
    #[must_use]
    pub const fn party(&self) -> PartyId {
        self.party
    }

    /// The contract within the provider, in upper case: nine characters (ISO) or six (DIN).
    #[must_use]
    pub fn instance(&self) -> &str {
        ascii(self.instance.get(..self.form.instance_length()).unwrap_or_default())
    }

    /// Whether it follows eMI3 and OCPI: the ISO form with an instance that starts with C for contract.
    #[must_use]
    pub fn is_emi3(&self) -> bool {
        self.form == ContractIdForm::Iso && self.instance.first() == Some(&b'C')
    }

    /// The check digit as it should be: by ISO 15118-2 and eMI3 for the ISO form, by DIN SPEC 91286 for the DIN form.
    #[must_use]
    pub fn check_digit(&self) -> char {
        let values =
            self.party.country().bytes().chain(self.party.id().bytes()).chain(self.instance().bytes());
        let values = values.map(|byte| char::from(byte).to_digit(36).unwrap_or(0));
        match self.form {
            ContractIdForm::Iso => iso_check_digit(values),
            ContractIdForm::Din => din_check_digit(values),
        }
    }

    /// What became of the check digit when this value was read. A wrong one is no reason to refuse the contract.
    #[must_use]
    pub fn check(&self) -> CheckDigit {
        let expected = self.check_digit();
        match self.found.map(char::from) {
            None => CheckDigit::Absent,
            Some(found) if found == expected => CheckDigit::Valid,
            Some(found) => CheckDigit::Wrong { found, expected },
        }
    }

    /// 14 characters (ISO) or 11 (DIN), without separators and check digit.
    #[must_use]
    pub fn without_separators(&self) -> String {
        format!("{}{}{}", self.party.country(), self.party.id(), self.instance())
    }

    /// 15 characters (ISO) or 12 (DIN), without separators, with the right check digit. ISO 15118-2 carries at most
    /// 15 characters between vehicle and charging point.
    #[must_use]
    pub fn with_check_digit(&self) -> String {
        format!("{}{}", self.without_separators(), self.check_digit())
    }

    /// The text for OCPI's `contract_id`, read back as an equal value: the ISO form without check digit, as OCPI's
    /// own examples write it (`NL8ACC12E46L89`); the DIN form, which includes its check digit, with the right one.
    /// Source: OCPI 2.2.1 `mod_tokens`, `mod_cdrs`.
    #[must_use]
    pub fn to_ocpi(&self) -> String {
        match self.form {
            ContractIdForm::Iso => self.without_separators(),
            ContractIdForm::Din => self.with_check_digit(),
        }
    }

    /// The ISO form: a DIN contract becomes `00`, its instance and its right DIN check digit; the ISO form stays as
    /// it is. Source: mobilityid, `ContractId.scala`.
    #[must_use]
    pub fn to_iso(&self) -> Self {
        self.widened(*b"00")
    }

    /// The eMI3 flavour: a DIN contract becomes `C0`, its instance and its right DIN check digit; an eMI3 contract
    /// stays as it is; `None` for another ISO instance, which has no such conversion. Source: mobilityid,
    /// `ContractId.scala`.
    #[must_use]
    pub fn to_emi3(&self) -> Option<Self> {
        Some(self.widened(*b"C0")).filter(Self::is_emi3)
    }

    fn widened(&self, prefix: [u8; 2]) -> Self {
        match self.form {
            ContractIdForm::Iso => *self,
            ContractIdForm::Din => {
                let check = u8::try_from(self.check_digit()).ok();
                let instance = padded(prefix.into_iter().chain(self.instance().bytes()).chain(check));
                Self { form: ContractIdForm::Iso, party: self.party, instance, found: None }
            }
        }
    }

    /// What identifies the contract.
    const fn identity(&self) -> (ContractIdForm, PartyId, [u8; ISO_INSTANCE]) {
        (self.form, self.party, self.instance)
    }
}

impl FromStr for ContractId {
    type Err = ContractIdError;

    /// Reads any accepted spelling. Checked in this order: characters, length, country, separators.
    fn from_str(s: &str) -> Result<Self, ContractIdError> {
        const SEPARATORS: [char; 2] = ['-', '*'];
        refuse_characters(s, |c| c.is_ascii_alphanumeric() || SEPARATORS.contains(&c))?;

        let length = s.bytes().filter(u8::is_ascii_alphanumeric).count();
        let (form, parts): (_, &[usize]) = match length {
            14 => (ContractIdForm::Iso, &[2, 3, ISO_INSTANCE]),
            15 => (ContractIdForm::Iso, &[2, 3, ISO_INSTANCE, 1]),
            11 => (ContractIdForm::Din, &[2, 3, DIN_INSTANCE]),
            12 => (ContractIdForm::Din, &[2, 3, DIN_INSTANCE, 1]),
            found => return Err(ContractIdError::WrongLength { found }),
        };

        let mut rest = s.bytes().filter(u8::is_ascii_alphanumeric).map(char::from);
        let country: String = rest.by_ref().take(2).collect();
        let provider: String = rest.by_ref().take(3).collect();
        let party = PartyId::new(&country, &provider).map_err(ContractIdError::BadCountry)?;
        let instance: String = rest.by_ref().take(form.instance_length()).collect();
        let found = rest.next().and_then(|c| u8::try_from(c.to_ascii_uppercase()).ok());

        let (hyphen, asterisk) = (s.contains('-'), s.contains('*'));
        let separated = s.split(SEPARATORS).map(str::len).eq(parts.iter().copied());
        if (hyphen && asterisk) || ((hyphen || asterisk) && !separated) {
            return Err(ContractIdError::MixedSeparators);
        }
        if asterisk && form == ContractIdForm::Iso {
            return Err(ContractIdError::AsteriskInIso);
        }
        Ok(Self { form, party, instance: padded(instance.bytes()), found })
    }
}

impl fmt::Display for ContractId {
    /// `PT-EDP-C00123456-X`, always with the right check digit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.party, self.instance(), self.check_digit())
    }
}

impl fmt::Debug for ContractId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for ContractId {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ContractId {}

impl PartialOrd for ContractId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ContractId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for ContractId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

crate::codec::text_serde!(ContractId);

impl BorshSerialize for ContractId {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        self.form.serialize(writer)?;
        self.party.serialize(writer)?;
        writer.write_all(self.instance().as_bytes())
    }
}

impl BorshDeserialize for ContractId {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let form = ContractIdForm::deserialize_reader(reader)?;
        let party = PartyId::deserialize_reader(reader)?;
        let mut instance = [0; ISO_INSTANCE];
        let used = instance.get_mut(..form.instance_length()).unwrap_or_default();
        reader.read_exact(used)?;
        if !used.iter().all(is_normal) {
            return Err(invalid("contract id"));
        }
        Ok(Self { form, party, instance, found: None })
    }
}

/// An error for the first character that is not `legal`.
fn refuse_characters(text: &str, legal: impl Fn(char) -> bool) -> Result<(), ContractIdError> {
    match (1..).zip(text.chars()).find(|&(_, c)| !legal(c)) {
        Some((position, character)) => Err(ContractIdError::IllegalCharacter { character, position }),
        None => Ok(()),
    }
}

/// The characters in upper case, with zero bytes after a DIN instance.
fn padded(characters: impl Iterator<Item = u8>) -> [u8; ISO_INSTANCE] {
    let mut instance = [0; ISO_INSTANCE];
    for (slot, byte) in instance.iter_mut().zip(characters) {
        *slot = byte.to_ascii_uppercase();
    }
    instance
}

/// The check digit over 14 values below 36 (0 to 9, then A to Z), `k` = 1 to 14 from the left.
///
/// A value is a pair `q` over Z2 (value div 9) and a pair `s` over Z3 (value mod 9). The digit is the character whose
/// pairs are `sum q_k P1^k` and `(sum s_k P2^k) R`, with `P1 = [[0,1],[1,1]]`, `P2 = [[0,1],[1,2]]` and
/// `R = [[0,2],[2,1]]`. It finds every single wrong character and every swap of neighbours.
/// Source: ISO 15118-2, eMI3 "Check Digit Calculation for Contract-IDs".
#[expect(clippy::arithmetic_side_effects, reason = "every term stays below 36")]
fn iso_check_digit(values: impl DoubleEndedIterator<Item = u32>) -> char {
    let (mut q, mut s) = ((0, 0), (0, 0));
    // Horner's rule: from the right, add the value, then multiply by the matrix once.
    for value in values.rev() {
        let (high, low) = (value / 9, value % 9);
        let (a, b) = ((q.0 + high / 2) % 2, (q.1 + high) % 2);
        q = (b, (a + b) % 2);
        let (a, b) = ((s.0 + low / 3) % 3, (s.1 + low) % 3);
        s = (b, (a + 2 * b) % 3);
    }
    s = (2 * s.1 % 3, (2 * s.0 + s.1) % 3);
    digit((2 * q.0 + q.1) * 9 + 3 * s.0 + s.1)
}

/// The check digit over 11 values below 36: the sum of the decimal digits of all values, in order, each times the
/// next power of two, modulo 11; ten is X. Source: DIN SPEC 91286.
#[expect(clippy::arithmetic_side_effects, reason = "22 terms of at most 9 * 10 and weights below 11")]
fn din_check_digit(values: impl Iterator<Item = u32>) -> char {
    let (mut sum, mut weight) = (0, 1);
    for value in values {
        let digits = [(value >= 10).then_some(value / 10), Some(value % 10)];
        for decimal in digits.into_iter().flatten() {
            sum += decimal * weight;
            weight = weight * 2 % 11;
        }
    }
    match sum % 11 {
        10 => 'X',
        rest => digit(rest),
    }
}

/// The character of a value below 36; the fallback is unreachable and harmless.
fn digit(value: u32) -> char {
    char::from_digit(value, 36).unwrap_or('0').to_ascii_uppercase()
}

/// Any contract of either form, with or without a check digit found, right or wrong.
#[cfg(test)]
pub(crate) fn arb_contract_id() -> impl proptest::strategy::Strategy<Value = ContractId> {
    use proptest::prelude::*;
    let instance = prop_oneof!["C[A-Z0-9]{8}", "[A-Z0-9]{9}", "[A-Z0-9]{6}"];
    (super::party::arb_party_id(), instance, "[A-Z0-9]?").prop_map(|(party, instance, check)| {
        format!("{}{}{instance}{check}", party.country(), party.id()).parse().unwrap()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{from_bytes, to_bytes};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::hash::BuildHasher as _;

    fn id(text: &str) -> ContractId {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// Source: mobilityid `CheckDigitSpec.scala` and `ContractIdSpec.scala`; the last, EVerest/everest-demo#38.
    const ISO_VECTORS: [(&str, char); 12] = [
        ("NN123ABCDEFGHI", 'T'),
        ("FRXYZ123456789", '2'),
        ("ITA1B2C3E4F5G6", '4'),
        ("ESZU8WOX834H1D", 'R'),
        ("PT73902837ABCZ", 'Z'),
        ("DE83DUIEN83QGZ", 'D'),
        ("DE83DUIEN83ZGQ", 'M'),
        ("DE8AA001234567", '0'),
        ("NLTNM000122045", 'U'),
        ("NLTNMC00122045", 'K'),
        ("NLTNM000722345", 'X'),
        ("UKSWI123456789", 'G'),
    ];

    /// Source: mobilityid `CheckDigitSpec.scala` and `ContractIdSpec.scala`.
    const DIN_VECTORS: [(&str, char); 7] = [
        ("INTNM000071", '9'),
        ("INTNM000110", 'X'),
        ("INTNM000124", '0'),
        ("INTNM000114", '6'),
        ("INTNM000191", '5'),
        ("NLTNM012204", '5'),
        ("NLTNM122045", '0'),
    ];

    #[test]
    fn check_digits_are_those_of_the_standards() {
        let iso = ISO_VECTORS.iter().map(|v| (v, ContractIdForm::Iso));
        let din = DIN_VECTORS.iter().map(|v| (v, ContractIdForm::Din));
        for (&(text, check), form) in iso.chain(din) {
            let contract = id(text);
            assert_eq!((contract.form(), contract.check_digit()), (form, check), "{text}");
            assert_eq!(contract.check(), CheckDigit::Absent, "{text}");
            assert_eq!(id(&format!("{text}{check}")).check(), CheckDigit::Valid, "{text}");
            assert_eq!(contract.with_check_digit(), format!("{text}{check}"));
            assert_eq!(contract.without_separators(), text);
        }
    }

    #[test]
    fn check_digits_are_those_of_the_shared_vectors() {
        #[derive(serde::Deserialize)]
        struct Vector {
            id: String,
            check: char,
        }
        let Some(path) = eroam_testkit::data::at("emaid_vectors.json") else { return };
        let vectors: Vec<Vector> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(!vectors.is_empty(), "{} holds no vector", path.display());
        for Vector { id: text, check } in vectors {
            assert_eq!(id(&text).check_digit(), check, "{text}");
        }
    }

    #[test]
    fn every_spelling_names_the_same_contract() {
        let iso = [
            "NLTNMC00122045",
            "NLTNMC00122045K",
            "NL-TNM-C00122045",
            "NL-TNM-C00122045-K",
            "nl-tnm-c00122045-k",
            "nlTNMc00122045K",
            "NLTNMC00122045A",
        ];
        let din = [
            "NLTNM012204",
            "NLTNM0122045",
            "NL-TNM-012204",
            "NL-TNM-012204-5",
            "NL*TNM*012204",
            "nl*tnm*012204*5",
            "NLTNM0122041",
            "NLTNM012204Q",
        ];
        let hasher = std::hash::RandomState::new();
        for (spellings, shown) in [(&iso[..], "NL-TNM-C00122045-K"), (&din[..], "NL-TNM-012204-5")] {
            let first = id(spellings[0]);
            for text in spellings {
                let contract = id(text);
                assert_eq!(contract, first, "{text}");
                assert_eq!(contract.cmp(&first), Ordering::Equal, "{text}");
                assert_eq!(hasher.hash_one(contract), hasher.hash_one(first), "{text}");
                assert_eq!(to_bytes(&contract), to_bytes(&first), "{text}");
                assert_eq!(contract.to_string(), shown, "{text}");
                assert_eq!(contract.party(), PartyId::new("NL", "TNM").unwrap());
            }
        }
        assert_ne!(id("NLTNMC00122045"), id("NLTNM000122045"));
    }

    #[test]
    fn a_wrong_check_digit_is_flagged_and_not_refused() {
        for (text, found, expected) in [
            ("NL-TNM-C00122045-a", 'A', 'K'),
            ("NLTNMC001220455", '5', 'K'),
            ("NL*TNM*012204*1", '1', '5'),
            ("NLTNM012204q", 'Q', '5'),
            ("INTNM0001101", '1', 'X'),
        ] {
            assert_eq!(id(text).check(), CheckDigit::Wrong { found, expected }, "{text}");
        }
    }

    #[test]
    fn what_is_no_contract_is_refused_with_its_reason() {
        use ContractIdError::{AsteriskInIso, MixedSeparators, WrongLength};
        let illegal = |character, position| ContractIdError::IllegalCharacter { character, position };
        let country =
            |found: &str| ContractIdError::BadCountry(PartyIdError::BadCountry { found: found.to_owned() });
        for (text, want) in [
            // First the characters,
            (" NLTNMC00122045", illegal(' ', 1)),
            ("NL_TNM_C00122045", illegal('_', 3)),
            ("NL-T|M-000122045", illegal('|', 5)),
            ("NLTNMC0012204é", illegal('é', 14)),
            ("é?", illegal('é', 1)),
            ("NLTNMC00122045\0", illegal('\0', 15)),
            // then the length,
            ("", WrongLength { found: 0 }),
            ("--**", WrongLength { found: 0 }),
            ("NLTNM", WrongLength { found: 5 }),
            ("NLTNM01220", WrongLength { found: 10 }),
            ("NLTNMC0012204", WrongLength { found: 13 }),
            ("1L-TNM*01220", WrongLength { found: 10 }),
            ("NLTNMC00122045KK", WrongLength { found: 16 }),
            // then the country,
            ("N1TNMC00122045", country("N1")),
            ("12-TNM*012204", country("12")),
            // then the separators.
            ("NL-TNMC00122045", MixedSeparators),
            ("NLTNM-C00122045", MixedSeparators),
            ("NL-TNM-C00122045K", MixedSeparators),
            ("NLTNMC00122045-K", MixedSeparators),
            ("NL-TNM-C00122045-", MixedSeparators),
            ("-NL-TNM-C00122045", MixedSeparators),
            ("NL--TNM-C00122045", MixedSeparators),
            ("NLT-NM-C00122045", MixedSeparators),
            ("NL-TNM-C0012204-5", MixedSeparators),
            ("NL*TNM-C00122045", MixedSeparators),
            ("NL*TNM-012204*5", MixedSeparators),
            ("NL*TNM*0122045", MixedSeparators),
            ("NL-TNM-01220-45", MixedSeparators),
            ("NL*TNM*C00122045", AsteriskInIso),
            ("NL*TNM*C00122045*K", AsteriskInIso),
        ] {
            assert_eq!(text.parse::<ContractId>(), Err(want), "{text}");
        }
    }

    #[test]
    fn errors_do_not_quote_the_contract() {
        for text in ["NLTNMC0012204", "NL*TNM-C00122045", "N1TNMC00122045", "NLTNMC0012204é"] {
            let message = text.parse::<ContractId>().unwrap_err().to_string();
            assert!(!message.contains("0012204"), "{message}");
        }
    }

    #[test]
    fn parts_make_the_form_that_their_length_says() {
        let party = PartyId::new("NL", "TNM").unwrap();
        assert_eq!(ContractId::from_parts(party, "c00122045"), Ok(id("NLTNMC00122045")));
        assert_eq!(ContractId::from_parts(party, "012204"), Ok(id("NLTNM012204")));
        assert_eq!(id("NLTNMC00122045K").instance(), "C00122045");
        assert_eq!(id("NLTNM0122045").instance(), "012204");
        for (instance, want) in [
            ("", ContractIdError::WrongInstanceLength { found: 0 }),
            ("0122045", ContractIdError::WrongInstanceLength { found: 7 }),
            ("C00122045K", ContractIdError::WrongInstanceLength { found: 10 }),
            ("C0012-045", ContractIdError::IllegalCharacter { character: '-', position: 6 }),
            ("é", ContractIdError::IllegalCharacter { character: 'é', position: 1 }),
        ] {
            assert_eq!(ContractId::from_parts(party, instance), Err(want), "{instance}");
        }
    }

    #[test]
    fn a_din_contract_converts_with_its_right_check_digit() {
        for text in ["NL-TNM-012204-5", "NL*TNM*012204", "NL*TNM*012204*9"] {
            assert_eq!(id(text).to_iso(), id("NL-TNM-000122045-U"), "{text}");
            assert_eq!(id(text).to_emi3(), Some(id("NL-TNM-C00122045-K")), "{text}");
            assert_eq!(id(text).to_ocpi(), "NLTNM0122045", "{text}");
        }
        assert_eq!(id("INTNM000110").to_iso().instance(), "00000110X");
        assert_eq!(id("NLTNMC00122045").to_emi3(), Some(id("NLTNMC00122045")));
        assert_eq!(id("NLTNM000122045").to_emi3(), None);
        assert_eq!(id("nl-tnm-c00122045-k").to_ocpi(), "NLTNMC00122045");
    }

    #[test]
    fn bytes_are_the_form_and_the_characters() {
        assert_eq!(to_bytes(&id("nl-tnm-c00122045-k")), b"\0NLTNMC00122045");
        assert_eq!(to_bytes(&id("nl*tnm*012204*5")), b"\x01NLTNM012204");
        for raw in [
            &b"\0NLTNMc00122045"[..],
            b"\0nlTNMC00122045",
            b"\0NLTNMC0012204\0",
            b"\0NLTNM012204",
            b"\0NLTNMC00122045K",
            b"\x01NLTNMC00122045",
            b"\x01NLTNM01220-",
            b"\x02NLTNMC00122045",
            b"",
        ] {
            assert!(from_bytes::<ContractId>(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn json_is_the_text() {
        let contract = id("nltnmc00122045");
        assert_eq!(serde_json::to_string(&contract).unwrap(), r#""NL-TNM-C00122045-K""#);
        assert_eq!(serde_json::from_str::<ContractId>(r#""NL*TNM*012204""#).unwrap(), id("NLTNM0122045"));
        assert!(serde_json::from_str::<ContractId>(r#""CO124""#).is_err());
    }

    #[test]
    fn a_contract_is_small() {
        assert!(size_of::<ContractId>() <= 18);
    }

    proptest! {
        #[test]
        fn text_json_and_bytes_round_trip(contract in arb_contract_id()) {
            for text in [
                contract.to_string(),
                contract.to_string().to_lowercase(),
                contract.without_separators(),
                contract.with_check_digit(),
                contract.to_ocpi(),
            ] {
                prop_assert_eq!(text.parse(), Ok(contract));
            }
            prop_assert_eq!(id(&contract.to_string()).check(), CheckDigit::Valid);
            let json = serde_json::to_string(&contract).unwrap();
            prop_assert_eq!(serde_json::from_str::<ContractId>(&json).unwrap(), contract);
            let bytes = to_bytes(&contract);
            prop_assert_eq!(bytes.len(), if contract.form() == ContractIdForm::Iso { 15 } else { 12 });
            prop_assert_eq!(from_bytes::<ContractId>(&bytes), Ok(contract));
        }

        #[test]
        fn order_is_the_order_of_the_bytes(a in arb_contract_id(), b in arb_contract_id()) {
            prop_assert_eq!(a.cmp(&b), to_bytes(&a).cmp(&to_bytes(&b)));
        }

        #[test]
        fn parts_make_the_contract_again(contract in arb_contract_id()) {
            prop_assert_eq!(ContractId::from_parts(contract.party(), contract.instance()), Ok(contract));
        }

        #[test]
        fn the_iso_digit_finds_a_wrong_character(text in "[A-Z]{2}[A-Z0-9]{12}", at in 2usize..14, with in "[A-Z0-9]") {
            let mut other = text.clone();
            other.replace_range(at..=at, &with);
            prop_assert_eq!(text == other, id(&text).check_digit() == id(&other).check_digit());
        }

        #[test]
        fn the_iso_digit_finds_swapped_neighbours(text in "[A-Z]{2}[A-Z0-9]{12}", at in 2usize..13) {
            let mut other: Vec<char> = text.chars().collect();
            other.swap(at, at + 1);
            let other: String = other.into_iter().collect();
            prop_assert_eq!(text == other, id(&text).check_digit() == id(&other).check_digit());
        }

        #[test]
        fn a_contract_is_in_a_set_once(contract in arb_contract_id()) {
            let set: BTreeSet<_> = [contract, id(&contract.to_string()), id(&contract.without_separators())].into();
            prop_assert_eq!(set.len(), 1);
        }

        #[test]
        fn arbitrary_text_never_panics(any in ".{0,24}", near in "[A-Za-z0-9*é-]{9,20}") {
            let _ = any.parse::<ContractId>();
            let _ = near.parse::<ContractId>();
        }

        #[test]
        fn arbitrary_bytes_never_panic(form in 0u8..3, bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = from_bytes::<ContractId>(&bytes);
            let _ = from_bytes::<ContractId>(&[&[form], &bytes[..]].concat());
        }
    }
}
