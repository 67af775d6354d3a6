//! What is not logged, and what is gone after a crash.

use howdah_extension_stories::{Rows, Server, kit_or_skip};

#[test]
fn an_unlogged_index_is_empty_after_a_crash_and_works() {
    let kit = kit_or_skip!();
    let server = Server::start(kit, "unlogged", &[("fsync", "off")]);
    let mut db = server.database("d");
    db.run("CREATE UNLOGGED TABLE t (id bigint, v vector(32)); CREATE INDEX t_v ON t USING howdah (v)");
    db.run("CREATE TABLE l (id bigint, v vector(32)); CREATE INDEX l_v ON l USING howdah (v)");
    for round in 0..3 {
        for table in ["t", "l"] {
            db.load(table, 1000 * round, Rows::new(32, 10, 61).take(1000));
        }
        if round == 1 {
            db.run("CHECKPOINT");
        }
        db.check("t_v");
        server.kill();
        server.up();
        db = server.db("d");
        db.check("t_v");
        db.check("l_v");
        assert_eq!(db.one::<i64>("SELECT count(*) FROM t"), 0);
        assert_eq!(db.one::<i64>("SELECT count(*) FROM l"), 1000 * (round as i64 + 1));
    }
    db.run("ALTER TABLE t SET LOGGED; ALTER TABLE l SET UNLOGGED");
    for table in ["t", "l"] {
        db.load(table, 9000, Rows::new(32, 10, 62).take(500));
    }
    server.stop();
    server.up();
    db = server.db("d");
    for index in ["t_v", "l_v"] {
        db.check(index);
    }
    assert_eq!(db.one::<i64>("SELECT count(*) FROM t"), 500);
    db.run("CREATE TEMP TABLE s (id bigint, v vector(32)); CREATE INDEX s_v ON s USING howdah (v)");
    db.load("s", 0, Rows::new(32, 10, 63).take(1000));
    db.check("s_v");
    server.assert_log_is_clean();
}
