//! JSON from strangers, read strictly.
//!
//! What two readers could understand differently is refused: a key twice in one object, a number that is not an
//! integer in its one usual form (`1.0`, `1e3`, `-0` and whatever needs more than 64 bits), nesting beyond
//! [`DEPTH_MAX`]. Who calls says how many bytes at most, and for long lists how many values: short numbers in long lists
//! cost most to read for each byte, and refusing them must cost little.

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The deepest nesting of arrays and objects that is read.
pub const DEPTH_MAX: usize = 24;

/// The greatest number of values that is read where nothing else is said: the largest presentation has 15,000.
pub const VALUES_MAX: usize = 20_480;

/// Why bytes are not taken for JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// More bytes than the reader takes.
    #[error("{found} bytes, at most {max} are read")]
    TooLarge {
        /// How many there are.
        found: usize,
        /// How many are read.
        max: usize,
    },
    /// More values than the reader takes.
    #[error("about {found} values, at most {max} are read")]
    TooMany {
        /// How many commas there are, those in texts included.
        found: usize,
        /// How many values are read.
        max: usize,
    },
    /// Not JSON, or JSON that is not read.
    #[error("{0}")]
    Malformed(#[source] serde_json::Error),
}

/// Reads one JSON value of at most `bytes_max` bytes and [`VALUES_MAX`] values.
///
/// # Errors
/// [`JsonError`].
pub fn value(bytes: &[u8], bytes_max: usize) -> Result<Value, JsonError> {
    list(bytes, bytes_max, VALUES_MAX)
}

/// As [`value`], of at most `values_max` values. They are counted by their commas, before anything is read.
///
/// # Errors
/// [`JsonError`].
pub fn list(bytes: &[u8], bytes_max: usize, values_max: usize) -> Result<Value, JsonError> {
    if bytes.len() > bytes_max {
        return Err(JsonError::TooLarge { found: bytes.len(), max: bytes_max });
    }
    let found = bytes.iter().filter(|byte| **byte == b',').count();
    if found >= values_max {
        return Err(JsonError::TooMany { found, max: values_max });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth_left: DEPTH_MAX }.deserialize(&mut reader).map_err(JsonError::Malformed)?;
    reader.end().map_err(JsonError::Malformed)?;
    Ok(value)
}

/// Reads a type from one JSON value of at most `bytes_max` bytes.
///
/// # Errors
/// [`JsonError`].
pub fn read<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, JsonError> {
    serde_json::from_value(value(bytes, bytes_max)?).map_err(JsonError::Malformed)
}

/// What the reader calls the text of a number where another crate of the build wants numbers of any precision.
const NUMBER: &str = "$serde_json::private::Number";

/// An integer of 64 bits in its usual form.
fn number<E: serde::de::Error>(text: &str) -> Result<Value, E> {
    let signed = text.parse::<i64>().ok().filter(|n| n.to_string() == text).map(Value::from);
    let unsigned = || text.parse::<u64>().ok().filter(|n| n.to_string() == text).map(Value::from);
    signed
        .or_else(unsigned)
        .ok_or_else(|| E::custom(format_args!("{text} is not an integer of 64 bits in its usual form")))
}

/// Builds a value and refuses what is ambiguous.
#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1);
        depth_left
            .map(|depth_left| Self { depth_left })
            .ok_or_else(|| E::custom(format_args!("nested deeper than {DEPTH_MAX}")))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys and without fractions")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format_args!("{value:?} is not an integer of 64 bits in its usual form")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == NUMBER {
                return number(&map.next_value::<String>()?);
            }
            let value = map.next_value_seed(below)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} twice in one object")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let table = [
            (r#"{"a":1,"a":1}"#.to_owned(), "twice"),
            (r#"{"a":{"b":[{"c":1,"c":2}]}}"#.to_owned(), "twice"),
            (r#"{"a":1,"\u0061":1}"#.to_owned(), "twice"),
            ("1.0".to_owned(), "not an integer"),
            ("1e3".to_owned(), "not an integer"),
            ("-0".to_owned(), "not an integer"),
            ("18446744073709551616".to_owned(), "not an integer"),
            ("01".to_owned(), "invalid number"),
            ("+1".to_owned(), "expected value"),
            ("NaN".to_owned(), "expected value"),
            ("{} {}".to_owned(), "trailing characters"),
            (r#""\ud800""#.to_owned(), "hex escape"),
            (String::new(), "EOF"),
            (deep(DEPTH_MAX + 1), "nested deeper"),
            (deep(100_000), "nested deeper"),
        ];
        for (text, reason) in table {
            let error = value(text.as_bytes(), 1 << 20).unwrap_err().to_string();
            assert!(error.contains(reason), "{}: {error}", &text[..text.len().min(40)]);
        }
        assert!(value(deep(DEPTH_MAX).as_bytes(), 1 << 20).is_ok());
        assert!(value(b"\"\xff\"", 10).is_err());
    }

    #[test]
    fn the_limit_is_in_bytes_and_is_said() {
        assert!(value(b"[1]", 3).is_ok());
        assert_eq!(value(b"[12]", 3).unwrap_err().to_string(), "4 bytes, at most 3 are read");
    }

    #[test]
    fn many_short_values_are_refused_unless_they_are_asked_for() {
        let zeros = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
        assert!(value(zeros(VALUES_MAX).as_bytes(), 1 << 20).is_ok());
        let more = zeros(VALUES_MAX + 1);
        let refused = value(more.as_bytes(), 1 << 20).unwrap_err().to_string();
        assert_eq!(refused, "about 20480 values, at most 20480 are read");
        assert!(list(more.as_bytes(), 1 << 20, VALUES_MAX + 1).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = value(&bytes, 200) {
                prop_assert_eq!(value(read.to_string().as_bytes(), 1 << 20).unwrap(), read);
            }
        }

        #[test]
        fn what_is_read_is_what_the_usual_reader_reads(text in r#"[\[\]{}:,"a0-9 ]{0,20}"#) {
            if let Ok(read) = value(text.as_bytes(), 200) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), read);
            }
        }
    }
}
