//! eroam-gateway
