//! The sheet that bills and invoices are printed on: its skeleton and style, and how numbers and dates look on it.
//!
//! A page stands alone: it loads nothing, runs nothing and says so in its content security policy, so that it can be
//! mailed, archived and printed as it is. On screen it follows the reader's light or dark setting; on paper it is
//! always light.

use eroam_domain::money::decimal;
use eroam_domain::time::{CivilDate, CivilMonth, LocalTime, Weekday};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A no-break space, between a number and its unit.
pub(crate) const NBSP: char = '\u{a0}';

/// A whole page. `running` stands at the foot of every printed sheet, beside the page number.
pub(crate) fn sheet(title: &str, running: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="color-scheme" content="light dark";
                meta name="format-detection" content="telephone=no";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(margin_boxes(running))) }
            }
            body { main { (body) } }
        }
    };
    page.into_string()
}

/// The foot of the printed sheets.
fn margin_boxes(running: &str) -> String {
    let running = css_string(running);
    format!(
        "@page{{@bottom-left{{content:{running}}}\
         @bottom-right{{content:\"Page \" counter(page) \" of \" counter(pages)}}}}"
    )
}

/// A CSS string in which nothing but plain letters and digits stands for itself, so that no text can end the
/// string or the style element.
fn css_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            quoted.push(c);
        } else {
            quoted.push_str(&format!("\\{:06x}", u32::from(c)));
        }
    }
    quoted.push('"');
    quoted
}

/// `millionths` as decimal text with at least two decimals and every digit that is not zero; the minus is U+2212.
pub(crate) fn number(millionths: i128) -> String {
    decimal(millionths, 6, 2).replace('-', "\u{2212}")
}

/// How many decimals beyond the second the longest of `millionths` has: the room that [`figure`] leaves in a column,
/// so that the decimal points stand below each other.
pub(crate) fn further_decimals(millionths: impl IntoIterator<Item = i128>) -> usize {
    let decimals = |m| decimal(m, 6, 2).split_once('.').map_or(0, |(_, fraction)| fraction.len());
    millionths.into_iter().map(decimals).max().unwrap_or(0).saturating_sub(2)
}

/// [`number`] for a column with room for `further` decimals beyond the second. Thousands are set apart by style, not
/// by a character, so that a copied figure stays a number.
pub(crate) fn figure(millionths: i128, further: usize) -> Markup {
    let text = number(millionths);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (cents, tail) = fraction.split_at_checked(2).unwrap_or((fraction, ""));
    html! {
        (thousands(whole)) "." (cents)
        @if further > 0 { span class=(format!("tail tail{further}")) { (tail) } }
    }
}

/// The figure that the whole page is about, its cents smaller than its units.
pub(crate) fn headline(millionths: i128, unit: &str) -> Markup {
    let text = number(millionths);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    html! {
        (thousands(whole)) span.cents { "." (fraction) } " " span.unit { (unit) }
    }
}

fn thousands(whole: &str) -> Markup {
    let mut groups: Vec<String> = Vec::new();
    for (left, c) in (1..=whole.chars().count()).rev().zip(whole.chars()) {
        match groups.last_mut() {
            Some(group) if left % 3 != 0 || group == "\u{2212}" => group.push(c),
            _ => groups.push(c.to_string()),
        }
    }
    html! {
        @for (place, group) in groups.iter().enumerate() {
            @if place == 0 { (group) } @else { span.thousands { (group) } }
        }
    }
}

/// Energy in kWh with two decimals, the last one rounded half up, for reading; [`figure`] gives all of it.
pub(crate) fn kwh(milli_wh: i128) -> String {
    decimal((milli_wh + 5_000).div_euclid(10_000), 2, 2)
}

/// `May 2021`.
pub(crate) fn month_words(month: CivilMonth) -> String {
    // A month shows its parts only through its dates.
    let first = format!("{month}-01").parse::<CivilDate>();
    first.map_or_else(|_| month.to_string(), |d| format!("{} {}", month_name(d.month()), d.year()))
}

