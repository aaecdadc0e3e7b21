//! What must survive a power cut: the events of the current session, what the meter signed, and the accounting messages
//! that the operator has not confirmed.
//!
//! ```text
//! current session    append, append, ..., finish(message)          after a cut: entries(), folded again
//!                                           |  at once: all or nothing
//! outbox                                    v
//!                    oldest first --> sent --> acknowledge(number)   nothing lost, nothing sent for two sessions
//! ```
//! A number is never used again, so an operator that sees it twice knows the message. What it deliberately does not do:
//! look into entries or messages, or send.

#[cfg(feature = "sqlite")]
pub mod sqlite;

use crate::process::Event;
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something that happened in the current session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The process took an event.
    Event {
        /// When.
        at: UnixMillis,
        /// What.
        event: Event,
    },
    /// The meter signed.
    Signed {
        /// The page.
        page: u64,
        /// The OCMF record.
        line: String,
    },
}

/// An accounting message that waits for its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its number, larger than that of every message before it.
    pub number: u64,
    /// The message.
    pub message: String,
}

/// Why the journal cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk or the database.
    #[error("the journal {place} cannot be used")]
    Storage {
        /// Where it is.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has it open.
    #[error("the journal {place} is in use by another process")]
    InUse {
        /// Where it is.
        place: String,
    },
    /// It is not a journal, or a newer one.
    #[error("{place} is no journal of this version: {what}")]
    Foreign {
        /// Where it is.
        place: String,
        /// What is odd about it.
        what: String,
    },
    /// Messages are acknowledged in their order.
    #[error("message {found} cannot be acknowledged before message {oldest}")]
    OutOfOrder {
        /// The one that is due.
        oldest: u64,
        /// The one that was named.
        found: u64,
    },
    /// A message that was never written.
    #[error("there is no message {0}")]
    Unknown(u64),
}

/// Keeps entries and messages. What a method has returned from is kept, whatever happens next.
pub trait Journal {
    /// Adds an entry to the current session.
    ///
    /// # Errors
    /// [`JournalError`]; the entry may or may not be kept.
    fn append(&mut self, entry: &Entry) -> Result<(), JournalError>;

    /// The entries of the current session, oldest first.
    ///
    /// # Errors
    /// [`JournalError`].
    fn entries(&mut self) -> Result<Vec<Entry>, JournalError>;

    /// Ends the current session, all of this or nothing: its entries go, `message` joins the outbox, and the next session
    /// begins with `next`. Gives the message's number.
    ///
    /// # Errors
    /// [`JournalError`].
    fn finish(&mut self, message: Option<&str>, next: &[Entry]) -> Result<Option<u64>, JournalError>;

    /// The last page that the meter has signed, 0 if none; it outlives the session.
    ///
    /// # Errors
    /// [`JournalError`].
    fn last_page(&mut self) -> Result<u64, JournalError>;

    /// At most `limit` messages that wait, oldest first.
    ///
    /// # Errors
    /// [`JournalError`].
    fn waiting(&mut self, limit: u32) -> Result<Vec<Queued>, JournalError>;

    /// The operator has the message. False if that was known.
    ///
    /// # Errors
    /// [`JournalError::OutOfOrder`] unless it is the oldest that waits, [`JournalError::Unknown`] if it was never
    /// written, or the storage's.
    fn acknowledge(&mut self, number: u64) -> Result<bool, JournalError>;
}

impl<J: Journal + ?Sized> Journal for Box<J> {
    fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        (**self).append(entry)
    }

    fn entries(&mut self) -> Result<Vec<Entry>, JournalError> {
        (**self).entries()
    }

    fn finish(&mut self, message: Option<&str>, next: &[Entry]) -> Result<Option<u64>, JournalError> {
        (**self).finish(message, next)
    }

    fn last_page(&mut self) -> Result<u64, JournalError> {
        (**self).last_page()
    }

    fn waiting(&mut self, limit: u32) -> Result<Vec<Queued>, JournalError> {
        (**self).waiting(limit)
    }

    fn acknowledge(&mut self, number: u64) -> Result<bool, JournalError> {
        (**self).acknowledge(number)
    }
}

/// A journal that a power cut takes with it: for tests, and for stations that are simulated by the hundred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryJournal {
    entries: Vec<Entry>,
    outbox: VecDeque<Queued>,
    numbers: u64,
    last_page: u64,
}

