//! One level of JSON at a time, with the path to it: for reading by hand, with exact numbers.
//!
//! A value stays text until somebody asks for it, so nothing nested is built, and depth cannot exhaust the stack.

use super::datetime;
use super::findings::{DeviationKind, Findings};
use super::{DOCUMENT_MAX, OcpiError, number};
use eroam_domain::money::Currency;
use eroam_domain::time::UnixMillis;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// The greatest number of characters of a value that a message quotes.
const QUOTE_MAX: usize = 40;

/// A JSON value and where it stands.
pub(super) struct Value<'a> {
    pub(super) path: String,
    raw: &'a RawValue,
}

impl<'a> Value<'a> {
    /// The whole document.
    pub(super) fn document(text: &'a str) -> Result<Self, OcpiError> {
        if text.len() > DOCUMENT_MAX {
            return Err(OcpiError::TooLong { found: text.len() });
        }
        let path = "$".to_owned();
        match serde_json::from_str(text) {
            Ok(raw) => Ok(Self { path, raw }),
            Err(source) => Err(OcpiError::Json { path, source }),
        }
    }

    fn is(&self, first: impl Fn(u8) -> bool) -> bool {
        self.raw.get().bytes().next().is_some_and(first)
    }

    pub(super) fn is_null(&self) -> bool {
        self.raw.get() == "null"
    }

    pub(super) fn is_number(&self) -> bool {
        self.is(|b| b == b'-' || b.is_ascii_digit())
    }

    /// The value as a message quotes it.
    pub(super) fn quote(&self) -> String {
        match self.raw.get().bytes().next() {
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "an array".to_owned(),
            _ => {
                let mut text: String = self.raw.get().chars().take(QUOTE_MAX).collect();
                if text.len() < self.raw.get().len() {
                    text.push('…');
                }
                text
            }
        }
    }

    /// The error for a value of another kind or shape.
    pub(super) fn refuse(&self, expected: impl Into<String>, remedy: &'static str) -> OcpiError {
        let (path, found) = (self.path.clone(), self.quote());
        OcpiError::Field { path, expected: expected.into(), found, remedy }
    }

    /// As [`Value::refuse`], without quoting what might identify a driver.
    pub(super) fn refuse_unquoted(&self, expected: impl Into<String>, remedy: &'static str) -> OcpiError {
        let (path, found) = (self.path.clone(), "something else".to_owned());
        OcpiError::Field { path, expected: expected.into(), found, remedy }
    }

    fn decode<T: Deserialize<'a>>(&self, expected: &'static str) -> Result<T, OcpiError> {
        serde_json::from_str(self.raw.get()).map_err(|_| self.refuse(expected, "send it in that form"))
    }

    pub(super) fn text(&self) -> Result<String, OcpiError> {
        self.decode("text")
    }

    pub(super) fn boolean(&self) -> Result<bool, OcpiError> {
        self.decode("true or false")
    }

    pub(super) fn items(&self, max: usize) -> Result<Vec<Value<'a>>, OcpiError> {
        let items: Vec<&'a RawValue> = self.decode("an array")?;
        if items.len() > max {
            return Err(self.refuse(format!("an array of at most {max}"), "send less"));
        }
        let path = |index| format!("{}[{index}]", self.path);
        Ok(items.into_iter().enumerate().map(|(i, raw)| Value { path: path(i), raw }).collect())
    }

    pub(super) fn object(&self) -> Result<Object<'a>, OcpiError> {
        if !self.is(|b| b == b'{') {
            return Err(self.refuse("an object", "send it in that form"));
        }
        match serde_json::from_str::<Fields<'a>>(self.raw.get()) {
            Ok(Fields(unread)) => Ok(Object { path: self.path.clone(), unread }),
            Err(source) => Err(OcpiError::Json { path: self.path.clone(), source }),
        }
    }

    /// A number as a whole number of `10^-scale`; digits beyond are rounded and reported.
    pub(super) fn decimal(&self, scale: u8, findings: &mut Findings) -> Result<i64, OcpiError> {
        self.rounded(number::read(self.raw, scale), scale, findings)
    }

    /// A number of hours in milliseconds, rounded and reported; it may be negative.
    pub(super) fn hours(&self, findings: &mut Findings) -> Result<i64, OcpiError> {
        let read = number::read_hours(self.raw);
        if let Ok((ms, true)) = read {
            findings.add_deviation(&self.path, DeviationKind::Rounded, self.quote(), format!("{ms} ms"));
        }
        read.map(|(ms, _)| ms).map_err(|_| self.refuse("a number of hours", "send a JSON number"))
    }

    fn rounded(
        &self,
        read: Result<(i64, bool), eroam_domain::money::MoneyError>,
        scale: u8,
        findings: &mut Findings,
    ) -> Result<i64, OcpiError> {
        let (value, lost) = read.map_err(|_| self.refuse("a number", "send a JSON number, not text"))?;
        if lost {
            let read_as = number::write(i128::from(value), scale);
            findings.add_deviation(&self.path, DeviationKind::Rounded, self.quote(), read_as);
        }
        Ok(value)
    }

    /// As [`Value::decimal`], for what cannot be negative.
    pub(super) fn amount(&self, scale: u8, findings: &mut Findings) -> Result<u64, OcpiError> {
        let value = self.decimal(scale, findings)?;
        u64::try_from(value).map_err(|_| self.refuse("a number from 0", "send it without a sign"))
    }

    pub(super) fn instant(&self) -> Result<UnixMillis, OcpiError> {
        let text = self.text()?;
        datetime::parse(&text).ok_or_else(|| self.refuse(datetime::EXPECTED, "write it as RFC 3339"))
    }

    pub(super) fn currency(&self, findings: &mut Findings) -> Result<Currency, OcpiError> {
        let text = self.text()?;
        let upper = text.to_ascii_uppercase();
        if upper != text {
            findings.add_deviation(&self.path, DeviationKind::Normalised, self.quote(), upper.clone());
        }
        Currency::new(&upper)
            .map_err(|_| self.refuse("a currency code such as EUR", "use three letters of ISO 4217"))
    }

    /// Text that `parse` understands.
    pub(super) fn parsed<T>(
        &self,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, OcpiError> {
        let text = self.text()?;
        parse(&text).ok_or_else(|| self.refuse(expected, "send it in that form"))
    }
}

