-- Metrics and types agree with the exact answer.
CREATE EXTENSION IF NOT EXISTS howdah CASCADE;
SELECT setseed(0.5);
CREATE TABLE items (id int, v vector(8), h halfvec(8));
INSERT INTO items SELECT i, v, v::halfvec FROM generate_series(1, 2000) i,
    LATERAL (SELECT array_agg(random() - 0.5)::vector(8) AS v FROM generate_series(1, 8) WHERE i = i) x;
CREATE FUNCTION same(column_name text, operator text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    query text := format('SELECT array_agg(id) FROM (SELECT id FROM items ORDER BY %I %s (SELECT %I FROM items WHERE id = 77) LIMIT 20) x',
        column_name, operator, column_name);
    exact int[];
    found int[];
BEGIN
    PERFORM set_config('howdah.target_recall', '0.9999', true);
    PERFORM set_config('enable_indexscan', 'off', true);
    EXECUTE query INTO exact;
    PERFORM set_config('enable_indexscan', 'on', true);
    PERFORM set_config('enable_seqscan', 'off', true);
    EXECUTE query INTO found;
    RETURN exact = found;
END $$;
CREATE INDEX ON items USING howdah (v vector_l2_ops);
CREATE INDEX ON items USING howdah (v vector_ip_ops);
CREATE INDEX ON items USING howdah (v vector_cosine_ops);
CREATE INDEX ON items USING howdah (h halfvec_l2_ops);
CREATE INDEX ON items USING howdah (h halfvec_ip_ops);
CREATE INDEX ON items USING howdah (h halfvec_cosine_ops);
SELECT same('v', '<->') AS vector_l2, same('v', '<#>') AS vector_ip, same('v', '<=>') AS vector_cosine;
SELECT same('h', '<->') AS halfvec_l2, same('h', '<#>') AS halfvec_ip, same('h', '<=>') AS halfvec_cosine;

-- Zero vectors have no direction: not in a cosine index, as in pgvector.
CREATE TABLE zeros (id int, v vector(3));
CREATE INDEX zeros_idx ON zeros USING howdah (v vector_cosine_ops);
INSERT INTO zeros VALUES (1, '[0,0,0]'), (2, '[1,0,0]');
SET enable_seqscan = off;
SELECT id FROM zeros ORDER BY v <=> '[1,1,0]';
SELECT howdah_index_check('zeros_idx');

-- Partial and expression indexes, partitions, unlogged tables.
CREATE INDEX part_idx ON items USING howdah (v vector_l2_ops) WHERE id <= 100;
SELECT count(*) FROM (SELECT id FROM items WHERE id <= 100 ORDER BY v <-> '[0,0,0,0,0,0,0,0]') x;
CREATE INDEX expr_idx ON items USING howdah ((subvector(v, 1, 4)::vector(4)) vector_l2_ops);
SELECT howdah_index_check('expr_idx');
CREATE UNLOGGED TABLE fleeting (v vector(3));
CREATE INDEX fleeting_idx ON fleeting USING howdah (v vector_l2_ops);
INSERT INTO fleeting VALUES ('[1,2,3]');
SELECT v FROM fleeting ORDER BY v <-> '[0,0,0]';
CREATE TABLE parts (id int, v vector(3)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
CREATE INDEX ON parts USING howdah (v vector_l2_ops);
INSERT INTO parts SELECT i, ARRAY[i, 0, 0]::vector FROM generate_series(0, 19) i;
SELECT id FROM parts ORDER BY v <-> '[9.6,0,0]' LIMIT 3;

-- Errors say what to do.
CREATE TABLE loose (v vector);
CREATE INDEX ON loose USING howdah (v vector_l2_ops);
CREATE TABLE wide (v vector(5000));
CREATE INDEX ON wide USING howdah (v vector_l2_ops);
CREATE INDEX ON items USING howdah (v vector_l2_ops) WITH (bits = 9);
SET howdah.target_recall = 2;
SELECT id FROM items ORDER BY v <-> '[1,2]' LIMIT 1;
SELECT howdah_index_info('items');
DROP TABLE items, zeros, fleeting, parts, loose, wide;
DROP FUNCTION same;
