//! A connection, and what stories ask through it.

use std::io::Write;

use postgres::types::FromSql;
use postgres::{Client, NoTls, Row, SimpleQueryMessage};

use crate::{Server, literal};

/// A connection to one database.
pub struct Db {
    /// The client itself.
    pub client: Client,
}

/// A plan, as EXPLAIN shows it.
#[derive(Clone, Debug)]
pub struct Plan(pub String);

impl Db {
    /// Connects.
    pub fn try_open(server: &Server, database: &str) -> Result<Self, postgres::Error> {
        Ok(Self { client: Client::connect(&server.address(database), NoTls)? })
    }

    /// Runs statements; panics when one fails.
    pub fn run(&mut self, statements: &str) {
        self.client.batch_execute(statements).unwrap_or_else(|e| panic!("{statements}\n{}", sentence(&e)));
    }

    /// Runs statements one by one, each a transaction of its own.
    pub fn each(&mut self, statements: &[&str]) {
        for statement in statements {
            self.run(statement);
        }
    }

    /// Runs statements that must fail; returns SQLSTATE, message and hint.
    pub fn refused(&mut self, statements: &str) -> (String, String, String) {
        let error = match self.client.batch_execute(statements) {
            Ok(()) => panic!("not refused: {statements}"),
            Err(error) => error,
        };
        let said = error.as_db_error().unwrap_or_else(|| panic!("{statements}: {error}"));
        (said.code().code().into(), said.message().into(), said.hint().unwrap_or_default().into())
    }

    /// All rows of a query.
    pub fn all(&mut self, query: &str) -> Vec<Row> {
        self.client.query(query, &[]).unwrap_or_else(|e| panic!("{query}\n{}", sentence(&e)))
    }

    /// The first column of all rows of a query.
    pub fn column<T: for<'a> FromSql<'a>>(&mut self, query: &str) -> Vec<T> {
        self.all(query).iter().map(|row| row.get(0)).collect()
    }

    /// The one value of a query.
    pub fn one<T: for<'a> FromSql<'a>>(&mut self, query: &str) -> T {
        let rows = self.all(query);
        assert_eq!(rows.len(), 1, "{query}");
        rows[0].get(0)
    }

    /// Loads vectors, numbered from `first`, into a table `(id, v)`.
    pub fn load(&mut self, table: &str, first: usize, vectors: impl IntoIterator<Item = Vec<f32>>) {
        let statement = format!("COPY {table} (id, v) FROM STDIN");
        let mut copy =
            self.client.copy_in(&statement).unwrap_or_else(|e| panic!("{statement}: {}", sentence(&e)));
        for (i, vector) in vectors.into_iter().enumerate() {
            writeln!(copy, "{}\t{}", first + i, literal(&vector)).expect("the server takes rows");
        }
        copy.finish().unwrap_or_else(|e| panic!("{statement}: {}", sentence(&e)));
    }

    /// What is wrong with an index; panics when anything is.
    pub fn check(&mut self, index: &str) {
        let problems: Vec<String> = self.column(&format!("SELECT * FROM howdah_index_check('{index}')"));
        assert!(problems.is_empty(), "{index}: {problems:#?}");
    }

    /// From now on, an ordered scan of an index wherever one can be had.
    pub fn by_index(&mut self) {
        self.run("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off");
    }

    /// The plan of a query.
    pub fn plan(&mut self, query: &str) -> Plan {
        let lines: Vec<String> = self.column(&format!("EXPLAIN {query}"));
        Plan(lines.join("\n"))
    }

    /// Buffers that a query looks at.
    pub fn buffers(&mut self, query: &str) -> u64 {
        let lines: Vec<String> = self.column(&format!("EXPLAIN (ANALYZE, BUFFERS) {query}"));
        // The first line is the whole query's: `Buffers: shared hit=12 read=3`.
        let line = lines.iter().find_map(|line| line.trim().strip_prefix("Buffers: shared "));
        let counts = line.into_iter().flat_map(|line| line.split([' ', ',']));
        counts
            .filter_map(|count| {
                count.strip_prefix("hit=").or(count.strip_prefix("read="))?.parse::<u64>().ok()
            })
            .sum()
    }

    /// Mean share of the `k` nearest of each query that a scan of `index` finds, equal distances counting as found.
    /// Panics when a scan returns fewer than `k` rows, returns one twice, or returns them out of order.
    pub fn recall(&mut self, table: &str, operator: &str, queries: &[Vec<f32>], k: usize) -> f64 {
        let mut found = 0;
        for query in queries {
            let ask = |order: &str| {
                format!(
                    "SELECT id::bigint, (v {operator} '{q}')::float8 FROM {table} {order}",
                    q = literal(query)
                )
            };
            let exact = format!("v {operator} '{}'", literal(query));
            self.run("BEGIN; SET LOCAL enable_indexscan = off; SET LOCAL enable_sort = on; SET LOCAL enable_seqscan = on");
            let truth = self.all(&ask(&format!("WHERE v IS NOT NULL ORDER BY {exact}, id LIMIT {k}")));
            self.run("COMMIT; BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off");
            let statement = ask(&format!("ORDER BY {exact} LIMIT {k}"));
            let plan = self.plan(&statement);
            assert!(plan.0.contains("Index Scan"), "{plan:?}");
            let rows = self.all(&statement);
            self.run("COMMIT");
            assert_eq!(rows.len(), truth.len(), "{table}: a LIMIT came back short");
            assert_in_order(&rows);
            let limit = truth.last().map_or(f64::INFINITY, |row| row.get::<_, f64>(1)) + 1e-5;
            found += rows.iter().filter(|row| row.get::<_, f64>(1) <= limit).count();
        }
        found as f64 / (queries.len() * k) as f64
    }

    /// Runs statements of the simple protocol and returns the values of the first column.
    pub fn simple(&mut self, statements: &str) -> Result<Vec<String>, postgres::Error> {
        let messages = self.client.simple_query(statements)?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect())
    }
}

/// Panics when rows `(id, distance)` are not in order of distance or one comes twice.
pub fn assert_in_order(rows: &[Row]) {
    let distances: Vec<f64> = rows.iter().map(|row| row.get(1)).collect();
    // Distances are reckoned in single precision by both sides, in another order of terms.
    let near = |w: &[f64]| w[0] <= w[1] + 1e-4 * w[1].abs().max(1e-2);
    assert!(distances.windows(2).all(near), "out of order: {distances:?}");
    let mut ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|w| w[0] != w[1]), "a row came twice");
}

/// An error of the server with all that it says.
pub fn sentence(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(e) => format!(
            "{}: {} {} {}",
            e.code().code(),
            e.message(),
            e.detail().unwrap_or_default(),
            e.hint().unwrap_or_default()
        ),
        None => error.to_string(),
    }
}
