-- What a user of pgvector knows, with another access method.
CREATE EXTENSION howdah CASCADE;
CREATE TABLE items (id int PRIMARY KEY, embedding vector(3));

-- An index made on an empty table.
CREATE INDEX items_idx ON items USING howdah (embedding vector_l2_ops);
INSERT INTO items SELECT i, ARRAY[i, i % 7, i % 11]::vector FROM generate_series(1, 3000) i;
INSERT INTO items VALUES (0, NULL);
SET enable_seqscan = off;
SET howdah.target_recall = 0.9999;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY embedding <-> '[1000,6,10]' LIMIT 5;
SELECT id FROM items ORDER BY embedding <-> '[1000,6,10]' LIMIT 5;
-- NULL has no distance; the rest comes back whole.
SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <-> '[1,1,1]') rows;
SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <-> NULL::vector) rows;
SELECT howdah_index_check('items_idx');

-- A filter goes on until the limit is satisfied.
SELECT count(*) FROM (SELECT id FROM items WHERE id % 500 = 0 ORDER BY embedding <-> '[1,1,1]' LIMIT 5) rows;

-- Updates, deletes, vacuum.
UPDATE items SET embedding = '[5000,0,0]' WHERE id = 1;
DELETE FROM items WHERE id BETWEEN 1000 AND 2000;
SELECT id FROM items ORDER BY embedding <-> '[5000,0,0]' LIMIT 1;
VACUUM items;
SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <-> '[1500,0,0]') rows;
SELECT howdah_index_check('items_idx');

-- Rebuilt, also concurrently.
REINDEX INDEX items_idx;
SELECT howdah_index_check('items_idx');
REINDEX INDEX CONCURRENTLY items_idx;
SELECT howdah_index_check('items_idx');
SELECT howdah_index_info('items_idx') ->> 'rows' AS rows, howdah_index_info('items_idx') ->> 'metric' AS metric;

-- Truncated, and used again.
TRUNCATE items;
SELECT id FROM items ORDER BY embedding <-> '[1,2,3]' LIMIT 1;
INSERT INTO items VALUES (1, '[1,2,3]');
SELECT id FROM items ORDER BY embedding <-> '[1,2,3]' LIMIT 1;
DROP TABLE items;
