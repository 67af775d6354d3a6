//! How many connections may the service have, and who of it how many?
//!
//! PostgreSQL allows a fixed number of connections. A service that takes as many as its callers are many leaves nothing to
//! anybody else and fails with `too many clients already`; so there is one budget, divided here, and whoever finds his part
//! taken waits. Two divisions keep one trouble from becoming everybody's: by purpose, so that loading never stops searching
//! and neither stops the probes; and by collection, so that one locked table never holds every connection.

/// Connections that PostgreSQL keeps for other programs: a quarter of those that are not reserved for superusers.
const OTHERS: u32 = 4;
/// Fewest connections that the service can work with: one to search, two to load, two for keys and jobs, one to
/// probe, two to look at the server.
pub const FEWEST: u32 = 8;

/// What the server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// `max_connections`.
    pub max_connections: u32,
    /// `superuser_reserved_connections` and `reserved_connections`.
    pub reserved: u32,
}

/// Parts of the budget, in connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Searches and looks.
    pub read: u32,
    /// Ingest and deletion.
    pub write: u32,
    /// Keys and jobs.
    pub control: u32,
    /// Most of `control` that jobs may have: keys are checked whatever happens to them.
    pub control_each: u32,
    /// Probes.
    pub probe: u32,
    /// Plans and checks of the server's health.
    pub inspect: u32,
    /// Most of `read` that one collection may have.
    pub read_each: u32,
    /// Most of `write` that one collection may have.
    pub write_each: u32,
    /// Why it is so many, in words.
    pub reason: String,
}

impl Budget {
    /// All parts together.
    pub fn total(&self) -> u32 {
        self.read + self.write + self.control + self.probe + self.inspect
    }
}

/// Divides what `server` allows among the purposes of a service with so many `collections`, at most `most` connections
/// (`api.max_pool`).
pub fn divide(server: Server, most: u32, collections: usize) -> Budget {
    let usable = server.max_connections.saturating_sub(server.reserved);
    let fair = usable - usable / OTHERS;
    let total = most.min(fair).max(FEWEST);
    let probe = 1;
    let control = 2;
    let inspect = 2;
    let rest = total - control - probe - inspect;
    // An ingest works with three: one reads, two write in turns.
    let write = if rest < 5 { 2 } else { (rest / 3).max(3) };
    let read = rest - write;
    // Half, where there is somebody else to leave the other half to.
    let each =
        |part: u32, least: u32| if collections > 1 { part.div_ceil(2).max(least).min(part) } else { part };
    let reason = if total == most {
        format!("`api.max_pool` is {most}")
    } else if total == fair {
        format!(
            "`max_connections` is {}, {} are reserved, and a quarter of the rest is left to other programs",
            server.max_connections, server.reserved
        )
    } else {
        format!("{FEWEST} is the fewest that a service can work with")
    };
    Budget {
        read,
        write,
        control,
        control_each: control - 1,
        probe,
        inspect,
        read_each: each(read, 1),
        write_each: each(write, 3),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(max_connections: u32, most: u32, collections: usize) -> (u32, u32, u32, u32, u32) {
        let budget = divide(Server { max_connections, reserved: 3 }, most, collections);
        (budget.read, budget.write, budget.control, budget.read_each, budget.write_each)
    }

    #[test]
    fn the_budget_is_what_the_server_allows_and_the_declaration_wants() {
        assert_eq!(of(25, 20, 2), (8, 4, 2, 4, 3));
        assert_eq!(of(100, 20, 2), (10, 5, 2, 5, 3));
        assert_eq!(of(100, 20, 1), (10, 5, 2, 10, 5), "nobody else is there");
        assert_eq!(of(5, 20, 3), (1, 2, 2, 1, 2), "never less than it can work with");
    }

    #[test]
    fn every_purpose_has_a_part_and_no_collection_has_all_where_there_are_two() {
        for max_connections in 5..300 {
            for most in [1, 4, 7, 20, 1000] {
                let server = Server { max_connections, reserved: 3 };
                let budget = divide(server, most, 2);
                assert!(budget.read >= 1 && budget.write >= 2 && budget.control >= 1, "{budget:?}");
                assert!(budget.total() <= most.max(FEWEST), "{budget:?}");
                assert!(budget.read < 2 || budget.read_each < budget.read, "{budget:?}");
                let usable = max_connections - 3;
                assert!(budget.total() <= (usable - usable / OTHERS).max(FEWEST), "{budget:?}");
            }
        }
    }
}
