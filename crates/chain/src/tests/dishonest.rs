//! Leaders that lie.
