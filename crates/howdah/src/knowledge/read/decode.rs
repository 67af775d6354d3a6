//! In which encoding is a file, and is it packed?
//!
//! Everything behind this is UTF-8. A byte order mark says UTF-8 or UTF-16, [`encoding`] reads what a caller says, and
//! without either the bytes go on as they are: whoever reads them tells where they are no UTF-8. Files that end in `.gz` or
//! `.zst`, and a stream that begins as those do, are unpacked as they are read. All of it works in pieces, and a file that
//! unpacks to far more than any text does is refused.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use flate2::bufread::MultiGzDecoder;
use howdah_plan::problem::{Kind, Problem};

/// A file may unpack to so many bytes whatever its size …
const FREE: u64 = 256 << 20;
/// … and beyond that to so many times its size. Text of one letter packs to a thousandth with gzip.
const RATIO: u64 = 1_100;
/// Bytes decoded at a time.
const PIECE: usize = 64 << 10;

/// A stream of bytes.
pub(super) type Bytes = Box<dyn BufRead + Send>;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// What the name says.
    pub fn of(path: &Path) -> Option<Packing> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gz" => Some(Packing::Gzip),
            "zst" => Some(Packing::Zstd),
            _ => None,
        }
    }

    /// What the first bytes say. No text begins so: they are no UTF-8, and no byte order mark.
    fn seen(bytes: &[u8]) -> Option<Packing> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
            _ => None,
        }
    }

    /// A name without the suffix that says it.
    pub fn strip(self, name: &str) -> &str {
        let suffix = match self {
            Packing::Gzip => ".gz".len(),
            Packing::Zstd => ".zst".len(),
        };
        &name[..name.len().saturating_sub(suffix)]
    }

    fn unpack(self, input: Bytes) -> io::Result<Bytes> {
        let taken = Arc::new(AtomicU64::new(0));
        let counted = BufReader::with_capacity(PIECE, Counted { input, taken: Arc::clone(&taken) });
        let output: Box<dyn Read + Send> = match self {
            Packing::Gzip => Box::new(MultiGzDecoder::new(counted)),
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(counted)?),
        };
        Ok(Box::new(BufReader::with_capacity(PIECE, Unpacked { output, taken, given: 0 })))
    }
}

/// The encoding of this name: `latin1`, `windows-1252`, `utf-16le`, `shift_jis` and the others of the web.
///
/// # Errors
/// `usage` when there is none.
pub fn encoding(name: &str) -> Result<&'static Encoding, Problem> {
    Encoding::for_label(name.trim().as_bytes()).ok_or_else(|| {
        Problem::new(Kind::Usage, format!("unknown encoding `{name}`")).hint(
            "Known are those of the web, for example `latin1`, `windows-1251`, `utf-16le`, `shift_jis`, `gb18030`.",
        )
    })
}

/// What a file holds, unpacked, as UTF-8 without a byte order mark.
///
/// # Errors
/// When its beginning cannot be read.
pub(super) fn open(
    mut input: Bytes,
    packing: Option<Packing>,
    said: Option<&'static Encoding>,
) -> io::Result<Bytes> {
    let mut first = beginning(&mut input)?;
    if let Some(packing) = packing.or_else(|| Packing::seen(&first)) {
        input = packing.unpack(Box::new(io::Cursor::new(first).chain(input)))?;
        first = beginning(&mut input)?;
    }
    let (encoding, mark) = match Encoding::for_bom(&first) {
        Some((encoding, mark)) => (encoding, mark),
        None => (said.unwrap_or(UTF_8), 0),
    };
    let input: Bytes = Box::new(io::Cursor::new(first.split_off(mark)).chain(input));
    if encoding == UTF_8 {
        return Ok(input);
    }
    let decoder = encoding.new_decoder_without_bom_handling();
    let decoded =
        Decoded { input, decoder, encoding, at: mark as u64, out: Vec::new(), given: 0, ended: false };
    Ok(Box::new(BufReader::with_capacity(PIECE, decoded)))
}

/// The first four bytes, or all there are: what is packed and what is marked is known by them.
fn beginning(input: &mut Bytes) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(4);
    input.take(4).read_to_end(&mut first)?;
    Ok(first)
}

