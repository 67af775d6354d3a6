//! A plan of PostgreSQL as people read it: a node a line, what it is about and what it cost, its conditions below.

use serde_json::Value;

/// Characters of a condition that are shown; a vector in it is long.
const SHOWN: usize = 160;

/// What is said below a node, where it has it.
const CONDITIONS: [&str; 9] = [
    "Index Cond",
    "Order By",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "Sort Key",
    "Group Key",
];

/// The plan in an answer of `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)`.
pub fn plan(explained: &Value) -> String {
    let mut text = String::new();
    match explained.pointer("/0/Plan").or_else(|| explained.get("Plan")) {
        Some(root) => node(&mut text, root, 1),
        None => text.push_str("  none was made\n"),
    }
    text
}

fn node(text: &mut String, one: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    if let Some(name) = one["Subplan Name"].as_str() {
        text.push_str(&format!("{indent}{name}\n"));
    }
    text.push_str(&format!("{indent}-> {} ({})\n", what(one), cost(one)));
    for key in CONDITIONS {
        let condition = match &one[key] {
            Value::String(condition) => condition.clone(),
            Value::Array(keys) => keys.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            _ => continue,
        };
        text.push_str(&format!("{indent}   {}: {}\n", key.to_lowercase(), shortened(&condition)));
    }
    for child in one["Plans"].as_array().into_iter().flatten() {
        node(text, child, depth + 1);
    }
}

/// The node's kind, its index and its table.
fn what(one: &Value) -> String {
    let said = |key: &str| one[key].as_str();
    let mut what = said("Node Type").unwrap_or("?").to_owned();
    if let Some(index) = said("Index Name") {
        what.push_str(&format!(" using {index}"));
    }
    if let Some(about) = said("Relation Name").or_else(|| said("CTE Name")).or_else(|| said("Function Name"))
    {
        what.push_str(&format!(" on {about}"));
        if let Some(alias) = said("Alias").filter(|alias| *alias != about) {
            what.push_str(&format!(" {alias}"));
        }
    }
    what
}

/// Rows, time and pages over all loops, and the rows that a condition dropped.
fn cost(one: &Value) -> String {
    let number = |key: &str| one[key].as_f64().unwrap_or_default();
    let loops = number("Actual Loops");
    if loops == 0.0 {
        return "never run".to_owned();
    }
    let count =
        |many: f64, what: &str| format!("{many:.0} {what}{}", if many.round() == 1.0 { "" } else { "s" });
    let mut facts = vec![
        count(number("Actual Rows") * loops, "row"),
        format!("{:.2} ms", number("Actual Total Time") * loops),
    ];
    if loops > 1.0 {
        facts.push(count(loops, "loop"));
    }
    let (hit, read) = (number("Shared Hit Blocks"), number("Shared Read Blocks"));
    if hit + read > 0.0 {
        facts.push(count(hit + read, "page"));
    }
    if read > 0.0 {
        facts.push(format!("{read:.0} of them read"));
    }
    for (key, why) in [
        ("Rows Removed by Filter", "dropped by the filter"),
        ("Rows Removed by Index Recheck", "dropped by the recheck"),
        ("Rows Removed by Join Filter", "dropped by the join"),
    ] {
        if number(key) > 0.0 {
            facts.push(format!("{:.0} {why}", number(key) * loops));
        }
    }
    facts.join(", ")
}

fn shortened(condition: &str) -> String {
    if condition.chars().count() <= SHOWN {
        return condition.to_owned();
    }
    let cut: String = condition.chars().take(SHOWN).collect();
    format!("{cut} …")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_is_a_tree_of_lines() {
        let explained = json!([{"Plan": {
        "Node Type": "Limit", "Actual Rows": 2.0, "Actual Loops": 1, "Actual Total Time": 0.5,
        "Shared Hit Blocks": 8, "Shared Read Blocks": 1, "Plans": [
            {"Node Type": "Index Scan", "Index Name": "notes_hnsw", "Relation Name": "notes", "Alias": "t",
             "Actual Rows": 1.0, "Actual Loops": 2, "Actual Total Time": 0.2, "Rows Removed by Filter": 3,
             "Order By": format!("(embedding <=> '[{}]')", "0.1,".repeat(100)), "Filter": "(year > 2020)"},
            {"Node Type": "Seq Scan", "Subplan Name": "CTE words", "Actual Loops": 0, "Sort Key": ["a", "b"]},
        ]}}]);
        let text = plan(&explained);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  -> Limit (2 rows, 0.50 ms, 9 pages, 1 of them read)");
        assert_eq!(
            lines[1],
            "    -> Index Scan using notes_hnsw on notes t (2 rows, 0.40 ms, 2 loops, 6 dropped by the filter)"
        );
        assert!(lines[2].starts_with("       order by: (embedding <=> '[0.1,") && lines[2].ends_with(" …"));
        assert_eq!(lines[3], "       filter: (year > 2020)");
        assert_eq!(lines[4..], ["    CTE words", "    -> Seq Scan (never run)", "       sort key: a, b"]);
    }
}
