//! OBIS codes: which register was read.

/// A register, in the spelling of OCMF's table 25 as far as the code allows: `01-00:B0.08.00*FF`. Real meters write the
/// same register in ten ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObisCode {
    pub(super) canonical: String,
    /// Whether the register counts energy that goes to the vehicle; `None` when the code does not say.
    pub(super) is_import: Option<bool>,
}

impl ObisCode {
    /// `A-B:C.D.E`, with `*F` or `.F` behind it or nothing; each part one or two letters or digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (medium, rest) = text.trim().split_once('-')?;
        let (channel, rest) = rest.split_once(':')?;
        let mut parts = rest.splitn(3, '.');
        let (quantity, processing, tariff) = (parts.next()?, parts.next()?, parts.next()?);
        let (tariff, period) = match tariff.split_once(['*', '.']) {
            Some((tariff, period)) => (tariff, Some(period)),
            None => (tariff, None),
        };
        let group = |part: &str| {
            let fits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
            fits.then(|| format!("{:0>2}", part.to_ascii_uppercase()))
        };
        let (quantity, processing) = (group(quantity)?, group(processing)?);
        // 8 is a register that only ever counts up. B and C are OCMF's own, the numbers those of every meter.
        let is_import = match (quantity.as_str(), processing.as_str()) {
            ("01" | "B0" | "B1" | "B2" | "B3", "08") => Some(true),
            ("02" | "C0" | "C1" | "C2" | "C3", "08") => Some(false),
            _ => None,
        };
        let mut canonical =
            format!("{}-{}:{quantity}.{processing}.{}", group(medium)?, group(channel)?, group(tariff)?);
        if let Some(period) = period {
            canonical.push('*');
            canonical.push_str(&group(period)?);
        }
        Some(Self { canonical, is_import })
    }
}