impl Journal for MemoryJournal {
    fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        if let Entry::Signed { page, .. } = entry {
            self.last_page = self.last_page.max(*page);
        }
        self.entries.push(entry.clone());
        Ok(())
    }

    fn entries(&mut self) -> Result<Vec<Entry>, JournalError> {
        Ok(self.entries.clone())
    }

    fn finish(&mut self, message: Option<&str>, next: &[Entry]) -> Result<Option<u64>, JournalError> {
        self.entries = next.to_vec();
        let Some(message) = message else { return Ok(None) };
        self.numbers = self.numbers.saturating_add(1);
        self.outbox.push_back(Queued { number: self.numbers, message: message.to_owned() });
        Ok(Some(self.numbers))
    }

    fn last_page(&mut self) -> Result<u64, JournalError> {
        Ok(self.last_page)
    }

    fn waiting(&mut self, limit: u32) -> Result<Vec<Queued>, JournalError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.outbox.iter().take(limit).cloned().collect())
    }

    fn acknowledge(&mut self, number: u64) -> Result<bool, JournalError> {
        let oldest = self.outbox.front().map(|q| q.number);
        let due = is_due(number, oldest, self.numbers)?;
        if due {
            self.outbox.pop_front();
        }
        Ok(due)
    }
}

/// A journal that several have in hand: the charging point writes sessions, and whoever sends messages empties the outbox
/// meanwhile.
#[derive(Debug, Default)]
pub struct SharedJournal<J>(Arc<Mutex<J>>);

impl<J> SharedJournal<J> {
    /// Shares a journal.
    #[must_use]
    pub fn new(journal: J) -> Self {
        Self(Arc::new(Mutex::new(journal)))
    }

    fn lock(&self) -> MutexGuard<'_, J> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Clone for SharedJournal<J> {
    /// Another hand on the same journal.
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<J: Journal> Journal for SharedJournal<J> {
    fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.lock().append(entry)
    }

    fn entries(&mut self) -> Result<Vec<Entry>, JournalError> {
        self.lock().entries()
    }

    fn finish(&mut self, message: Option<&str>, next: &[Entry]) -> Result<Option<u64>, JournalError> {
        self.lock().finish(message, next)
    }

    fn last_page(&mut self) -> Result<u64, JournalError> {
        self.lock().last_page()
    }

    fn waiting(&mut self, limit: u32) -> Result<Vec<Queued>, JournalError> {
        self.lock().waiting(limit)
    }

    fn acknowledge(&mut self, number: u64) -> Result<bool, JournalError> {
        self.lock().acknowledge(number)
    }
}

/// Whether `number` is the oldest message that waits; false if it was acknowledged before. `last` is the last number given
/// out.
fn is_due(number: u64, oldest: Option<u64>, last: u64) -> Result<bool, JournalError> {
    match oldest {
        _ if number == 0 || number > last => Err(JournalError::Unknown(number)),
        Some(oldest) if number > oldest => Err(JournalError::OutOfOrder { oldest, found: number }),
        Some(oldest) => Ok(number == oldest),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_acknowledged_one_by_one_in_their_order() {
        let mut journal = MemoryJournal::default();
        for message in ["first", "second"] {
            journal.finish(Some(message), &[]).unwrap();
        }
        assert_eq!(journal.waiting(1).unwrap().len(), 1);
        assert!(matches!(journal.acknowledge(2), Err(JournalError::OutOfOrder { oldest: 1, found: 2 })));
        assert!(matches!(journal.acknowledge(3), Err(JournalError::Unknown(3))));
        assert!(matches!(journal.acknowledge(0), Err(JournalError::Unknown(0))));
        assert_eq!([journal.acknowledge(1).unwrap(), journal.acknowledge(1).unwrap()], [true, false]);
        assert!(journal.acknowledge(2).unwrap());
        assert!(!journal.acknowledge(2).unwrap());
        assert_eq!(journal.finish(Some("third"), &[]).unwrap(), Some(3), "numbers are not used again");
    }

    #[test]
    fn a_shared_journal_is_one_journal() {
        let journal = SharedJournal::new(MemoryJournal::default());
        let (mut point, mut sender) = (journal.clone(), journal);
        point.finish(Some("message"), &[]).unwrap();
        let waiting = sender.waiting(9).unwrap();
        assert_eq!(waiting, [Queued { number: 1, message: "message".to_owned() }]);
        assert!(sender.acknowledge(1).unwrap());
        assert_eq!((point.waiting(9).unwrap(), point.last_page().unwrap()), (vec![], 0));
        point.append(&Entry::Signed { page: 7, line: "OCMF".to_owned() }).unwrap();
        assert_eq!((sender.entries().unwrap().len(), sender.last_page().unwrap()), (1, 7));
    }
}
