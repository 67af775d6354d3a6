//! Files as nobody means them: each ends in rows or in one sentence with its place, and the load goes on.

use std::io::Write;

use super::World;

/// A file, and what it gives: the texts of its rows, or where and why it is refused or left out.
enum Ends {
    Rows(&'static [&'static str]),
    Bad(&'static str),
    Empty(&'static str),
}
use Ends::{Bad, Empty, Rows};

fn utf16(text: &str, big: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(|unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn files() -> Vec<(&'static str, Vec<u8>, Ends)> {
    let deep = |n: usize| format!("{{\"content\":\"x\",\"a\":{}{}}}\n", "[".repeat(n), "]".repeat(n));
    vec![
        ("bom.md", b"\xef\xbb\xbfbom text".to_vec(), Rows(&["bom text"])),
        ("bom.csv", b"\xef\xbb\xbfkind,content\n1,csv bom\n".to_vec(), Rows(&["csv bom"])),
        ("bom.jsonl", b"\xef\xbb\xbf{\"content\":\"json bom\"}\n".to_vec(), Rows(&["json bom"])),
        ("le.md", utf16("sechzehn è", false), Rows(&["sechzehn è"])),
        ("be.txt", utf16("sixteen 🐘", true), Rows(&["sixteen 🐘"])),
        ("le.csv", utf16("kind,content\r\n1,wide è\r\n", false), Rows(&["wide è"])),
        ("le.jsonl", utf16("{\"content\":\"wide json\"}\n", false), Rows(&["wide json"])),
        ("odd.md", vec![0xff, 0xfe, b'a', 0, 0xd8], Bad("odd.md")),
        ("latin.md", b"one\ncaf\xe9 au lait".to_vec(), Bad("latin.md:2: invalid UTF-8 at byte 8")),
        (
            "latin.csv",
            b"kind,content\n1,caf\xe9\n".to_vec(),
            Bad("latin.csv:2: invalid UTF-8 in column `content`"),
        ),
        ("latin_head.csv", b"kind,caf\xe9,content\n1,a,b\n".to_vec(), Bad("latin_head.csv:1: invalid UTF-8")),
        ("crlf.md", b"line one\r\nline two\r\n".to_vec(), Rows(&["line one\r\nline two"])),
        ("nul.md", b"a\n\0".to_vec(), Bad("nul.md:2: a NUL character")),
        ("deep.jsonl", deep(100_000).into_bytes(), Bad("deep.jsonl:1: ")),
        ("deep2.jsonl", deep(60).into_bytes(), Rows(&["x"])),
        ("empty.md", Vec::new(), Empty("empty.md` is left out: the file is empty")),
        ("empty.csv", Vec::new(), Empty("empty.csv` is left out: the file is empty")),
        ("blank.txt", b" \n\t\n".to_vec(), Empty("blank.txt` is left out: there is no text in it")),
        ("only.bom.md", b"\xef\xbb\xbf".to_vec(), Empty("only.bom.md` is left out: there is no text in it")),
        (
            "script.html",
            b"<p>seen<script>alert(1)</script><style>p{}</style><!-- no --></p>".to_vec(),
            Rows(&["seen"]),
        ),
        ("deep.html", "<div>".repeat(200_000).into_bytes(), Bad("deep.html: the HTML is nested deeper than")),
        ("quotes.md", (">".repeat(20_000) + " quoted").into_bytes(), Rows(&[])),
        (
            "table.md",
            b"| a | b |\n|---|---|\n| 1 | 2 |\n".to_vec(),
            Rows(&["| a | b |\n|---|---|\n| 1 | 2 |"]),
        ),
        (
            "front.md",
            b"---\ntitle: Runbook\nowner: ops\n---\n\nTurn it off.\n".to_vec(),
            Rows(&["Turn it off."]),
        ),
        ("toml.md", b"+++\ntitle = \"T\"\n+++\n\ntoml text\n".to_vec(), Rows(&["toml text"])),
        (
            "broken.md",
            b"---\ntitle: [oops\n: :\n---\n\nbroken front\n".to_vec(),
            Rows(&["---", "title: [oops\n: :\n---\n\nbroken front"]),
        ),
        (
            "rule.md",
            b"---\n\na rule above\n\n---\n\nand below".to_vec(),
            Rows(&["---\n\na rule above\n\n---\n\nand below"]),
        ),
        ("packed.md.gz", gzip(b"packed text"), Rows(&["packed text"])),
        ("packed.csv.gz", gzip(b"kind,content\n1,packed row\n"), Rows(&["packed row"])),
        (
            "packed.jsonl.zst",
            zstd::encode_all(&b"{\"content\":\"packed json\"}\n"[..], 1).unwrap(),
            Rows(&["packed json"]),
        ),
        ("cut.md.gz", gzip(&b"cut off ".repeat(1000))[..40].to_vec(), Bad("cut.md.gz: cannot be read")),
        ("no.txt.gz", b"not packed".to_vec(), Bad("no.txt.gz: cannot be read")),
        ("no.jsonl.zst", b"not packed".to_vec(), Bad("no.jsonl.zst")),
        ("bomb.txt.gz", gzip(&vec![b' '; 70 << 20]), Bad("bomb.txt.gz: the file is larger than")),
        ("bomb.jsonl.gz", gzip(&vec![b' '; 70 << 20]), Bad("bomb.jsonl.gz:1: the line has")),
        ("new\nline.txt", b"a name of two lines".to_vec(), Rows(&["a name of two lines"])),
        ("json.jsonl", b"{\"content\": 5}\n".to_vec(), Bad("json.jsonl:1: ")),
        ("half.jsonl", b"{\"content\":\"\\ud800\"}\n".to_vec(), Bad("half.jsonl:1: ")),
        ("zip.md", b"PK\x03\x04\x00\x00".to_vec(), Bad("zip.md:1: a NUL character")),
    ]
}

#[tokio::test]
async fn each_ends_in_rows_or_in_one_sentence_with_its_place() {
    let world = World::new(&[]).await;
    let files = files();
    let mut wrong = Vec::new();
    for (name, content, ends) in &files {
        let path = world.file(name, content);
        let ended = world.ingest(&[&path]).await;
        let texts: Vec<String> = match &ended {
            Ok(_) => {
                let all = world.texts().await.into_iter();
                all.filter(|(source, ..)| source.contains(name)).map(|(.., text)| text).collect()
            }
            Err(_) => Vec::new(),
        };
        match (ends, ended) {
            (Empty(reason), Ok(report))
                if report.bad == 0 && report.notes.iter().any(|note| note.ends_with(reason)) => {}
            (Empty(reason), ended) => wrong.push(format!("{name:?}: {ended:?}, not {reason}")),
            // However it is cut, it comes in.
            (Rows([]), Ok(report)) if report.rows_written > 0 => {}
            (Rows(expected), Ok(_)) if *expected == texts => {}
            (Rows(expected), ended) => wrong.push(format!("{name:?}: {ended:?} {texts:?}, not {expected:?}")),
            (Bad(reason), Err(problem)) if problem.message.contains(&reason.replacen(": ", "`: ", 1)) => {}
            (Bad(reason), ended) => wrong.push(format!("{name:?}: {ended:?}, not {reason}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // All of them at once, with a directory that leads back to itself.
    std::os::unix::fs::symlink(world.dir.path(), world.dir.path().join("circle")).unwrap();
    world.database.client().await.batch_execute("TRUNCATE notes; TRUNCATE howdah.sources").await.unwrap();
    let mut request = world.request(&[world.dir.path()]);
    request.skip_bad = true;
    let report = world.run(request).await.unwrap();
    let count = |wanted: fn(&Ends) -> bool| files.iter().filter(|(.., ends)| wanted(ends)).count() as u64;
    let (bad, rows) = (count(|ends| matches!(ends, Bad(_))), count(|ends| matches!(ends, Rows(_))));
    assert_eq!((report.bad, report.new), (bad, rows), "{:#?}", report.bad_records);
}
