//! Lines of bounded length.

use std::io::{self, BufRead};

/// Reads lines and never keeps more than the limit of one.
pub struct Lines<R> {
    input: R,
    limit: usize,
    number: u64,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Its text, without the line break, and the bytes it took.
    Text(Vec<u8>, u64),
    /// It was longer than the limit, so many bytes in all, and is gone.
    TooLong(u64),
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input` of at most `limit` bytes.
    pub fn new(input: R, limit: usize) -> Self {
        Lines { input, limit, number: 0 }
    }

    /// Number of the line read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut length = 0u64;
        let mut began = false;
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if buffer.is_empty() {
                return Ok(began.then(|| self.finish(line, length, length)));
            }
            began = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if line.len() + part.len() <= self.limit && length <= self.limit as u64 {
                line.extend_from_slice(part);
            }
            length += part.len() as u64;
            let used = end.map_or(part.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(self.finish(line, length, length + 1)));
            }
        }
    }

    fn finish(&mut self, mut line: Vec<u8>, length: u64, taken: u64) -> Line {
        self.number += 1;
        if length > self.limit as u64 {
            return Line::TooLong(taken);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Line::Text(line, taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    #[test]
    fn lines_end_with_either_break_or_with_the_file() {
        let mut lines = Lines::new(&b"a\r\n\nlast"[..], 10);
        assert_eq!(lines.next().unwrap(), Some(Line::Text(b"a".to_vec(), 3)));
        assert_eq!(lines.next().unwrap(), Some(Line::Text(vec![], 1)));
        assert_eq!(lines.next().unwrap(), Some(Line::Text(b"last".to_vec(), 4)));
        assert_eq!((lines.next().unwrap(), lines.number()), (None, 3));
    }

    #[test]
    fn a_line_of_a_hundred_mebibytes_is_skipped_in_bounded_memory() {
        let long = io::repeat(b'x').take(100 << 20).chain(&b"\nnext\n"[..]);
        let mut lines = Lines::new(BufReader::with_capacity(64 << 10, long), 1 << 20);
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong((100 << 20) + 1)));
        assert_eq!(lines.next().unwrap(), Some(Line::Text(b"next".to_vec(), 5)));
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut lines = Lines::new(&b"12345\n123456\n"[..], 5);
        assert_eq!(lines.next().unwrap(), Some(Line::Text(b"12345".to_vec(), 6)));
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong(7)));
        assert_eq!(Lines::new(&b"123456"[..], 5).next().unwrap(), Some(Line::TooLong(6)));
    }
}
