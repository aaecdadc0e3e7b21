//! Secrets of one kind by label, and how they are written: one way only.
//!
//! A shelf is a count, then label and secret with their lengths, labels ascending; all numbers are u32,
//! little-endian.

use super::error::ContentError;
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// Secrets of one kind.
pub const ENTRIES_MAX: usize = 4096;
/// Bytes of a label.
pub const LABEL_BYTES_MAX: usize = 512;

/// Secrets of one kind by label.
#[derive(Default)]
pub(super) struct Shelf(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Shelf {
    pub(super) fn put(&mut self, label: &str, secret: Zeroizing<Vec<u8>>) -> Result<(), ContentError> {
        check_label(label)?;
        if self.0.len() >= ENTRIES_MAX && !self.0.contains_key(label) {
            return Err(ContentError::Full);
        }
        self.0.insert(label.to_owned(), secret);
        Ok(())
    }

    pub(super) fn get(&self, label: &str) -> Option<&[u8]> {
        self.0.get(label).map(|secret| secret.as_slice())
    }

    pub(super) fn remove(&mut self, label: &str) -> bool {
        self.0.remove(label).is_some()
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How many bytes [`Shelf::write`] writes; known ahead, so that no buffer grows and leaves a copy behind.
    pub(super) fn written_len(&self) -> usize {
        let entries = self.0.iter();
        let entries =
            entries.map(|(label, secret)| label.len().saturating_add(secret.len()).saturating_add(8));
        entries.fold(4, usize::saturating_add)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        // What does not fit a u32 is over the vault's limit, which the caller checked.
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&number(self.0.len()));
        for (label, secret) in &self.0 {
            out.extend_from_slice(&number(label.len()));
            out.extend_from_slice(label.as_bytes());
            out.extend_from_slice(&number(secret.len()));
            out.extend_from_slice(secret);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ContentError> {
        let count = reader.number()?;
        if count > ENTRIES_MAX {
            return Err(ContentError::Full);
        }
        let mut shelf = BTreeMap::<String, Zeroizing<Vec<u8>>>::new();
        for _ in 0..count {
            let label = std::str::from_utf8(reader.block()?).map_err(|_| ContentError::Label)?;
            check_label(label)?;
            if shelf.last_key_value().is_some_and(|(last, _)| last.as_str() >= label) {
                return Err(ContentError::Order);
            }
            shelf.insert(label.to_owned(), Zeroizing::new(reader.block()?.to_vec()));
        }
        Ok(Self(shelf))
    }
}

impl fmt::Debug for Shelf {
    /// The labels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn check_label(label: &str) -> Result<(), ContentError> {
    if label.is_empty() || label.len() > LABEL_BYTES_MAX { Err(ContentError::Label) } else { Ok(()) }
}

/// Reads what shelves wrote.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<usize, ContentError> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or(ContentError::Truncated)?;
        self.0 = rest;
        usize::try_from(u32::from_le_bytes(*number)).map_err(|_| ContentError::Truncated)
    }

    fn block(&mut self) -> Result<&'a [u8], ContentError> {
        let len = self.number()?;
        let (block, rest) = self.0.split_at_checked(len).ok_or(ContentError::Truncated)?;
        self.0 = rest;
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shelf(entries: &[(&str, &[u8])]) -> Shelf {
        let mut shelf = Shelf::default();
        for (label, secret) in entries {
            shelf.put(label, Zeroizing::new(secret.to_vec())).unwrap();
        }
        shelf
    }

    fn written(shelf: &Shelf) -> Vec<u8> {
        let mut out = Vec::new();
        shelf.write(&mut out);
        assert_eq!(out.len(), shelf.written_len());
        out
    }

    #[test]
    fn what_is_not_written_so_is_refused() {
        let good = written(&shelf(&[("a", b"1"), ("b", b"")]));
        assert_eq!(good, b"\x02\0\0\0\x01\0\0\0a\x01\0\0\x001\x01\0\0\0b\0\0\0\0");
        let table: [(&[u8], &str); 6] = [
            (b"\x01\0\0\0\x01\0\0\0a\x02\0\0\x001", "Truncated"),
            (b"\x01\0\0\0\xff\xff\xff\xffa", "Truncated"),
            (b"\x02\0\0\0\x01\0\0\0b\0\0\0\0\x01\0\0\0a\0\0\0\0", "Order"),
            (b"\x02\0\0\0\x01\0\0\0a\0\0\0\0\x01\0\0\0a\0\0\0\0", "Order"),
            (b"\x01\0\0\0\0\0\0\0\0\0\0\0", "Label"),
            (b"\xff\xff\xff\xff", "Full"),
        ];
        for (bytes, expected) in table {
            assert_eq!(format!("{:?}", Shelf::read(&mut Reader(bytes)).unwrap_err()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn there_are_only_so_many_of_one_kind() {
        let mut full = Shelf::default();
        for n in 0..ENTRIES_MAX {
            full.put(&n.to_string(), Zeroizing::new(Vec::new())).unwrap();
        }
        full.put("0", Zeroizing::new(Vec::new())).unwrap();
        assert!(matches!(full.put("more", Zeroizing::new(Vec::new())), Err(ContentError::Full)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            entries in proptest::collection::btree_map(".{1,8}", proptest::collection::vec(any::<u8>(), 0..20), 0..6),
        ) {
            let entries: Vec<(&str, &[u8])> = entries.iter().map(|(l, s)| (l.as_str(), s.as_slice())).collect();
            let bytes = written(&shelf(&entries));
            let mut reader = Reader(&bytes);
            let again = Shelf::read(&mut reader).unwrap();
            prop_assert!(reader.0.is_empty());
            prop_assert_eq!(written(&again), bytes);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(shelf) = Shelf::read(&mut Reader(&bytes)) {
                prop_assert!(bytes.starts_with(&written(&shelf)));
            }
        }
    }
}
