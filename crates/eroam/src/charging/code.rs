//! What is on a station's post: its invitation as a QR code, for a terminal and as a picture to print.
//!
//! Both have the quiet zone of four modules that readers need to find a code, and the usual correction of errors (M: an
//! eighth of the code may be dirty).
//!
//! Source: ISO/IEC 18004, 9.1 (quiet zone).

use qrcode::render::svg;
use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel, QrCode};

/// How wide a module of the picture is, in user units of the SVG. The picture can be scaled as anybody likes.
const MODULE: u32 = 8;

/// A text that does not fit into a code.
#[derive(Debug, thiserror::Error)]
#[error("{bytes} bytes are too many for a QR code: give the station a shorter endpoint")]
pub struct TooLong {
    /// Its length.
    pub bytes: usize,
    /// What the encoder says.
    #[source]
    source: qrcode::types::QrError,
}

/// An invitation's QR code.
pub struct InvitationCode(QrCode);

impl InvitationCode {
    /// The code of a URL.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn new(url: &str) -> Result<Self, TooLong> {
        QrCode::with_error_correction_level(url.as_bytes(), EcLevel::M)
            .map(Self)
            .map_err(|source| TooLong { bytes: url.len(), source })
    }

    /// Lines of text, two rows of modules in each: what is drawn is dark, so that it is read where paper is light.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.render::<Dense1x2>().quiet_zone(true).build()
    }

    /// The same for a terminal, black on white by its own colours (ECMA-48, 256 of them): of terminals nobody knows whether
    /// they are light or dark, and not every reader takes a code that is the wrong way round.
    #[must_use]
    pub fn terminal(&self) -> String {
        let coloured = |line: &str| format!("\x1b[38;5;16;48;5;231m{line}\x1b[0m");
        self.text().lines().map(coloured).collect::<Vec<_>>().join("\n")
    }

    /// An SVG document, black on white.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut text = self
            .0
            .render::<svg::Color<'_>>()
            .quiet_zone(true)
            .module_dimensions(MODULE, MODULE)
            .dark_color(svg::Color("#000000"))
            .light_color(svg::Color("#ffffff"))
            .build();
        text.push('\n');
        text
    }

    /// How many modules wide it is, without its quiet zone.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.width()
    }

    /// Whether a module is dark.
    #[must_use]
    pub fn is_dark(&self, column: usize, row: usize) -> bool {
        column < self.width() && row < self.width() && self.0[(column, row)] == Color::Dark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a reader of `picture` reads, if it finds one code.
    fn read(width: usize, is_dark: impl Fn(usize, usize) -> bool) -> Option<String> {
        let grey = |x, y| if is_dark(x, y) { 0 } else { 255 };
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, width, grey);
        let found = picture.detect_grids();
        let [only] = found.as_slice() else { return None };
        only.decode().ok().map(|(_, text)| text)
    }

    /// The side of an SVG in user units and the dark squares in it, as left, top and side.
    fn squares(svg: &str) -> (usize, Vec<(usize, usize, usize)>) {
        let after = |text: &str, mark: &str| {
            let rest = text.split_once(mark).unwrap_or_else(|| panic!("{mark}")).1;
            rest.split('"').next().unwrap().to_owned()
        };
        let side: usize = after(svg, " width=\"").parse().unwrap();
        assert_eq!(after(svg, "viewBox=\""), format!("0 0 {side} {side}"));
        let path = after(svg, " d=\"");
        let square = |text: &str| {
            // {left} {top}h{width}v{height}H{left}V{top}
            let numbers: Vec<usize> =
                text.split([' ', 'h', 'v', 'H', 'V']).map(|number| number.parse().unwrap()).collect();
            let [left, top, width, height, again_left, again_top] = numbers[..] else { panic!("{text}") };
            assert_eq!((left, top, width), (again_left, again_top, height), "{text}");
            (left, top, width)
        };
        (side, path.split('M').skip(1).map(square).collect())
    }

    fn drawn(svg: &str) -> (usize, impl Fn(usize, usize) -> bool + use<>) {
        let (side, squares) = squares(svg);
        let mut dark = vec![false; side * side];
        for (left, top, width) in squares {
            for y in top..top + width {
                dark[y * side + left..y * side + left + width].fill(true);
            }
        }
        (side, move |x, y| dark[y * side + x])
    }

    #[test]
    fn the_picture_has_four_light_modules_all_around_and_the_code_in_the_middle() {
        let code = InvitationCode::new("https://eroam.example/?oob=abc").unwrap();
        let module = usize::try_from(MODULE).unwrap();
        let svg = code.svg();
        let (side, is_dark) = drawn(&svg);
        assert_eq!(side, (code.width() + 8) * module);
        for y in 0..side {
            for x in 0..side {
                let (column, row) = (x / module, y / module);
                let expected = column >= 4 && row >= 4 && code.is_dark(column - 4, row - 4);
                assert_eq!(is_dark(x, y), expected, "{x} {y}");
            }
        }
        // The corners of a code are its finders, so that the frame is as narrow as said.
        assert!(is_dark(4 * module, 4 * module) && !is_dark(4 * module - 1, 4 * module));
        assert!(svg.contains("fill=\"#ffffff\"") && svg.contains("fill=\"#000000\""));
    }

    #[test]
    fn text_and_terminal_show_the_same_modules() {
        let code = InvitationCode::new("https://eroam.example/?oob=abc").unwrap();
        let text = code.text();
        let rows: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
        let side = code.width() + 8;
        assert_eq!((rows.len(), rows[0].len()), (side.div_ceil(2), side));
        for y in 0..side {
            for (x, cell) in rows[y / 2].iter().enumerate() {
                let (upper, lower) = match cell {
                    ' ' => (false, false),
                    '▀' => (true, false),
                    '▄' => (false, true),
                    '█' => (true, true),
                    other => panic!("{other}"),
                };
                let shown = if y % 2 == 0 { upper } else { lower };
                let expected = x >= 4 && y >= 4 && code.is_dark(x - 4, y - 4);
                assert_eq!(shown, expected, "{x} {y}");
            }
        }
        // Each line is black on white, and nothing after it is.
        let lines = text.lines().map(|line| format!("\x1b[38;5;16;48;5;231m{line}\x1b[0m"));
        assert_eq!(code.terminal(), lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_with_a_remedy() {
        let error = InvitationCode::new(&"x".repeat(3_000)).err().unwrap().to_string();
        assert!(error.contains("3000 bytes") && error.contains("shorter endpoint"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_reader_reads_from_the_picture_what_was_put_into_it(oob in "[A-Za-z0-9_-]{1,900}") {
            let url = format!("http://192.0.2.7:8080/?oob={oob}");
            let code = InvitationCode::new(&url).unwrap();
            let (side, is_dark) = drawn(&code.svg());
            prop_assert_eq!(read(side, is_dark), Some(url));
        }
    }
}
