//! What a study writes: `NAME.html` with all of it, `NAME.json`, `NAME.csv`, and `NAME.svg` for each chart.

use super::chart::{Chart, escape};
use crate::whole_file;
use serde::Serialize;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}\
div{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}td,th{padding:.25rem .6rem;\
border-bottom:1px solid #ddd;text-align:left;vertical-align:top}.n{text-align:right}svg{width:100%;height:auto;margin:1rem 0}\
@media print{body{font-size:11px;margin:0}table{font-size:8px}td,th{padding:1px 3px;overflow-wrap:anywhere}}";

/// The file by which the output of a study is known.
#[must_use]
pub fn marker(name: &str) -> String {
    format!("{name}.html")
}

/// A study's results for people and programs.
#[derive(Clone, Debug)]
pub struct Report {
    /// The beginning of the files' names.
    pub name: &'static str,
    /// What the page is called.
    pub title: String,
    /// What must be known to read the numbers, a paragraph each.
    pub notes: Vec<String>,
    /// The summary: names and values.
    pub summary: Vec<(String, String)>,
    /// Header and rows.
    pub table: (Vec<String>, Vec<Vec<String>>),
    /// Charts with the endings of their files' names, none for an only one.
    pub charts: Vec<(&'static str, Chart)>,
}

impl Report {
    /// Writes all files to a directory, which is made if it is not there. The page comes first: it says that the others
    /// are a study's ([`marker`]).
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, directory: &Path, json: &impl Serialize) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let json = serde_json::to_string_pretty(json)?;
        whole_file::write(directory, &marker(self.name), self.html().as_bytes())?;
        whole_file::write(directory, &format!("{}.json", self.name), json.as_bytes())?;
        whole_file::write(directory, &format!("{}.csv", self.name), self.csv()?.as_bytes())?;
        for (ending, chart) in &self.charts {
            whole_file::write(directory, &format!("{}{ending}.svg", self.name), chart.svg().as_bytes())?;
        }
        Ok(())
    }

    fn csv(&self) -> io::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let (header, rows) = &self.table;
        for row in std::iter::once(header).chain(rows) {
            writer.write_record(row)?;
        }
        let bytes = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }

    fn html(&self) -> String {
        let title = escape(&self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body>\n\
             <h1>{title}</h1>\n"
        );
        // Writing to a string cannot fail.
        for note in &self.notes {
            let _ = writeln!(page, "<p>{}</p>", escape(note));
        }
        page.push_str("<div><table>\n");
        for (name, value) in &self.summary {
            let _ = writeln!(page, "<tr><th>{}</th>{}</tr>", escape(name), cell("td", value));
        }
        page.push_str("</table></div>\n");
        for (_, chart) in &self.charts {
            page.push_str(&chart.svg());
        }
        let cells =
            |row: &[String], tag: &str| -> String { row.iter().map(|text| cell(tag, text)).collect() };
        let (header, rows) = &self.table;
        // The names of columns are those of the other files; here they may break.
        let _ = writeln!(page, "<div><table>\n<tr>{}</tr>", cells(header, "th").replace('_', "_<wbr>"));
        for row in rows {
            let _ = writeln!(page, "<tr>{}</tr>", cells(row, "td"));
        }
        page.push_str("</table></div>\n</body></html>\n");
        page
    }
}

/// A cell of a table; a number, with whatever unit, stands to the right.
fn cell(tag: &str, text: &str) -> String {
    let is_number =
        text.len() <= 16 && text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit());
    let class = if is_number { " class=\"n\"" } else { "" };
    format!("<{tag}{class}>{}</{tag}>", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_four_files_with_the_same_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let chart = Chart { title: "C".into(), x: "x".into(), y: "y".into(), curves: Vec::new() };
        let report = Report {
            name: "study",
            title: "A <study>".to_owned(),
            notes: vec!["Read this.".to_owned()],
            summary: vec![("share".to_owned(), "98.7 %".to_owned())],
            table: (vec!["a".to_owned()], vec![vec!["1,5".to_owned()]]),
            charts: vec![("", chart)],
        };
        report.write(&directory.path().join("new"), &[1, 2]).unwrap();
        let read = |ending: &str| {
            std::fs::read_to_string(directory.path().join("new").join(format!("study.{ending}"))).unwrap()
        };
        assert_eq!(read("csv"), "a\n\"1,5\"\n");
        assert_eq!(serde_json::from_str::<Vec<u8>>(&read("json")).unwrap(), [1, 2]);
        let page = read("html");
        let parts = ["A &lt;study&gt;", "Read this.", "98.7 %", "<td class=\"n\">1,5</td>", &read("svg")];
        assert!(parts.iter().all(|part| page.contains(part)), "{page}");
    }
}