/// Counts what is read.
struct Counted {
    input: Bytes,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Fails where far more comes out than went in.
struct Unpacked {
    output: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(buffer)?;
        self.given += count as u64;
        let allowed = self.taken.load(Ordering::Relaxed).saturating_mul(RATIO).max(FREE);
        if self.given > allowed {
            return Err(io::Error::other(format!("it unpacks to more than {RATIO} times its size")));
        }
        Ok(count)
    }
}

/// Text of another encoding as UTF-8.
struct Decoded {
    input: Bytes,
    decoder: Decoder,
    encoding: &'static Encoding,
    /// Bytes read.
    at: u64,
    out: Vec<u8>,
    given: usize,
    ended: bool,
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.out.len() {
            if self.ended {
                return Ok(0);
            }
            self.more()?;
        }
        let count = buffer.len().min(self.out.len() - self.given);
        buffer[..count].copy_from_slice(&self.out[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

impl Decoded {
    fn more(&mut self) -> io::Result<()> {
        let piece = self.input.fill_buf()?;
        let last = piece.is_empty();
        self.out.resize(PIECE * 3, 0);
        self.given = 0;
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(
            &piece[..piece.len().min(PIECE)],
            &mut self.out,
            last,
        );
        self.input.consume(read);
        self.at += read as u64;
        self.out.truncate(written);
        match result {
            DecoderResult::InputEmpty => {
                self.ended = last;
                Ok(())
            }
            DecoderResult::OutputFull => Ok(()),
            DecoderResult::Malformed(bad, after) => {
                let at = self.at.saturating_sub(u64::from(bad) + u64::from(after)) + 1;
                Err(io::Error::other(format!("invalid {} at byte {at}", self.encoding.name())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8], packing: Option<Packing>, said: Option<&str>) -> Result<String, String> {
        let said = said.map(|name| encoding(name).unwrap());
        let input: Bytes = Box::new(io::Cursor::new(bytes.to_vec()));
        let mut text = String::new();
        open(input, packing, said)
            .and_then(|mut input| input.read_to_string(&mut text))
            .map_err(|e| e.to_string())?;
        Ok(text)
    }

    #[test]
    fn marks_say_the_encoding_and_are_no_text() {
        for (bytes, said, text) in [
            (&b"\xef\xbb\xbfa"[..], None, "a"),
            (b"\xff\xfea\0\xe9\0", None, "aé"),
            (b"\xfe\xff\0a\0\xe9", None, "aé"),
            (b"caf\xe9 \x80", Some("latin1"), "café €"),
            (b"\x82\xa0", Some("shift_jis"), "あ"),
            (b"\xff\xfea\0", Some("latin1"), "a"),
            (b"a\0", Some("utf-16le"), "a"),
            (b"", None, ""),
            (b"\xef\xbb", None, ""),
        ] {
            match read(bytes, None, said) {
                Ok(got) => assert_eq!(got, text),
                Err(e) => assert!(e.contains("UTF-8") && bytes == b"\xef\xbb", "{e}"),
            }
        }
        assert_eq!(read(b"\xff\xfea\0\x00\xd8b\0", None, None).unwrap_err(), "invalid UTF-16LE at byte 5");
        assert!(encoding("latin-one").unwrap_err().hint.unwrap().contains("latin1"));
    }

    #[test]
    fn what_is_packed_is_unpacked_to_a_limit() {
        let gzip = |bytes: &[u8]| {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        };
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read(&two, None, None).unwrap(), "one two", "a stream is known by its beginning");
        let packed = zstd::encode_all(&b"\xff\xfea\0"[..], 1).unwrap();
        assert_eq!(read(&packed, Some(Packing::Zstd), None).unwrap(), "a");
        assert!(read(b"plain", Some(Packing::Gzip), None).is_err());
        let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        (0..300).for_each(|_| bomb.write_all(&vec![0; 1 << 20]).unwrap());
        let bomb = bomb.finish().unwrap();
        let input: Bytes = Box::new(io::Cursor::new(bomb));
        let mut opened = open(input, None, None).unwrap();
        let error = io::copy(&mut opened, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("times its size"), "{error}");
    }
}
