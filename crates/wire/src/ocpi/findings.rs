//! What a reader met that the specification does not foresee.

use super::OcpiError;

/// The greatest number of findings in one document.
pub const FINDINGS_MAX: usize = 4096;

/// How far a value that was read differs from what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviationKind {
    /// More digits than are kept; the value was rounded to the nearest.
    Rounded,
    /// Another spelling or order of the same meaning.
    Normalised,
    /// A name that no version has stands where it has no bearing on the price; it was left out.
    Unknown,
    /// Something that has no meaning here, but may have a price, was left out.
    Ignored,
    /// Something impossible or ambiguous was given the likeliest meaning.
    Assumed,
}

/// One value that was read as something other than what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Where, as a JSON path.
    pub path: String,
    /// What stands there, shortened.
    pub found: String,
    /// What it was read as.
    pub read_as: String,
    /// How far apart the two are.
    pub kind: DeviationKind,
}

/// Everything odd in one document, as JSON paths in the order in which it was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Fields that the specification requires and that could be done without.
    pub missing: Vec<String>,
    /// Fields that no version of the specification has; what is nested in them is not listed.
    pub unexpected: Vec<String>,
    /// Values that were read as something else.
    pub deviations: Vec<Deviation>,
}

impl Findings {
    pub(super) fn add_missing(&mut self, path: String) {
        if self.missing.len() <= FINDINGS_MAX {
            self.missing.push(path);
        }
    }

    pub(super) fn add_unexpected(&mut self, path: String) {
        if self.unexpected.len() <= FINDINGS_MAX {
            self.unexpected.push(path);
        }
    }

    pub(super) fn add_deviation(
        &mut self,
        path: &str,
        kind: DeviationKind,
        found: String,
        read_as: impl Into<String>,
    ) {
        if self.deviations.len() <= FINDINGS_MAX {
            let (path, read_as) = (path.to_owned(), read_as.into());
            self.deviations.push(Deviation { path, found, read_as, kind });
        }
    }

    /// Refuses a flood.
    pub(super) fn bounded(self) -> Result<Self, OcpiError> {
        let most = self.missing.len().max(self.unexpected.len()).max(self.deviations.len());
        if most > FINDINGS_MAX { Err(OcpiError::TooManyFindings) } else { Ok(self) }
    }

    /// Whether the document, as read, prices a session as its author meant: no restriction was left aside, nothing
    /// ignored, nothing assumed. Rounding, other spellings and unknown names do not count, nor do fields that no
    /// version has outside restrictions.
    ///
    /// # Errors
    /// [`OcpiError::NotFaithful`] names the first place.
    pub fn faithful(&self) -> Result<(), OcpiError> {
        let restriction = self.unexpected.iter().find(|path| path.contains(".restrictions."));
        if let Some(path) = restriction {
            return Err(OcpiError::NotFaithful { path: path.clone(), what: "an unknown restriction".into() });
        }
        let guess = self
            .deviations
            .iter()
            .find(|d| matches!(d.kind, DeviationKind::Ignored | DeviationKind::Assumed));
        match guess {
            Some(Deviation { path, found, read_as, .. }) => Err(OcpiError::NotFaithful {
                path: path.clone(),
                what: format!("{found}, read as {read_as},"),
            }),
            None => Ok(()),
        }
    }
}
