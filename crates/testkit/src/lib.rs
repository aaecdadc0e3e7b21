//! eroam-testkit
