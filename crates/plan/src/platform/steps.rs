//! The steps, platform by platform.
//!
//! Each is what the platform's own documentation says, and nothing that only folklore says: no preloading, no reboot for
//! `CREATE EXTENSION`.

use super::Id;

/// Version that is built where there is no package.
const PINNED: &str = "v0.8.6";

/// Steps on one platform, for one major and database.
pub(super) struct Steps<'a> {
    pub id: Id,
    pub major: u32,
    pub database: &'a str,
}

impl Steps<'_> {
    /// pgvector is not available: how it gets there, and is created.
    pub fn install(&self) -> String {
        let create = self.create();
        let first = match self.id {
            Id::Rds | Id::Aurora => {
                "Upgrade the engine's minor version (`aws rds modify-db-instance --db-instance-identifier INSTANCE \
                 --engine-version VERSION --apply-immediately`): pgvector comes with it. If the parameter \
                 `rds.allowed_extensions` is set, add `vector` to it. Neither `shared_preload_libraries` nor a reboot is \
                 needed."
                    .to_owned()
            }
            Id::Azure => AZURE_ALLOW.to_owned(),
            Id::CloudSql => CLOUD_SQL_MAINTENANCE.to_owned(),
            Id::AlloyDb => "AlloyDB has pgvector: update the cluster to its newest minor version.".to_owned(),
            Id::Supabase => "Upgrade the project's PostgreSQL (Settings, Infrastructure).".to_owned(),
            Id::Neon => "Restart the compute; Neon offers pgvector for every supported major.".to_owned(),
            Id::Heroku => "Move to a plan and a major that have pgvector (`heroku pg:info -a APP` shows yours, \
                 `heroku pg:upgrade` changes the major)."
                .to_owned(),
            Id::Render => "Upgrade the database's PostgreSQL version in Render's dashboard.".to_owned(),
            Id::DigitalOcean => "Upgrade the cluster's PostgreSQL version (Settings, Upgrade version).".to_owned(),
            Id::Aiven => "Apply the service's pending maintenance update, or upgrade its PostgreSQL version.".to_owned(),
            Id::Railway => format!(
                "Railway runs a container image: set the service's image to `pgvector/pgvector:pg{}` (the same major), \
                 and deploy.",
                self.major
            ),
            Id::Docker => format!(
                "Run an image that has pgvector on the same volume: `pgvector/pgvector:pg{}` (the same major). Coming \
                 from an Alpine image, dump and restore instead, since text sorts differently there.",
                self.major
            ),
            Id::Debian => self.debian(),
            Id::Rhel => self.rhel(),
            Id::MacOs => self.macos(),
            Id::Source => self.source(),
        };
        format!("{first} Then: {create}{}", self.or_own())
    }

    /// pgvector is available but may not be created by this role: who may.
    pub fn create(&self) -> String {
        let database = self.database;
        match self.id {
            Id::Rds | Id::Aurora => format!(
                "As a member of `rds_superuser` (the master user), run `CREATE EXTENSION vector` in database `{database}`."
            ),
            Id::Azure => {
                format!("As a member of `azure_pg_admin`, run `CREATE EXTENSION vector` in database `{database}`. {AZURE_ALLOW}")
            }
            Id::CloudSql => format!(
                "As a member of `cloudsqlsuperuser` (such as `postgres`), run `CREATE EXTENSION vector` in database `{database}`."
            ),
            Id::AlloyDb => format!(
                "As a member of `alloydbsuperuser` (such as `postgres`), run `CREATE EXTENSION vector` in database `{database}`."
            ),
            Id::Supabase => {
                "As `postgres`, run `CREATE EXTENSION vector WITH SCHEMA extensions`, or switch it on under Database, \
                 Extensions."
                    .to_owned()
            }
            Id::Neon => format!(
                "As a member of `neon_superuser` (a role made in Neon's console), run `CREATE EXTENSION vector` in database `{database}`."
            ),
            Id::Heroku => "Run `heroku pg:psql -a APP -c 'CREATE EXTENSION vector'`.".to_owned(),
            Id::Render | Id::Aiven => format!(
                "As the user that the platform made, run `CREATE EXTENSION vector` in database `{database}`."
            ),
            Id::DigitalOcean => format!("As `doadmin`, run `CREATE EXTENSION vector` in database `{database}`."),
            Id::Railway | Id::Docker => format!(
                "As the superuser (`POSTGRES_USER` of the container), run `CREATE EXTENSION vector` in database `{database}`."
            ),
            Id::Debian | Id::Rhel => format!(
                "As the superuser, run `sudo -u postgres psql -d '{database}' -c 'CREATE EXTENSION vector'`."
            ),
            Id::MacOs | Id::Source => {
                format!("As a superuser, run `psql -d '{database}' -c 'CREATE EXTENSION vector'`.")
            }
        }
    }

    /// pgvector is there in a version with a fault: how a sound one gets there.
    pub fn update(&self, needed: &str) -> String {
        let first = match self.id {
            Id::Rds | Id::Aurora => format!(
                "Upgrade the engine to a minor version with pgvector {needed} (`aws rds describe-db-engine-versions \
                 --engine postgres`; `aws rds modify-db-instance --db-instance-identifier INSTANCE --engine-version \
                 VERSION --apply-immediately`)."
            ),
            Id::Azure => format!("Apply the server's maintenance update that brings pgvector {needed}."),
            Id::CloudSql => CLOUD_SQL_MAINTENANCE.to_owned(),
            Id::AlloyDb => "Update the cluster to its newest minor version.".to_owned(),
            Id::Supabase => "Upgrade the project's PostgreSQL (Settings, Infrastructure).".to_owned(),
            Id::Neon => "Restart the compute, which takes the newest libraries.".to_owned(),
            Id::Heroku => "Run `heroku pg:upgrade`, or let the next maintenance (`heroku pg:maintenance:run`) bring it.".to_owned(),
            Id::Render | Id::DigitalOcean | Id::Aiven => {
                "Apply the pending maintenance update, or upgrade the PostgreSQL version, in the platform's dashboard.".to_owned()
            }
            Id::Railway | Id::Docker => format!(
                "Pull the newest `pgvector/pgvector:pg{}` and start the container anew on the same volume.",
                self.major
            ),
            Id::Debian => self.debian(),
            Id::Rhel => self.rhel(),
            Id::MacOs => "Run `brew upgrade pgvector`.".to_owned(),
            Id::Source => self.source(),
        };
        format!(
            "{first} Then, in every database that has it, run `ALTER EXTENSION vector UPDATE`, and rebuild HNSW indexes \
             with `REINDEX INDEX CONCURRENTLY`.{}",
            self.or_own()
        )
    }

    /// The server itself is too old.
    pub fn upgrade_server(&self) -> String {
        let how = match self.id {
            Id::Rds | Id::Aurora => {
                "`aws rds modify-db-instance --db-instance-identifier INSTANCE --engine-version VERSION --allow-major-version-upgrade`"
            }
            Id::Azure => {
                "`az postgres flexible-server upgrade --resource-group GROUP --name SERVER --version 17`"
            }
            Id::CloudSql => "`gcloud sql instances patch INSTANCE --database-version=POSTGRES_17`",
            Id::Heroku => "`heroku pg:upgrade`",
            Id::Debian => "`pg_upgradecluster`",
            Id::Docker | Id::Railway => "a dump restored into a newer image (`pgvector/pgvector:pg18`)",
            _ => "the platform's upgrade, or `pg_upgrade`",
        };
        format!("Upgrade PostgreSQL to 16 or newer: {how}.{}", self.or_own())
    }

    fn debian(&self) -> String {
        format!(
            "Install the package of the PostgreSQL project: `apt-get install -y postgresql-common`, \
             `/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y`, `apt-get install -y postgresql-{}-pgvector`. \
             No restart is needed.",
            self.major
        )
    }

    fn rhel(&self) -> String {
        format!(
            "Install the package from the PostgreSQL project's repository: `dnf install -y pgvector_{}`. No restart is needed.",
            self.major
        )
    }

    fn macos(&self) -> String {
        if self.major >= 17 {
            "Run `brew install pgvector` (it serves `postgresql@17` and `postgresql@18`).".to_owned()
        } else {
            format!("Homebrew's pgvector serves only `postgresql@17` and `postgresql@18`. {}", self.source())
        }
    }

    fn source(&self) -> String {
        format!(
            "Install the package `postgresql-{}-pgvector` or `pgvector_{}` where there is one; else build a released \
             version: `git clone --branch {PINNED} https://github.com/pgvector/pgvector.git && cd pgvector && make \
             OPTFLAGS=\"\" && sudo make install` (with `PG_CONFIG=` the server's `pg_config`). No restart is needed.",
            self.major, self.major
        )
    }

    /// The way out that every machine of one's own has.
    fn or_own(&self) -> &'static str {
        if self.id.is_managed() {
            ""
        } else {
            " Or take `server.url` out of the declaration: Howdah then runs its own PostgreSQL with pgvector."
        }
    }
}

const AZURE_ALLOW: &str = "Allow it first: `az postgres flexible-server parameter set --resource-group GROUP --server-name \
     SERVER --name azure.extensions --value VECTOR` (the value replaces the list: repeat what is in it, separated by commas). \
     Neither `shared_preload_libraries` nor a restart is needed.";

const CLOUD_SQL_MAINTENANCE: &str = "Cloud SQL has pgvector; an old instance needs its maintenance update: `gcloud sql instances \
     describe INSTANCE --format='value(availableMaintenanceVersions)'`, `gcloud sql instances patch INSTANCE \
     --maintenance-version=VERSION`.";
