//! Points the feature `bundled` at the archives that it embeds.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HOWDAH_BUNDLE");
    println!("cargo::rerun-if-env-changed=HOWDAH_EXTENSION");
    println!("cargo::rustc-check-cfg=cfg(embedded_extension)");
    if std::env::var_os("CARGO_FEATURE_BUNDLED").is_none() {
        return;
    }
    let archive = packed("HOWDAH_BUNDLE", "postgres");
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
    extension();
}

/// Howdah's own extension, where it was built: without it the binary works, and `index = "auto"` means HNSW.
fn extension() {
    let archive = packed("HOWDAH_EXTENSION", "extension");
    if archive.is_file() {
        println!("cargo::rerun-if-changed={}", archive.display());
        println!("cargo::rustc-cfg=embedded_extension");
        println!("cargo::rustc-env=HOWDAH_EXTENSION_ARCHIVE={}", archive.display());
    } else if let Some(folder) = archive.parent().filter(|folder| folder.is_dir()) {
        // A file that is not there would make every build a new one.
        println!("cargo::rerun-if-changed={}", folder.display());
    }
}

/// The file that a variable names, else the one that howdah-bundle makes, for the default major.
fn packed(named: &str, what: &str) -> PathBuf {
    if let Some(named) = std::env::var_os(named).filter(|named| !named.is_empty()) {
        return std::path::absolute(&named).unwrap_or_else(|_| named.into());
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // howdah-bundle names the files the same way.
    let name = format!(
        "howdah-{what}-18-{}-{}.tar.zst",
        variable("CARGO_CFG_TARGET_OS"),
        variable("CARGO_CFG_TARGET_ARCH")
    );
    Path::new(&variable("CARGO_MANIFEST_DIR")).join("../../target/bundle").join(name)
}
