//! What is a connection for?

/// What a connection is for. Each has a role of its own where the service has roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Searches and looks.
    Read,
    /// Ingest and deletion.
    Write,
    /// Keys and jobs.
    Control,
    /// Whether the server answers: one place of its own, as the role for keys and jobs, so that health never waits for others.
    Probe,
    /// Looks at the whole server: plans and checks of its health.
    Inspect,
    /// Changes of the server, as the role of the declared address; never kept while a service has roles of its own.
    Operate,
}

impl Purpose {
    /// Its name, also in `application_name`.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Read => "read",
            Purpose::Write => "write",
            Purpose::Control => "control",
            Purpose::Probe => "probe",
            Purpose::Inspect => "inspect",
            Purpose::Operate => "operate",
        }
    }
}
