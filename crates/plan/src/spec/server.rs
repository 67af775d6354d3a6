//! Which PostgreSQL, tuned for what, and where does Howdah listen?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The PostgreSQL server: one that Howdah runs, or one that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address of a server that is there already (`postgres://…`). The variable `DATABASE_URL` does the same. A
    /// password does not belong here: `password_env`.
    #[schemars(example = &"postgres://app@db.example.com:5432/app?sslmode=verify-full")]
    pub url: Option<String>,
    /// Environment variable that holds the password for `url`.
    #[schemars(example = &"DATABASE_PASSWORD")]
    pub password_env: Option<String>,
    /// Where the server comes from when there is no `url`.
    pub source: ServerSource,
    /// Major version to run: 16 or 18 for the bundle.
    #[schemars(range(min = 14, max = 18), example = 18)]
    pub version: Option<u32>,
    /// Loopback TCP port; a free one when absent.
    #[schemars(range(min = 1), example = 5433)]
    pub port: Option<u16>,
    /// Data directory; below Howdah's own directory when absent.
    #[schemars(example = &"/srv/howdah/data")]
    pub data_directory: Option<String>,
    /// Unprivileged user that runs the server when Howdah is started by root.
    #[schemars(example = &"postgres")]
    pub user: Option<String>,
    /// Memory to tune for (`2GiB`); the machine's when absent.
    #[schemars(example = &"2GiB")]
    pub memory: Option<String>,
    /// CPU cores to tune for; the machine's when absent.
    #[schemars(range(min = 1, max = 4096), example = 4)]
    pub cores: Option<u32>,
    /// Kind of disk to tune for.
    pub disk: Disk,
    /// Kind of work to tune for.
    pub workload: Workload,
    /// Connections to allow.
    #[schemars(range(min = 5, max = 10_000), example = 100)]
    pub max_connections: Option<u32>,
    /// Whether Howdah chooses settings for the machine. What stands in `settings` wins either way; write-ahead log
    /// archiving and the like stay off unless declared there.
    pub tune: bool,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            url: None,
            password_env: None,
            source: ServerSource::Auto,
            version: None,
            port: None,
            data_directory: None,
            user: None,
            memory: None,
            cores: None,
            disk: Disk::Ssd,
            workload: Workload::Mixed,
            max_connections: None,
            tune: true,
        }
    }
}

/// Where a server comes from when no address is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerSource {
    /// The machine's PostgreSQL where it has pgvector ≥ 0.8.4, else the bundle.
    #[default]
    Auto,
    /// The machine's PostgreSQL, or fail.
    System,
    /// The portable bundle.
    Bundle,
}

/// Kind of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// NVMe or SATA flash.
    #[default]
    Ssd,
    /// Spinning disk.
    Hdd,
    /// SD card or eMMC.
    SdCard,
}

/// Kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Searches and writes.
    #[default]
    Mixed,
    /// A small board that shares its memory with other services.
    Edge,
    /// A machine that does nothing else.
    Dedicated,
}

/// The REST face.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Address to listen on (`127.0.0.1:0` takes a free port).
    #[schemars(example = &"127.0.0.1:7878")]
    pub listen: String,
    /// Database that keeps Howdah's own tables (keys); the first declared one when absent.
    pub database: Option<String>,
    /// Largest request body in bytes.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_body_bytes: u64,
    /// Longest time for one request, in seconds.
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: u64,
    /// Requests a second allowed to one key; 0 for no limit.
    pub requests_per_second: u32,
    /// Connections to PostgreSQL kept at the most.
    #[schemars(range(min = 1, max = 1000))]
    pub max_pool: u32,
    /// Whether requests need a key. Off only on loopback.
    pub require_key: bool,
    /// Origins whose pages may ask from a browser, as the browser says them; none when empty, `*` for all.
    #[schemars(example = vec!["https://app.example.com"])]
    pub cors: Vec<String>,
    /// Which roles Howdah works as in PostgreSQL while it serves.
    pub roles: ServiceRoles,
}

/// Roles that the service works as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceRoles {
    /// Where the declared connection is a superuser's, four login roles of the service's own: one reads collections, one
    /// fills them, one keeps keys and jobs, one looks at the server. Elsewhere the declared connection.
    #[default]
    Auto,
    /// The declared connection; roles of the service's own that are there are dropped.
    Off,
}

impl Default for Api {
    fn default() -> Self {
        Api {
            listen: "127.0.0.1:0".into(),
            database: None,
            max_body_bytes: 16 << 20,
            timeout_seconds: 30,
            requests_per_second: 200,
            max_pool: 20,
            require_key: true,
            cors: Vec::new(),
            roles: ServiceRoles::Auto,
        }
    }
}
