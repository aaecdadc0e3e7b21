//! eroam-ledger
