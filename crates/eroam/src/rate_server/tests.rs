//! A stand-in server that answers what it is told to answer, byte by byte, and what the driver makes of it.

use super::*;
use crate::causes::chain;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

/// 2026-11-22T15:00:00Z.
const THREE: i64 = 498_711;

/// Answers one request with these bytes, and says what it was asked.
struct StandIn {
    url: String,
    asked: Receiver<String>,
    thread: JoinHandle<()>,
}

impl StandIn {
    /// `None` never answers: it waits until whoever asked has gone.
    fn start(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/rates", listener.local_addr().unwrap());
        let (say, asked) = channel();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            lines.read_line(&mut first).unwrap();
            say.send(first.trim_end().to_owned()).unwrap();
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            reply(stream, answer.as_deref(), &mut lines);
        });
        Self { url, asked, thread }
    }

    /// What the driver makes of the answer, in words if it is an error, and how the server was asked.
    fn asked_by(self, with: &str, within: Duration) -> (Result<ServedRates, String>, String) {
        let mut server = HttpRateServer::new(&format!("{}{with}", self.url), within).unwrap();
        let said = server.rates(THREE).map_err(|error| chain(&error));
        let asked = self.asked.recv().unwrap();
        self.thread.join().unwrap();
        (said, asked)
    }
}

fn reply(mut stream: TcpStream, answer: Option<&[u8]>, lines: &mut BufReader<TcpStream>) {
    match answer {
        // Whoever has heard enough may hang up before the end.
        Some(answer) => drop(stream.write_all(answer)),
        None => drop(lines.read_line(&mut String::new())),
    }
}

fn http(status: &str, body: &str) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    Some([head.as_bytes(), body.as_bytes()].concat())
}

const PATIENT: Duration = Duration::from_secs(30);

fn said(status: &str, body: &str) -> Result<ServedRates, String> {
    StandIn::start(http(status, body)).asked_by("", PATIENT).0
}

#[test]
fn rates_are_asked_for_from_an_hour_on_and_read_to_the_millionth() {
    let body = r#"{"currency": "EUR", "rates": [
        {"start": "2026-11-22T16:00:00Z", "micros_per_kwh": -1},
        {"start": "2026-11-22T16:00:00+01:00", "micros_per_kwh": 182301}]}"#;
    for (with, path) in [("", "/rates?from="), ("?zone=PT", "/rates?zone=PT&from=")] {
        let (said, asked) = StandIn::start(http("200 OK", body)).asked_by(with, PATIENT);
        let rate = |hour, micros_per_kwh| HourlyRate { hour, micros_per_kwh };
        // What can be believed is not the driver's business: a rate below nothing is handed on, and refused by the limits.
        let rates = vec![rate(THREE + 1, -1), rate(THREE, 182_301)];
        assert_eq!(said, Ok(ServedRates { currency: Currency::new("EUR").unwrap(), rates }));
        assert_eq!(asked, format!("GET {path}2026-11-22T15:00:00Z HTTP/1.1"));
    }
    assert_eq!(said("200 OK", r#"{"currency": "EUR", "rates": []}"#).unwrap().rates, []);
}

#[test]
fn whatever_is_no_list_of_rates_is_an_error_that_says_why() {
    let rates = |rates: &str| format!(r#"{{"currency": "EUR", "rates": [{rates}]}}"#);
    let at = |start: &str| rates(&format!(r#"{{"start": "{start}", "micros_per_kwh": 1}}"#));
    for (status, body, says) in [
        ("404 Not Found", String::new(), "status 404"),
        ("500 Oops", rates(""), "status 500"),
        ("204 No Content", String::new(), "status 204"),
        ("302 Found", String::new(), "status 302"),
        ("200 OK", String::new(), "something else than rates"),
        ("200 OK", "<html>".to_owned(), "something else than rates"),
        ("200 OK", "null".to_owned(), "something else than rates"),
        ("200 OK", r#"{"currency": "EUR"}"#.to_owned(), "missing field `rates`"),
        ("200 OK", r#"{"currency": "euro", "rates": []}"#.to_owned(), "something else than rates"),
        ("200 OK", r#"{"currency": "EUR", "rates": [], "unit": "MWh"}"#.to_owned(), "unknown field `unit`"),
        ("200 OK", rates(r#"{"start": "2026-11-22T15:00:00Z"}"#), "missing field `micros_per_kwh`"),
        ("200 OK", rates(r#"{"start": "2026-11-22T15:00:00Z", "micros_per_kwh": 0.18}"#), "0.18"),
        ("200 OK", rates(r#"{"start": "2026-11-22T15:00:00Z", "micros_per_kwh": "1"}"#), "something else"),
        (
            "200 OK",
            rates(r#"{"start": "2026-11-22T15:00:00Z", "micros_per_kwh": 9223372036854775808}"#),
            "something",
        ),
        ("200 OK", at("2026-11-22T15:30:00Z"), "no full hour"),
        ("200 OK", at("2026-11-22T15:00:00.000000001Z"), "no full hour"),
        ("200 OK", at("2026-11-22 15:00"), "no instant"),
        ("200 OK", at("2026-11-22T14:00:00Z"), "was asked from 2026-11-22T15:00:00Z on"),
    ] {
        let refused = said(status, &body).unwrap_err();
        assert!(refused.contains(says) && refused.contains("/rates"), "{status} {body}: {refused}");
    }
    let refused =
        StandIn::start(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"currency\"".to_vec()));
    assert!(refused.asked_by("", PATIENT).0.unwrap_err().contains("sends no answer"), "it breaks off");
    assert!(StandIn::start(Some(b"SSH-2.0\r\n".to_vec())).asked_by("", PATIENT).0.is_err(), "it is no HTTP");
}

#[test]
fn an_answer_without_end_and_one_that_never_comes_are_given_up() {
    let long = format!(r#"{{"currency": "EUR", "rates": [{}]}}"#, " ".repeat(2 << 20));
    let refused = said("200 OK", &long).unwrap_err();
    assert!(refused.contains("at most 1 MiB"), "{refused}");
    let (never, _) = StandIn::start(None).asked_by("", Duration::from_millis(200));
    assert!(never.unwrap_err().contains("cannot be asked"));
}

#[test]
fn a_server_that_is_away_and_an_address_that_is_none_are_said_by_name() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", taken.local_addr().unwrap());
    drop(taken);
    let away = HttpRateServer::new(&url, PATIENT).unwrap().rates(THREE).unwrap_err();
    assert!(away.to_string().contains(&url) && away.source.is_some(), "{away}");
    for wrong in ["", "market.example", "file:///rates", "http://a b/", "http://a/#b"] {
        let refused = HttpRateServer::new(wrong, PATIENT).err().unwrap().to_string();
        assert!(refused.contains(&format!("{wrong:?}")), "{refused}");
    }
}
