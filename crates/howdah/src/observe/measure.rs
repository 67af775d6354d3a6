//! The metrics, each name said once, and their text for Prometheus.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Requests answered, by `route`, `method` and `status`.
pub const REQUESTS: &str = "howdah_http_requests_total";
/// Seconds a request took, by `route` and `method`.
pub const REQUEST_SECONDS: &str = "howdah_http_request_seconds";
/// Requests being answered now.
pub const REQUESTS_IN_FLIGHT: &str = "howdah_http_requests_in_flight";
/// Searches answered, by `collection`, `mode` and `complete`.
pub const SEARCHES: &str = "howdah_searches_total";
/// Seconds a search took, by `collection` and `mode`.
pub const SEARCH_SECONDS: &str = "howdah_search_seconds";
pub use howdah_embed::measure::{EMBED_SECONDS, EMBEDDED_TEXTS};
/// Documents taken in, by `collection` and `outcome` (`written`, `unchanged`).
pub const DOCUMENTS: &str = "howdah_documents_total";
/// Connections of the pool, by `database` and `state` (`open`, `idle`, `waiting`).
pub const POOL: &str = "howdah_pool_connections";
/// Times that Howdah started PostgreSQL again after it had died.
pub const POSTGRES_RESTARTS: &str = "howdah_postgres_restarts_total";
/// Whether PostgreSQL answered the last probe.
pub const POSTGRES_UP: &str = "howdah_postgres_up";

/// Buckets of every duration, in seconds.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Starts counting in this process, and gives what renders the counts. A second call gives the same.
pub fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_ok() {
            describe();
        }
        handle
    })
}

/// Seconds, as the metrics have them.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn describe() {
    metrics::describe_counter!(REQUESTS, "Requests answered.");
    metrics::describe_histogram!(REQUEST_SECONDS, "Seconds a request took.");
    metrics::describe_gauge!(REQUESTS_IN_FLIGHT, "Requests being answered now.");
    metrics::describe_counter!(SEARCHES, "Searches answered; complete=false came back short and said so.");
    metrics::describe_histogram!(SEARCH_SECONDS, "Seconds a search took.");
    metrics::describe_histogram!(EMBED_SECONDS, "Seconds one call of an embedder took.");
    metrics::describe_counter!(EMBEDDED_TEXTS, "Texts embedded.");
    metrics::describe_counter!(DOCUMENTS, "Documents taken in.");
    metrics::describe_gauge!(POOL, "Connections of the pool.");
    metrics::describe_counter!(POSTGRES_RESTARTS, "Times PostgreSQL was started again after it had died.");
    metrics::describe_gauge!(POSTGRES_UP, "Whether PostgreSQL answered the last probe.");
}
