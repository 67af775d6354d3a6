//! Points the feature `bundled` at the archive that it embeds.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HOWDAH_BUNDLE");
    if std::env::var_os("CARGO_FEATURE_BUNDLED").is_none() {
        return;
    }
    let archive = archive();
    println!("cargo::rerun-if-changed={}", archive.display());
    if archive.is_file() {
        println!("cargo::rustc-env=HOWDAH_BUNDLE_ARCHIVE={}", archive.display());
    } else {
        println!(
            "cargo::error=the feature `bundled` embeds PostgreSQL from `{}`, which is not there; make it with \
             `cargo run --release -p howdah-bundle`, or name another with HOWDAH_BUNDLE",
            archive.display()
        );
    }
}

fn archive() -> PathBuf {
    if let Some(named) = std::env::var_os("HOWDAH_BUNDLE") {
        return std::path::absolute(&named).unwrap_or_else(|_| named.into());
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // The default major; howdah-bundle names the file the same way.
    let name = format!(
        "howdah-postgres-18-{}-{}.tar.zst",
        variable("CARGO_CFG_TARGET_OS"),
        variable("CARGO_CFG_TARGET_ARCH")
    );
    Path::new(&variable("CARGO_MANIFEST_DIR")).join("../../target/bundle").join(name)
}
