//! What is refused, and what is told.

use howdah_extension_stories::{Db, Server, db_or_skip, kit_or_skip};

#[test]
fn a_refusal_has_a_code_a_fact_and_a_next_step() {
    let mut db = db_or_skip!("refuse");
    db.run("CREATE TABLE t (id bigint, v vector(3), w vector, big vector(4001)); CREATE INDEX t_v ON t USING howdah (v)");
    db.run("CREATE TABLE p (id bigint, v vector(3)) PARTITION BY HASH (id); CREATE INDEX p_v ON p USING howdah (v)");
    db.run("CREATE INDEX t_id ON t (id); INSERT INTO t VALUES (1, '[1,2,3]')");
    db.by_index();
    for (statement, code, part, step) in [
        ("CREATE INDEX ON t USING howdah (w)", "22023", "does not have dimensions", "ALTER TABLE"),
        ("CREATE INDEX ON t USING howdah (big)", "54000", "4000 dimensions, not 4001", "subvector"),
        ("CREATE INDEX ON t USING howdah (v) WITH (bits = 9)", "22023", "bits", ""),
        ("CREATE INDEX ON t USING howdah (v) WITH (nonsense = 1)", "22023", "nonsense", ""),
        ("CREATE INDEX ON t USING howdah (id)", "42704", "no default operator class", ""),
        ("CREATE UNIQUE INDEX ON t USING howdah (v)", "0A000", "unique", ""),
        ("CREATE INDEX ON t USING howdah (v, w)", "0A000", "multicolumn", ""),
        (
            "SELECT id FROM t ORDER BY v <-> '[1,2]' LIMIT 1",
            "22000",
            "expected 3 dimensions, not 2",
            "same number",
        ),
        ("SELECT howdah_index_info('t_id')", "42809", "not of method `howdah`", "USING howdah"),
        ("SELECT howdah_index_info('t')", "42809", "not an index", "howdah"),
        ("SELECT howdah_index_check('p_v')", "42809", "not an index with pages", "howdah"),
        ("SELECT howdah_index_info(1234567::oid)", "42809", "not an index", "howdah"),
    ] {
        let (got, message, hint) = db.refused(statement);
        assert_eq!(got, code, "{statement}: {message}");
        assert!(message.contains(part), "{statement}: {message}");
        assert!(hint.contains(step), "{statement}: {message}: {hint}");
    }
    db.check("t_v");
}

#[test]
fn who_may_not_read_a_table_may_not_ask_its_index() {
    let server = Server::shared(kit_or_skip!());
    let (mut db, mut writer) = (server.database("refuse_role"), server.db("refuse_role"));
    db.run("CREATE TABLE t (id bigint, v vector(3)); CREATE INDEX t_v ON t USING howdah (v)");
    db.run("CREATE MATERIALIZED VIEW m AS SELECT * FROM t; CREATE INDEX m_v ON m USING howdah (v)");
    db.run("CREATE ROLE story_nobody; CREATE ROLE story_owner; SET ROLE story_nobody");
    let denied = |db: &mut Db, what: &str| {
        let (code, message, _) = db.refused(what);
        assert_eq!(code, "42501", "{what}: {message}");
        message
    };
    let (info, check) = ("SELECT howdah_index_info('t_v')", "SELECT howdah_index_check('t_v')");
    assert_eq!(denied(&mut db, info), "permission denied for table t");
    assert_eq!(
        denied(&mut db, "SELECT howdah_index_info('m_v')"),
        "permission denied for materialized view m"
    );
    assert_eq!(denied(&mut db, check), "permission denied for function howdah_index_check");
    db.run("SELECT howdah_session_work()");

    // The right to call the function is none to the table, nor is one to a single column.
    db.run(
        "RESET ROLE; GRANT EXECUTE ON FUNCTION howdah_index_check(regclass) TO story_nobody, story_owner;
         GRANT SELECT (id) ON t TO story_nobody; SET ROLE story_nobody",
    );
    assert_eq!(denied(&mut db, check), "permission denied for table t");
    assert_eq!(denied(&mut db, info), "permission denied for table t");
    // What is refused is refused before anything is locked: it does not wait for a writer, nor would writers for it.
    writer.run("BEGIN; INSERT INTO t VALUES (1, '[1,2,3]')");
    db.run("SET lock_timeout = '1s'");
    assert_eq!(denied(&mut db, check), "permission denied for table t");
    writer.run("COMMIT");

    db.run("RESET ROLE; GRANT SELECT ON t TO story_nobody; SET ROLE story_nobody");
    db.run(info);
    db.check("t_v");
    db.run("RESET ROLE; ALTER TABLE t OWNER TO story_owner; SET ROLE story_owner");
    db.run(info);
    db.check("t_v");
    db.run("RESET ROLE");
    db.run(info);
    db.check("t_v");
}

#[test]
fn a_check_runs_the_code_of_a_table_with_the_rights_of_its_owner_only() {
    let mut db = db_or_skip!("refuse_owner");
    db.run(
        "CREATE ROLE story_mallory; GRANT CREATE ON SCHEMA public TO story_mallory; CREATE TABLE secret (id int);
         SET ROLE story_mallory;
         CREATE FUNCTION f(v vector) RETURNS vector(3) LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN v; END $$;
         CREATE FUNCTION g() RETURNS void LANGUAGE sql VOLATILE AS 'INSERT INTO public.secret VALUES (1)';
         CREATE TABLE t (id bigint, v vector(3)); INSERT INTO t VALUES (1, '[1,2,3]');
         CREATE INDEX t_v ON t USING howdah ((f(v)::vector(3)));
         CREATE OR REPLACE FUNCTION f(v vector) RETURNS vector(3) LANGUAGE plpgsql IMMUTABLE AS $$
           BEGIN PERFORM public.g(); RETURN v; END $$;
         RESET ROLE",
    );
    let (code, message, _) = db.refused("SELECT * FROM howdah_index_check('t_v')");
    assert_eq!(code, "42501", "{message}");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM secret"), 0);
    assert_eq!(db.one::<String>("SELECT current_user::text"), "postgres");
}