/// `1 May 2021`.
pub(crate) fn date_words(date: CivilDate) -> String {
    format!("{}{NBSP}{} {}", date.day(), month_name(date.month()), date.year())
}

/// `Sat 1 May`.
pub(crate) fn day_words(at: &LocalTime) -> String {
    let weekday = match at.weekday {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    };
    format!("{weekday} {}{NBSP}{}", at.date.day(), month_name(at.date.month()))
}

/// `21:42`.
pub(crate) fn time_words(at: &LocalTime) -> String {
    let minutes = at.ms_of_day / 60_000;
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

fn month_name(month: u8) -> &'static str {
    match month {
        1 => "January",
        2 => "February",
        3 => "March",
        4 => "April",
        5 => "May",
        6 => "June",
        7 => "July",
        8 => "August",
        9 => "September",
        10 => "October",
        11 => "November",
        _ => "December",
    }
}

/// Paper and ink, one green, a swatch for each operator. Colour never says something that words do not.
const STYLE: &str = r"
:root{color-scheme:light dark;
 --paper:light-dark(#f6f5f1,#0e1412);--sheet:light-dark(#fffefb,#151d1a);
 --line:light-dark(#e2dfd5,#26322d);--strong:light-dark(#c9c5b8,#3a4a43);
 --ink:light-dark(#14201b,#eaf1ed);--ink2:light-dark(#4d5a54,#a5b3ac);--green:light-dark(#0a6b4f,#45dba0);
 --d1:light-dark(#0a6b4f,#45dba0);--d2:light-dark(#d08a1d,#f6b14a);--d3:light-dark(#3b6fb5,#7db6f5);
 --d4:light-dark(#8a5a9e,#c69ad8);--d5:light-dark(#8b8f7a,#9aa393)}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
 font:400 14.5px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;
 font-variant-numeric:tabular-nums;overflow-wrap:anywhere;-webkit-text-size-adjust:100%}
main{max-width:860px;margin:32px auto;padding:40px 44px 44px;background:var(--sheet);
 border:1px solid var(--line);border-radius:10px}
h1,h2,p,dl,dd,ul{margin:0}
h1{font-size:30px;line-height:1.15;font-weight:650;letter-spacing:-.02em}
h2{font-size:17px;line-height:1.3;font-weight:600;letter-spacing:-.01em;margin:36px 0 4px}
.letterhead{display:flex;justify-content:space-between;gap:8px 24px;flex-wrap:wrap;
 padding-bottom:14px;border-bottom:2px solid var(--green);margin-bottom:30px}
.letterhead b{font-weight:650;font-size:17px;letter-spacing:-.01em}
.quiet{color:var(--ink2)}
.small,caption,thead th{font-size:12.5px}
.hero{display:flex;justify-content:space-between;align-items:flex-end;gap:24px 40px;flex-wrap:wrap}
.facts{display:grid;grid-template-columns:max-content auto;gap:3px 18px;margin-top:14px}
.facts dt{color:var(--ink2)}
.due{text-align:right;margin-left:auto}
.due .big{font-size:52px;line-height:1.05;font-weight:650;letter-spacing:-.03em;white-space:nowrap}
.due .cents{font-size:.56em}
.unit{color:var(--ink2);font-weight:400}
.due .unit{font-size:.36em;letter-spacing:0}
.strip{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));margin-top:30px;
 border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
.strip div{padding:12px 18px;border-left:1px solid var(--line)}
.strip div:first-child{padding-left:0;border-left:0}
.strip dt{color:var(--ink2);font-size:12.5px}
.strip .big{font-size:22px;font-weight:600;letter-spacing:-.02em;line-height:1.3}
.strip .unit{font-size:13px;letter-spacing:0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(310px,1fr));gap:0 40px}
.pair table{font-size:13.5px}
table{width:100%;border-collapse:collapse}
caption{text-align:left;color:var(--ink2);padding:0 0 6px}
th{font-weight:400;text-align:left}
thead th{overflow-wrap:normal;color:var(--ink2);font-weight:550;vertical-align:bottom;padding:6px 0;border-bottom:1px solid var(--strong)}
tbody th,td{padding:6px 0;vertical-align:baseline}
th+th,td,th+td{padding-left:14px}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.ruled tbody tr+tr>*{border-top:1px solid var(--line)}
tfoot{display:table-row-group}
tfoot th,tfoot td,.ruled tbody .sum>*{font-weight:650;padding-top:8px;padding-bottom:8px;border-top:1px solid var(--strong)}
tfoot td.net{font-weight:400}
.tail{display:inline-block;text-align:left;font-weight:400;color:var(--ink2)}
.head .tail,.charge~tfoot .tail{font-size:13px}
.tail1{min-width:1ch}.tail2{min-width:2ch}.tail3{min-width:3ch}.tail4{min-width:4ch}
.thousands{margin-left:.2em}
.id{font-family:ui-monospace,'SF Mono','Cascadia Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace;
 font-size:.92em;letter-spacing:-.02em}
.swatch{display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:7px;background:var(--d5)}
.d1{background:var(--d1)}.d2{background:var(--d2)}.d3{background:var(--d3)}.d4{background:var(--d4)}
.charge{border-top:1px solid var(--line)}
thead+.charge{border-top:0}
time,.day{white-space:nowrap}
.charge .head>*{padding-top:16px;padding-bottom:4px;font-weight:600}
.charge .head td.net{font-weight:400}
.where{font-weight:400;color:var(--ink2);margin-top:1px}
.meter{font-weight:400}
.item>*{padding-top:2px;padding-bottom:2px;font-size:13px}
.item th{padding-left:16px;color:var(--ink2)}
.item td{color:var(--ink2)}
.ref>*{padding:5px 0 16px 16px;font-size:12px;color:var(--ink2)}
.scroll{overflow-x:auto}
.dense{font-size:13px}
.dense .id,.check .id,.instant{white-space:nowrap}
.check{padding-left:18px;max-width:68ch}
.check li{margin-top:6px}
.swatch{print-color-adjust:exact;-webkit-print-color-adjust:exact}
@media (max-width:640px){
 main{margin:0;padding:22px 16px 32px;border:0;border-radius:0}
 .due{text-align:left;margin-left:0}
 h1{font-size:26px}
 .strip{grid-template-columns:repeat(3,1fr);gap:0 12px}
 .strip div{padding-left:0;padding-right:0;border-left:0}
 .strip .big{font-size:18px}
 .pair{grid-template-columns:1fr}
 .rate{display:none}
 .day{white-space:normal}
 .dense{min-width:660px}
 th+th,td,th+td{padding-left:9px}
 .item th,.ref>*{padding-left:0}
}
@page{size:A4;margin:17mm 16mm 19mm;
 @bottom-left{font:8pt system-ui,sans-serif;color:#4d5a54}
 @bottom-right{font:8pt system-ui,sans-serif;color:#4d5a54}}
@media print{
 :root{color-scheme:light;--paper:#fff;--sheet:#fff}
 body{font-size:10pt}
 main{max-width:none;margin:0;padding:0;border:0;border-radius:0}
 h1{font-size:20pt}h2{font-size:12.5pt;margin-top:22pt;break-after:avoid}
 caption{break-after:avoid}
 .small,caption,thead th,.strip dt{font-size:8.5pt}
 .due .big{font-size:36pt}
 .item>*,.head .tail,.charge~tfoot .tail,.pair table{font-size:9pt}.ref>*,.dense{font-size:8pt}
 .pair{grid-template-columns:1fr 1fr;gap:0 26px}
 .pair th+th,.pair td,.pair th+td,.dense th+th,.dense td,.dense th+td{padding-left:9px}
 .ruled tbody th,.ruled tbody td{padding-top:4px;padding-bottom:4px}
 .charge .head>*{padding-top:9pt;padding-bottom:2pt}
 .item>*{padding-top:.5pt;padding-bottom:.5pt;line-height:1.35}
 .ref>*{padding-top:2pt;padding-bottom:8pt}
 .scroll{overflow:visible}
 .letterhead,.hero,.strip,.pair>section,.charge,.whole,tr,li{break-inside:avoid}
 .head,thead,thead tr{break-after:avoid}
 thead+.charge{break-before:avoid}
 tfoot,.sum{break-before:avoid}
 thead{display:table-header-group}
}
";

/// Reads a page back as a reader sees it.
#[cfg(test)]
pub(crate) mod printed {
    use eroam_domain::money::parse_decimal;

    /// The text between the tags, with entities resolved.
    pub(crate) fn text(markup: &str) -> String {
        let mut text = String::new();
        let mut inside = false;
        for c in markup.chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                _ if !inside => text.push(c),
                _ => {}
            }
        }
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    }

    /// What stands between `open` and the next `close`, each time.
    pub(crate) fn between<'a>(markup: &'a str, open: &str, close: &str) -> Vec<&'a str> {
        markup.split(open).skip(1).map(|rest| rest.split_once(close).unwrap().0).collect()
    }

    /// A printed figure in millionths.
    pub(crate) fn millionths(markup: &str) -> i64 {
        parse_decimal(text(markup).trim().replace('\u{2212}', "-").as_str(), 6).unwrap()
    }

    /// The figures of a table row, from the left.
    pub(crate) fn figures(row: &str) -> Vec<i64> {
        between(row, "<td class=\"n", "</td>")
            .into_iter()
            .filter_map(|cell| cell.split_once('>'))
            .filter(|(_, cell)| text(cell).contains('.'))
            .map(|(_, cell)| millionths(cell))
            .collect()
    }

    /// The page asks for nothing from anywhere.
    pub(crate) fn assert_stands_alone(page: &str) {
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
        for outside in
            ["http://", "https://", "<script", "src=", "href", "url(", "@import", "<link", "<img", "<iframe"]
        {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_digits_and_at_least_two_decimals() {
        for (millionths, want) in [
            (0, "0.00"),
            (12_300_000, "12.30"),
            (451_200, "0.4512"),
            (1, "0.000001"),
            (-1_230_000, "\u{2212}1.23"),
            (i128::from(i64::MIN), "\u{2212}9223372036854.775808"),
        ] {
            assert_eq!(number(millionths), want);
            assert_eq!(printed::text(&figure(millionths, 4).into_string()), want);
            assert_eq!(printed::text(&headline(millionths, "EUR").into_string()), format!("{want} EUR"));
        }
    }

    #[test]
    fn a_column_leaves_room_for_its_longest_number() {
        assert_eq!(further_decimals([]), 0);
        assert_eq!(further_decimals([12_300_000, -5_000_000]), 0);
        assert_eq!(further_decimals([12_300_000, -451_200, 1_000]), 2);
        assert_eq!(figure(12_300_000, 0).into_string(), "12.30");
        assert_eq!(figure(12_300_000, 2).into_string(), "12.30<span class=\"tail tail2\"></span>");
    }

    #[test]
    fn thousands_are_set_apart_without_a_character() {
        let grouped = |whole| thousands(whole).into_string().replace("<span class=\"thousands\">", "'");
        for (whole, want) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1'000</span>"),
            ("1234567", "1'234</span>'567</span>"),
            ("\u{2212}123456", "\u{2212}123'456</span>"),
            ("\u{2212}1234", "\u{2212}1'234</span>"),
        ] {
            assert_eq!(grouped(whole), want);
        }
    }

    #[test]
    fn energy_is_rounded_half_up_to_two_decimals() {
        for (milli_wh, want) in [(0, "0.00"), (4_999, "0.00"), (5_000, "0.01"), (12_345_000, "12.35")] {
            assert_eq!(kwh(milli_wh), want);
        }
    }

    #[test]
    fn months_are_named() {
        let words = |text: &str| month_words(text.parse().unwrap());
        assert_eq!(words("2021-01"), "January 2021");
        assert_eq!(words("2021-12"), "December 2021");
    }

    #[test]
    fn no_text_leaves_the_foot_of_the_page() {
        let page = sheet("t", "\"}</style><b>\\", &html! {});
        assert!(!page.contains("</style><b>"));
        assert!(page.contains(r#"content:"\000022\00007d\00003c\00002fstyle\00003e\00003cb\00003e\00005c""#));
    }
}
