//! Base64, as envelopes and attachments write it. Written without padding; read with or without.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG.with_encode_padding(true));

/// Base64url without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL.encode(bytes)
}

/// Base64url with or without padding; `None` for anything else.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL.decode(text).ok()
}

/// Base64 with padding, in the alphabet with `+` and `/`.
pub(crate) fn encode_padded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Base64 of either alphabet, with or without padding: attachments of agents differ in both.
pub(crate) fn decode_any(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_may_be_there_or_not_and_leftover_bits_are_refused() {
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
        assert_eq!(encode_padded(&[0xfb, 0xff]), "+/8=");
        assert_eq!(decode("-_8").unwrap(), decode("-_8=").unwrap());
        assert_eq!(decode_any("+/8").unwrap(), decode_any("-_8=").unwrap());
        for text in ["-_9", "+/8", "a", "-_8==", "-_8 ", "-/8"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
