//! eroam-store
