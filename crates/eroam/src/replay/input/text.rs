//! Text of a session file as a stream: unpacks gzip, skips a byte order mark, counts lines and bytes, and turns every
//! failure on the way into an end of text with a reason, so that what came before is still used.

use std::io::{Cursor, ErrorKind, Read};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::ReadError;

/// Most text read from one file, bytes after unpacking: 1 GiB. Text is streamed; memory holds the sessions, about
/// 300 bytes each.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// Longest CSV line or JSON item, bytes: 8 MiB (an OCPI CDR can carry signed meter data).
pub const MAX_ROW_BYTES: usize = 8 << 20;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
const UTF16_MARKS: [[u8; 2]; 2] = [[0xff, 0xfe], [0xfe, 0xff]];
const CHUNK_BYTES: usize = 64 << 10;

/// Why the text ended before its end.
enum Stop {
    Io(std::io::Error),
    GzipTruncated,
    GzipDamaged(std::io::Error),
    TooLarge,
}

/// The text of one file.
pub(super) struct Source<'a> {
    file: Arc<str>,
    reader: Box<dyn Read + 'a>,
    gzip: bool,
    chunk: Vec<u8>,
    at: usize,
    /// Bytes handed out before `chunk`.
    before_chunk: u64,
    /// Bytes taken from `reader`.
    taken: u64,
    line: u64,
    ended: bool,
    stop: Option<Stop>,
}

/// A line, read into the caller's buffer without its end.
#[derive(Clone, Copy)]
pub(super) struct Line {
    /// 1-based.
    pub(super) number: u64,
    /// Offset of the first byte in the text.
    pub(super) offset: u64,
    /// Longer than [`MAX_ROW_BYTES`]; the buffer holds only its beginning.
    pub(super) overlong: bool,
    /// The text stopped inside the line.
    pub(super) cut: bool,
}

impl<'a> Source<'a> {
    /// Recognises gzip and byte order marks.
    pub(super) fn open(reader: impl Read + 'a, file: Arc<str>) -> Result<Self, ReadError> {
        let mut reader: Box<dyn Read + 'a> = Box::new(reader);
        let mut head = Vec::new();
        reader
            .by_ref()
            .take(GZIP_MAGIC.len() as u64)
            .read_to_end(&mut head)
            .map_err(|cause| ReadError::Open { file: file.to_string(), cause })?;
        let gzip = head == GZIP_MAGIC;
        reader = Box::new(Cursor::new(head).chain(reader));
        if gzip {
            reader = Box::new(MultiGzDecoder::new(reader));
        }
        let mut source = Self {
            file,
            reader,
            gzip,
            chunk: Vec::with_capacity(CHUNK_BYTES),
            at: 0,
            before_chunk: 0,
            taken: 0,
            line: 1,
            ended: false,
            stop: None,
        };
        while source.chunk.len() < UTF8_MARK.len() && source.fill() {}
        if UTF16_MARKS.iter().any(|mark| source.chunk.starts_with(mark)) {
            return Err(ReadError::NotUtf8 { file: source.file.to_string(), line: 1, byte: 0 });
        }
        if source.chunk.starts_with(&UTF8_MARK) {
            source.at = UTF8_MARK.len();
        }
        Ok(source)
    }

    pub(super) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The line of the next byte, 1-based.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The offset of the next byte in the text.
    pub(super) fn offset(&self) -> u64 {
        self.before_chunk + self.at as u64
    }

    /// The next byte, if the text goes on.
    pub(super) fn peek(&mut self) -> Option<u8> {
        if self.at == self.chunk.len() {
            self.next_chunk();
        }
        self.chunk.get(self.at).copied()
    }

    /// Takes the next byte.
    pub(super) fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += u64::from(byte == b'\n');
        Some(byte)
    }

    pub(super) fn skip_whitespace(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.bump();
        }
    }

    /// Reads a line into `line`, without `\n` or `\r\n`; none at the end of the text.
    pub(super) fn read_line(&mut self, line: &mut Vec<u8>) -> Option<Line> {
        line.clear();
        self.peek()?;
        let mut read = Line { number: self.line, offset: self.offset(), overlong: false, cut: false };
        loop {
            if self.peek().is_none() {
                read.cut = self.stop.is_some();
                break;
            }
            let rest = self.chunk.get(self.at..).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'\n');
            let part = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
            if line.len() + part.len() > MAX_ROW_BYTES {
                read.overlong = true;
            } else {
                line.extend_from_slice(part);
            }
            self.at += part.len();
            if end.is_some() {
                self.bump();
                break;
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(read)
    }

    /// Why the text ended early, if it did; asked once, at the end.
    pub(super) fn take_stop(&mut self) -> Option<ReadError> {
        let (file, line) = (self.file.to_string(), self.line);
        Some(match self.stop.take()? {
            Stop::Io(cause) => ReadError::Io { file, line, cause },
            Stop::GzipTruncated => ReadError::GzipTruncated { file, line },
            Stop::GzipDamaged(cause) => ReadError::GzipDamaged { file, line, cause },
            Stop::TooLarge => ReadError::TooLarge { file, limit_bytes: MAX_FILE_BYTES },
        })
    }

    /// Drops what was handed out and reads on.
    fn next_chunk(&mut self) {
        self.before_chunk += self.chunk.len() as u64;
        self.chunk.clear();
        self.at = 0;
        self.fill();
    }

    /// Appends to the chunk; false at the end of the text.
    fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let old = self.chunk.len();
        self.chunk.resize(old + CHUNK_BYTES, 0);
        let read = loop {
            match self.reader.read(self.chunk.get_mut(old..).unwrap_or_default()) {
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let count = match read {
            Ok(count) if self.taken + count as u64 > MAX_FILE_BYTES => self.halt(Stop::TooLarge),
            Ok(0) => {
                self.ended = true;
                0
            }
            Ok(count) => count,
            Err(cause) if self.gzip && cause.kind() == ErrorKind::UnexpectedEof => {
                self.halt(Stop::GzipTruncated)
            }
            Err(cause)
                if self.gzip && matches!(cause.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput) =>
            {
                self.halt(Stop::GzipDamaged(cause))
            }
            Err(cause) => self.halt(Stop::Io(cause)),
        };
        self.taken += count as u64;
        self.chunk.truncate(old + count);
        count > 0
    }

    fn halt(&mut self, stop: Stop) -> usize {
        self.ended = true;
        self.stop = Some(stop);
        0
    }
}