/// The fields of a JSON object, taken out one by one; what remains is unexpected.
pub(super) struct Object<'a> {
    path: String,
    unread: BTreeMap<String, &'a RawValue>,
}

impl<'a> Object<'a> {
    fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Whether the field is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.unread.get(name).is_some_and(|raw| raw.get() != "null")
    }

    /// The field, unless it is absent or null, which mean the same.
    pub(super) fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let raw = self.unread.remove(name)?;
        Some(Value { path: self.at(name), raw }).filter(|value| !value.is_null())
    }

    /// A field that cannot be done without.
    pub(super) fn need(&mut self, name: &str, expected: &'static str) -> Result<Value<'a>, OcpiError> {
        self.take(name).ok_or_else(|| OcpiError::Missing { path: self.at(name), expected })
    }

    /// A field that the specification requires, but that can be done without.
    pub(super) fn want(&mut self, name: &str, findings: &mut Findings) -> Option<Value<'a>> {
        let value = self.take(name);
        if value.is_none() {
            findings.add_missing(self.at(name));
        }
        value
    }

    /// Text of a field, if it is there.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, OcpiError> {
        self.take(name).map(|value| value.text()).transpose()
    }

    /// Text of a field that the specification requires.
    pub(super) fn wanted_text(
        &mut self,
        name: &str,
        findings: &mut Findings,
    ) -> Result<Option<String>, OcpiError> {
        self.want(name, findings).map(|value| value.text()).transpose()
    }

    /// Fields that are known and have no meaning here.
    pub(super) fn skip(&mut self, names: &[&str]) {
        for name in names {
            self.unread.remove(*name);
        }
    }

    /// Reports what nobody took.
    pub(super) fn finish(self, findings: &mut Findings) {
        for name in self.unread.keys() {
            // A name is foreign text in our path: kept short and on one line.
            let name: String = name.escape_debug().take(QUOTE_MAX).collect();
            findings.add_unexpected(format!("{}.{name}", self.path));
        }
    }
}

/// Fields by name; a name that occurs twice is an error, because readers disagree about which one counts.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, raw)) = map.next_entry::<String, &'de RawValue>()? {
                    if fields.insert(name, raw).is_some() {
                        return Err(A::Error::custom("a field occurs twice"));
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// JSON to be written.
#[derive(Clone, Debug)]
pub(super) enum Out {
    Text(String),
    /// The text of a number, from [`number`].
    Number(String),
    Flag(bool),
    List(Vec<Out>),
    Map(Vec<(&'static str, Out)>),
}

impl Out {
    pub(super) fn text(text: impl fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    /// The document.
    pub(super) fn print(&self) -> Result<String, OcpiError> {
        serde_json::to_string(self).map_err(|source| OcpiError::Json { path: "$".to_owned(), source })
    }
}

impl Serialize for Out {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(text) => {
                RawValue::from_string(text.clone()).map_err(S::Error::custom)?.serialize(serializer)
            }
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}
