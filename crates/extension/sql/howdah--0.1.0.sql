-- Howdah 0.1.0: the access method `howdah` over pgvector's types and operators.
\echo Use "CREATE EXTENSION howdah CASCADE" to load this file. \quit

CREATE FUNCTION howdah_handler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME', 'howdah_handler_wrapper' LANGUAGE C;

CREATE ACCESS METHOD howdah TYPE INDEX HANDLER howdah_handler;
COMMENT ON ACCESS METHOD howdah IS 'inverted lists of RaBitQ codes, asked for recall';

-- What an operator class is, for its index: metric and element type as one number.
CREATE FUNCTION howdah_vector_l2(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'howdah_vector_l2_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION howdah_vector_ip(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'howdah_vector_ip_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION howdah_vector_cosine(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'howdah_vector_cosine_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION howdah_halfvec_l2(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'howdah_halfvec_l2_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION howdah_halfvec_ip(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'howdah_halfvec_ip_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION howdah_halfvec_cosine(internal) RETURNS integer
    AS 'MODULE_PATHNAME', 'howdah_halfvec_cosine_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR CLASS vector_l2_ops DEFAULT FOR TYPE vector USING howdah AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector) howdah_vector_l2(internal);
CREATE OPERATOR CLASS vector_ip_ops FOR TYPE vector USING howdah AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector) howdah_vector_ip(internal);
CREATE OPERATOR CLASS vector_cosine_ops FOR TYPE vector USING howdah AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector) howdah_vector_cosine(internal);
CREATE OPERATOR CLASS halfvec_l2_ops DEFAULT FOR TYPE halfvec USING howdah AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 (halfvec) howdah_halfvec_l2(internal);
CREATE OPERATOR CLASS halfvec_ip_ops FOR TYPE halfvec USING howdah AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 (halfvec) howdah_halfvec_ip(internal);
CREATE OPERATOR CLASS halfvec_cosine_ops FOR TYPE halfvec USING howdah AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 (halfvec) howdah_halfvec_cosine(internal);

CREATE FUNCTION howdah_index_info(index regclass) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'howdah_index_info_wrapper' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION howdah_index_info(regclass) IS
    'what a howdah index holds: lists, sizes, fill, and the recall that reading a share of it gives';

CREATE FUNCTION howdah_session_work() RETURNS jsonb
    AS 'MODULE_PATHNAME', 'howdah_session_work_wrapper' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION howdah_session_work() IS
    'what the scans of this session have done: lists and blocks read, codes refined, rows compared, bytes of indexes';

CREATE FUNCTION howdah_index_check(index regclass) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'howdah_index_check_wrapper' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION howdah_index_check(regclass) IS
    'verifies a howdah index against its table: one row a problem, none when it is sound; keeps writers out meanwhile';
REVOKE ALL ON FUNCTION howdah_index_check(regclass) FROM PUBLIC;
