//! What did PostgreSQL do? The plan's tree, summed up.

use howdah_plan::search::answer::Explain;
use howdah_plan::search::ask::Ask;
use howdah_plan::search::request::{Mode, RRF_K};
use serde_json::Value;

/// Sums up an `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)`; `table` is the collection's.
pub(crate) fn read(plan: Value, ask: &Ask, table: &str) -> Explain {
    let mut sum = Sum { table, ..Sum::default() };
    let root = plan.pointer("/0/Plan").unwrap_or(&Value::Null);
    sum.walk(root, "");
    let number = |pointer: &str| plan.pointer(pointer).and_then(Value::as_f64).unwrap_or_default();
    let fusion = (ask.mode == Mode::Hybrid).then(|| {
        format!(
            "score = {} / ({RRF_K} + vector rank) + {} / ({RRF_K} + text rank); {} and {} candidates",
            ask.weights.vector, ask.weights.text, ask.depth.vector, ask.depth.text
        )
    });
    Explain {
        node: sum.node,
        text_node: sum.text_node,
        indexes: sum.indexes,
        scanned: sum.scanned,
        filtered: sum.filtered,
        buffers: count(root, "Shared Hit Blocks") + count(root, "Shared Read Blocks"),
        planning_ms: number("/0/Planning Time"),
        execution_ms: number("/0/Execution Time"),
        fusion,
        plan,
    }
}

#[derive(Default)]
struct Sum<'a> {
    table: &'a str,
    node: Option<String>,
    text_node: Option<String>,
    indexes: Vec<String>,
    scanned: u64,
    filtered: u64,
}

impl Sum<'_> {
    /// `within` is the nearest common table expression above: the vector leg is `nearest`, or the whole statement.
    fn walk(&mut self, node: &Value, within: &str) {
        let kind = node["Node Type"].as_str().unwrap_or_default();
        let name = node["Subplan Name"].as_str().and_then(|name| name.strip_prefix("CTE ")).unwrap_or(within);
        if let Some(index) = node["Index Name"].as_str()
            && !self.indexes.iter().any(|known| known == index)
        {
            self.indexes.push(index.to_owned());
        }
        let alias = node["Alias"].as_str().unwrap_or_default();
        // A partition has a name of its own, and a number behind the alias.
        let part = alias.strip_prefix("t_").is_some_and(|number| number.parse::<u32>().is_ok());
        if node["Relation Name"] == self.table || part {
            let dropped =
                count(node, "Rows Removed by Filter") + count(node, "Rows Removed by Index Recheck");
            let loops = count(node, "Actual Loops").max(1);
            self.scanned += (count(node, "Actual Rows") + dropped) * loops;
            self.filtered += dropped * loops;
            if self.text_node.is_none() && name == "matched" && node["Alias"] == "t" {
                self.text_node = Some(kind.to_owned());
            }
            let vector_leg = matches!(name, "nearest" | "");
            if self.node.is_none() && vector_leg && (alias == "t" || part) {
                self.node = Some(kind.to_owned());
            }
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.walk(child, name);
        }
    }
}

/// PostgreSQL 18 writes counts with decimals.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Counts and row estimates: never negative, far below 2^52.
fn count(node: &Value, key: &str) -> u64 {
    node[key].as_f64().unwrap_or_default().round() as u64
}
