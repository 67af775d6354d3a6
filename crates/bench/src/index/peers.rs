//! The indexes that are compared: how each is made, asked, and told how hard to try.

use super::data::{Filter, NEAREST};

/// A setting of the session that makes an index try harder, counted in whole steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    setting: &'static str,
    /// Least step worth trying.
    pub least: u32,
    /// Greatest step.
    pub most: u32,
    /// Steps of which one unit of the setting has so many.
    steps: u32,
}

impl Effort {
    /// Statement that sets it.
    pub fn set(self, step: u32) -> String {
        format!("SET {} = {}", self.setting, self.value(step))
    }

    /// The setting's value.
    pub fn value(self, step: u32) -> f64 {
        f64::from(step) / f64::from(self.steps)
    }
}

const EF_SEARCH: Effort = Effort { setting: "hnsw.ef_search", least: 10, most: 1000, steps: 1 };
const TARGET_RECALL: Effort =
    Effort { setting: "howdah.target_recall", least: 5000, most: 9999, steps: 10_000 };
const PROBES: Effort = Effort { setting: "ivfflat.probes", least: 1, most: 1000, steps: 1 };

/// What the distance parameter of a statement is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// `vector`.
    Vector,
    /// `halfvec`.
    Half,
}

/// One index.
#[derive(Debug)]
pub struct Peer {
    /// Name: `--only` takes it.
    pub name: &'static str,
    /// Extension that must be available.
    pub extension: &'static str,
    /// What makes it try harder.
    pub effort: Effort,
    /// Statements for each session that asks.
    pub session: &'static str,
    /// What the question is sent as.
    pub sent: Sent,
    /// Candidates compared exactly are asked for in SQL, and their number is the effort.
    pub reranks: bool,
    /// Query for the bytes of the index that the session's scans have read, where it says.
    pub bytes_read: Option<&'static str>,
    create: &'static str,
    order: &'static str,
}

/// All of them; the first is the one the others are held against.
pub const PEERS: [Peer; 5] = [
    Peer {
        name: "hnsw",
        extension: "vector",
        effort: EF_SEARCH,
        session: "SET hnsw.iterative_scan = strict_order",
        sent: Sent::Vector,
        reranks: false,
        bytes_read: None,
        create: "USING hnsw (e vector_cosine_ops) WITH (m = 16, ef_construction = 64)",
        order: "e <=> $1",
    },
    Peer {
        name: "howdah",
        extension: "howdah",
        effort: TARGET_RECALL,
        session: "",
        sent: Sent::Vector,
        reranks: false,
        bytes_read: Some("SELECT (howdah_session_work() ->> 'bytes')::bigint"),
        create: "USING howdah (e vector_cosine_ops)",
        order: "e <=> $1",
    },
    Peer {
        name: "hnsw-halfvec",
        extension: "vector",
        effort: EF_SEARCH,
        session: "SET hnsw.iterative_scan = strict_order",
        sent: Sent::Half,
        reranks: false,
        bytes_read: None,
        create: "USING hnsw ((e::halfvec({d})) halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)",
        order: "(e::halfvec({d})) <=> $1",
    },
    Peer {
        name: "hnsw-bits",
        extension: "vector",
        effort: EF_SEARCH,
        session: "SET hnsw.iterative_scan = strict_order",
        sent: Sent::Vector,
        reranks: true,
        bytes_read: None,
        create: "USING hnsw ((binary_quantize(e)::bit({d})) bit_hamming_ops) WITH (m = 16, ef_construction = 64)",
        order: "(binary_quantize(e)::bit({d})) <~> binary_quantize($1)",
    },
    Peer {
        name: "ivfflat",
        extension: "vector",
        effort: PROBES,
        session: "SET ivfflat.iterative_scan = relaxed_order; SET ivfflat.max_probes = 32768",
        sent: Sent::Vector,
        reranks: false,
        bytes_read: None,
        create: "USING ivfflat (e vector_cosine_ops) WITH (lists = {lists})",
        order: "e <=> $1",
    },
];

impl Peer {
    /// The peer of this name.
    pub fn named(name: &str) -> Option<&'static Peer> {
        PEERS.iter().find(|peer| peer.name == name)
    }

    /// Its table in the schema of the bench.
    pub fn table(&self) -> String {
        format!("\"{}\"", self.name)
    }

    /// Name of its index.
    pub fn index(&self) -> String {
        format!("\"{}_index\"", self.name)
    }

    /// Statement that makes the index.
    pub fn create(&self, dimensions: usize, rows: usize) -> String {
        // pgvector's README: rows / 1000 lists up to a million rows, √rows beyond.
        let lists = if rows > 1_000_000 { (rows as f64).sqrt() as usize } else { (rows / 1000).max(1) };
        format!("CREATE INDEX {} ON {} {}", self.index(), self.table(), self.create)
            .replace("{d}", &dimensions.to_string())
            .replace("{lists}", &lists.to_string())
    }

    /// Statement that asks for the nearest rows with effort `value`.
    pub fn ask(&self, dimensions: usize, filter: Filter, value: u32) -> String {
        let passing = match filter {
            Filter::All => "",
            Filter::Tenth => "WHERE tenth = $2 ",
            Filter::Hundredth => "WHERE hundredth = $2 ",
        };
        let (table, order) = (self.table(), self.order.replace("{d}", &dimensions.to_string()));
        if self.reranks {
            let some = value.max(NEAREST as u32);
            return format!(
                "SELECT id FROM (SELECT id, e FROM {table} {passing}ORDER BY {order} LIMIT {some}) AS c
                 ORDER BY e <=> $1 LIMIT {NEAREST}"
            );
        }
        format!("SELECT id FROM {table} {passing}ORDER BY {order} LIMIT {NEAREST}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_dimensions_and_lists() {
        let half = Peer::named("hnsw-halfvec").unwrap();
        assert!(half.create(384, 1000).contains("(e::halfvec(384)) halfvec_cosine_ops"));
        assert!(
            half.ask(384, Filter::Tenth, 40).contains("WHERE tenth = $2 ORDER BY (e::halfvec(384)) <=> $1")
        );
        assert!(Peer::named("ivfflat").unwrap().create(8, 120_000).ends_with("(lists = 120)"));
        let bits = Peer::named("hnsw-bits").unwrap().ask(8, Filter::All, 200);
        assert!(bits.contains("LIMIT 200) AS c") && bits.ends_with("LIMIT 10"));
        assert_eq!(Peer::named("howdah").unwrap().effort.set(9_700), "SET howdah.target_recall = 0.97");
        assert!(Peer::named("other").is_none());
    }
}
