-- %%%% select
SELECT 1
-- %%
select 1 AS a, 'b' AS b, NULL AS c, TRUE AS d
-- %%
CREATE TABLE t (i INTEGER, s VARCHAR, d DOUBLE, b BOOLEAN, day DATE)
-- %%
INSERT INTO t VALUES (1, 'one', 1.5, true, '2020-01-01'), (2, 'two', 2.5, false, '2020-02-01'), (3, 'three', NULL, NULL, '2021-01-01'), (4, 'two', -4.0, true, NULL)
-- %%
FROM t
-- %%
FROM t SELECT s, i WHERE i > 1 ORDER BY i DESC
-- %%
FROM t ORDER BY ALL
-- %%
FROM t SELECT count(*) GROUP BY ALL
-- %%
SELECT * FROM t ORDER BY i LIMIT 2 OFFSET 1
-- %%
SELECT * FROM t ORDER BY i LIMIT 50 PERCENT
-- %%
SELECT * FROM t ORDER BY i LIMIT 25%
-- %%
SELECT * EXCLUDE (d, b) FROM t
-- %%
SELECT * EXCLUDE d FROM t
-- %%
SELECT * REPLACE (i + 1 AS i) FROM t
-- %%
SELECT * RENAME (i AS number) FROM t
-- %%
SELECT t.* EXCLUDE (s) REPLACE (-i AS i) FROM t
-- %%
SELECT * LIKE 'd%' FROM t
-- %%
SELECT COLUMNS('^[is]$') FROM t
-- %%
SELECT min(COLUMNS(*)) FROM t
-- %%
SELECT COLUMNS(lambda c: c IN ('i', 's')) FROM (SELECT 1 AS i, 2 AS j)
-- %%
SELECT COLUMNS(lambda c: c LIKE 'i%') FROM t
-- %%
SELECT coalesce(*COLUMNS(['d', 'i'])) FROM t
-- %%
SELECT DISTINCT s FROM t ORDER BY s
-- %%
SELECT DISTINCT ON (s) s, i FROM t ORDER BY s, i
-- %%
SELECT ALL s FROM t
-- %%
SELECT s, sum(i) AS total FROM t GROUP BY s HAVING sum(i) > 1 ORDER BY total, s
-- %%
SELECT s, count(*) FILTER (WHERE i > 2) FROM t GROUP BY s ORDER BY s
-- %%
SELECT s, b, count(*) FROM t GROUP BY GROUPING SETS ((s), (b), ()) ORDER BY ALL
-- %%
SELECT s, b, grouping(s, b), sum(i) FROM t GROUP BY CUBE (s, b) ORDER BY ALL
-- %%
SELECT s, b, sum(i) FROM t GROUP BY ROLLUP (s, b) ORDER BY ALL NULLS LAST
-- %%
SELECT i, row_number() OVER (ORDER BY i DESC) AS n FROM t QUALIFY n <= 2 ORDER BY i
-- %%
SELECT i, sum(i) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t ORDER BY i
-- %%
SELECT i, avg(i) OVER w, max(i) OVER (w ROWS UNBOUNDED PRECEDING) FROM t WINDOW w AS (PARTITION BY s ORDER BY i) ORDER BY i
-- %%
SELECT i, sum(i) OVER (ORDER BY i RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM t ORDER BY i
-- %%
SELECT i, lag(i, 1, 0) OVER (ORDER BY i), first_value(s IGNORE NULLS) OVER (ORDER BY i) FROM t ORDER BY i
-- %%
SELECT i, sum(i) OVER (ORDER BY i GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) FROM t ORDER BY i
-- %%
SELECT string_agg(s, ', ' ORDER BY i DESC) FROM t
-- %%
SELECT list(i ORDER BY i), array_agg(DISTINCT s ORDER BY s) FROM t
-- %%
SELECT quantile_cont(i, 0.5), percentile_cont(0.5) WITHIN GROUP (ORDER BY i) FROM t
-- %%
SELECT arg_max(s, i), any_value(i), bool_and(b) FROM t
-- %%
SELECT CASE i WHEN 1 THEN 'a' WHEN 2 THEN 'b' ELSE 'c' END FROM t ORDER BY i
-- %%
SELECT CASE WHEN i > 2 THEN 'big' END AS size FROM t ORDER BY i
-- %%
SELECT i BETWEEN 1 AND 2, i NOT BETWEEN 3 AND 4 FROM t ORDER BY i
-- %%
SELECT i IN (1, 2), i NOT IN (SELECT 1), s IS NULL, s IS NOT NULL, d IS DISTINCT FROM 1.5 FROM t ORDER BY i
-- %%
SELECT i FROM t WHERE d ISNULL AND s NOTNULL
-- %%
SELECT s LIKE 't%', s NOT LIKE '%o', s ILIKE 'T%', s GLOB 't*', s SIMILAR TO 't.*', s ~ 't' FROM t ORDER BY i
-- %%
SELECT 'a%' LIKE 'a\%' ESCAPE '\'
-- %%
SELECT i::VARCHAR || s, CAST(d AS INTEGER), TRY_CAST(s AS INTEGER), i::DECIMAL(4, 2) FROM t ORDER BY i
-- %%
SELECT -i, +i, i % 2, i // 2, i ** 2, i ^ 2, ~i, i << 1, i & 1, i | 1, 4! FROM t ORDER BY i
-- %%
SELECT EXISTS (FROM t), (SELECT max(i) FROM t), 3 = ANY (SELECT i FROM t), 5 > ALL (SELECT i FROM t)
-- %%
SELECT (i, s) = (1, 'one'), row(i, s) FROM t ORDER BY i
-- %%
SELECT EXTRACT(year FROM day), date_part('month', day), day + INTERVAL 1 DAY, day - INTERVAL '2 months', DATE '2020-01-01' FROM t ORDER BY i
-- %%
SELECT TIMESTAMP '2020-01-01 10:00:00', TIME '10:00', INTERVAL '1 year 2 days', TIMESTAMPTZ '2020-01-01 00:00:00+00' = '2020-01-01 01:00:00+01'
-- %%
SELECT substring('abcdef' FROM 2 FOR 3), position('c' IN 'abc'), trim(BOTH 'x' FROM 'xax'), overlay('abc' PLACING 'x' FROM 2)
-- %%
SELECT t.i, u.i FROM t JOIN t u ON t.i = u.i - 1 ORDER BY ALL
-- %%
SELECT * FROM t a INNER JOIN t b USING (i) ORDER BY ALL
-- %%
SELECT a.i, b.i FROM t a LEFT OUTER JOIN t b ON b.i = a.i + 1 ORDER BY ALL
-- %%
SELECT a.i, b.i FROM t a RIGHT JOIN t b ON b.i = a.i + 1 ORDER BY ALL
-- %%
SELECT a.i, b.i FROM t a FULL JOIN t b ON b.i = a.i + 1 ORDER BY ALL
-- %%
SELECT count(*) FROM t CROSS JOIN t u
-- %%
SELECT count(*) FROM t, t u, range(2)
-- %%
SELECT i FROM t NATURAL JOIN (SELECT 1 AS i) ORDER BY i
-- %%
SELECT i FROM t SEMI JOIN (SELECT 1 AS i) USING (i)
-- %%
SELECT i FROM t ANTI JOIN (SELECT 1 AS i) USING (i) ORDER BY i
-- %%
SELECT a.i, b.x FROM t a ASOF JOIN (VALUES (0, 'z'), (3, 'y')) b(k, x) ON a.i >= b.k ORDER BY a.i
-- %%
SELECT a.i, b.x FROM t a ASOF LEFT JOIN (VALUES (2, 'y')) b(i, x) USING (i) ORDER BY a.i
-- %%
SELECT * FROM (SELECT 1 AS a) POSITIONAL JOIN (SELECT unnest([7, 8]) AS b)
-- %%
SELECT i, x FROM t, LATERAL (SELECT i * 2 AS x) ORDER BY i
-- %%
SELECT i, x FROM t, (SELECT unnest(range(i)) AS x) ORDER BY ALL
-- %%
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (n, s)
-- %%
VALUES (1, 2), (3, 4)
-- %%
FROM (VALUES (1), (2)) v(x) SELECT x * 10 AS y ORDER BY y
-- %%
TABLE t
-- %%
SELECT i FROM t UNION SELECT i + 2 FROM t ORDER BY 1
-- %%
SELECT 1 UNION ALL SELECT 1
-- %%
SELECT i FROM t INTERSECT SELECT 2
-- %%
SELECT i FROM t EXCEPT SELECT 2 ORDER BY i
-- %%
SELECT 1 AS a, 2 AS b UNION ALL BY NAME SELECT 3 AS b, 4 AS c
-- %%
SELECT 1 AS a UNION BY NAME SELECT 2 AS b ORDER BY ALL
-- %%
(SELECT 1) UNION ALL (SELECT 2 LIMIT 1) ORDER BY 1 DESC
-- %%
WITH c AS (SELECT 1 AS x), d(y) AS (SELECT x + 1 FROM c) SELECT * FROM c, d
-- %%
WITH c AS MATERIALIZED (SELECT 1 AS x), d AS NOT MATERIALIZED (FROM c) FROM d
-- %%
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT sum(n) FROM r
-- %%
WITH RECURSIVE r(a, b) USING KEY (a) AS (SELECT 1, 1 UNION SELECT a, b + 1 FROM r WHERE b < 4) FROM r
-- %%
SELECT * FROM t TABLESAMPLE reservoir(100 ROWS) REPEATABLE (1) ORDER BY i
-- %%
SELECT * FROM t USING SAMPLE 100 PERCENT (bernoulli, 3) ORDER BY i
-- %%
SELECT count(*) FROM t TABLESAMPLE 100%
-- %%
PIVOT t ON s USING sum(i)
-- %%
PIVOT t ON b IN (true, false) USING sum(i) AS total, max(d) AS top GROUP BY s ORDER BY s
-- %%
FROM (PIVOT t ON s USING count(*) GROUP BY b) ORDER BY ALL
-- %%
SELECT * FROM (FROM t SELECT s, i, b) PIVOT (sum(i) FOR s IN ('one', 'two') GROUP BY b) ORDER BY ALL
-- %%
UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b INTO NAME k VALUE v
-- %%
UNPIVOT (SELECT 1 AS a, 2 AS b, 'x' AS id) ON COLUMNS(* EXCLUDE (id))
-- %%
SELECT * FROM (SELECT 1 AS a, NULL::INT AS b) UNPIVOT INCLUDE NULLS (v FOR k IN (a, b))
-- %%
SELECT i AS x, x + 1 AS y, y * 2 FROM t ORDER BY i
-- %%
SELECT total: sum(i), s FROM t GROUP BY s ORDER BY s
-- %%
SELECT x: 42, y: x + 1
-- %%
SELECT n.x FROM n: (SELECT 7 AS x)
-- %%
SELECT i, FROM t ORDER BY i,
-- %%
SELECT #2 FROM t ORDER BY #1
-- %%
SELECT rowid, i FROM t ORDER BY rowid
-- %%
SUMMARIZE SELECT i FROM t
-- %%
SUMMARIZE t
-- %%
DESCRIBE t
-- %%
DESCRIBE SELECT i, s FROM t
-- %%
DESC t
-- %%
SHOW t
-- %%
SELECT * FROM (DESCRIBE t) ORDER BY column_name
-- %%
SELECT * FROM (SHOW TABLES) WHERE name = 't'
-- %%
SHOW TABLES
-- %%
SHOW ALL TABLES
-- %%
SHOW DATABASES
-- %%
PRAGMA table_info('t')
-- %%
PRAGMA show_tables
-- %%
PRAGMA database_list
-- %%
FROM pragma_table_info('t')
-- %%
SELECT table_name FROM information_schema.tables ORDER BY 1
-- %%
SELECT current_schema(), current_database(), current_query()
-- %%%% values
SELECT [1, 2, 3], [], ['a', NULL], [[1], [2, 3]]
-- %%
SELECT {'a': 1, 'b': 'x'}, {a: 1}.a, struct_pack(x := 1, y := 2)
-- %%
SELECT MAP {'a': 1, 'b': 2}, MAP {'a': 1}['a'], MAP([1, 2], ['x', 'y'])
-- %%
SELECT [1, 2, 3][1], [1, 2, 3][-1], [1, 2, 3][2:], [1, 2, 3][:2], [1, 2, 3][1:3:2], [1, 2, 3, 4][-1:1:-2], 'abc'[2:3]
-- %%
SELECT [x * 2 FOR x IN [1, 2, 3]], [x FOR x IN range(10) IF x % 2 = 0]
-- %%
SELECT [x + i FOR x, i IN [10, 20]]
-- %%
SELECT list_transform([1, 2], lambda x: x + 1), list_filter([1, 2, 3], lambda x: x > 1), list_reduce([1, 2, 3], lambda a, b: a + b)
-- %%
SELECT list_transform(['a'], lambda x, i: x || i), [1, 2].list_transform(lambda x: {'v': x})
-- %%
SELECT list_transform([[1], [2, 3]], lambda l: list_transform(l, lambda x: x * 2))
-- %%
SELECT apply([1], lambda x: CASE WHEN x > 0 THEN 'p' ELSE 'n' END)
-- %%
SELECT 'abc'.upper().lower(), ('a' || 'b').upper(), [3, 1].list_sort()[1]
-- %%
SELECT unnest([1, 2]), unnest(['a', 'b', 'c'])
-- %%
SELECT unnest({'a': 1, 'b': {'c': 2}}, recursive := true)
-- %%
SELECT u FROM unnest([1, 2]) AS x(u)
-- %%
SELECT * FROM unnest([{'a': 1}, {'a': 2}]) WITH ORDINALITY
-- %%
SELECT s.*, s.a FROM (SELECT {'a': 1, 'b': [2]} AS s)
-- %%
SELECT s['a'], s.b[1] FROM (SELECT {'a': 1, 'b': [2]} AS s)
-- %%
SELECT union_value(n := 1), union_tag(union_value(n := 1)), 1::UNION(n INTEGER, s VARCHAR)
-- %%
SELECT array_value(1, 2, 3), [1, 2]::INTEGER[2], [[1, 2]]::INT[2][], array_cross_product([1, 0, 0]::FLOAT[3], [0, 1, 0]::FLOAT[3])
-- %%
SELECT {'a': 1}::STRUCT(a BIGINT), row(1, 'x')::STRUCT(n INT, s VARCHAR), MAP {'k': 1}::MAP(VARCHAR, DOUBLE)
-- %%
SELECT '{"a": [1, 2]}'::JSON->'a'->>0, json_extract('{"a": 1}', '$.a'), '{"a": {"b": 1}}'::JSON->>'$.a.b'
-- %%
SELECT to_json({'a': [1]}), json_object('k', 1), from_json('{"a": 1}', '{"a": "INTEGER"}')
-- %%
SELECT 1, -1, 1_000, 1_000_000.5, .5, 5., 1e3, 1E-3, 1.5e+2, -.5, 0x1F, 170141183460469231731687303715884105727
-- %%
SELECT 5.e1, 1.e-1, .5e1, 1_0e1_0 FROM range(1)
-- %%
SELECT 1.0::FLOAT, 'nan'::DOUBLE, 'inf'::DOUBLE, '-inf'::FLOAT, 1e308::DOUBLE
-- %%
SELECT 1::UTINYINT, 1::HUGEINT, 1::UHUGEINT, 1::DECIMAL(38, 10), 1::INT8, 1::FLOAT4, 'x'::TEXT, '1'::BIT
-- %%
SELECT x'AB', X'00ff', b'0101', '\xAA'::BLOB, encode('é')
-- %%
SELECT 'it''s', '', '''', 'a"b', 'a;b', 'a--b', 'a/*b*/', 'a\', '%', '$1', '?'
-- %%
SELECT E'\'', e'\\', E'a\nb\tc', E'\x41', E'it''s;', E'\\'';', E'\\\';'
-- %%
SELECT n'national', N'x;'
-- %%
SELECT $$it's "q" ; $$, $tag$ ; $tag$, $a$ $b$ ; $b$ $a$, $$$$, $é$;$é$, $_1$;$$;$_1$
-- %%
SELECT $$ SELECT '
-- ; /* $$
-- %%
SELECT 'first'
'second'
-- %%
SELECT 'first' -- with a comment;
   '; second'
-- %%
SELECT 'a string

over lines; with
  blanks', 2
-- %%
SELECT 1 AS "a""b", 2 AS "a;b", 3 AS "--", 4 AS "/*", 5 AS "it's", 6 AS "select", 7 AS " "
-- %%
SELECT 1 AS `back`, 2 AS `a;b`, 3 AS `a``b`, 4 AS `"`, 5 AS `'`
-- %%
SELECT "a""b"."c""d" FROM (SELECT 1 AS "c""d") AS "a""b"
-- %%
SELECT 1 a$b, 2 AS a$$b, 3 AS a$b$
-- %%
SELECT 1a, 2b FROM (SELECT 1)
-- %%
SELECT 1-- ; comment
+1 -- ';
-- %%
-- a comment; before
SELECT 1
-- %%
/* a comment; before */ SELECT 1 /* ' */
-- %%
/* nested /* ; */ comment ; ' */ SELECT /**/ 1 /* /* /* */ */ ; */
-- %%
SELECT/**/1/**/+/**/1--
-- %%
SELECT 2 */* times */3, 6 / /* by */ 2, 1-/*-*/-1
-- %%
SELECT 1 --
-- %%
SELECT 1 -- /*
-- %%
SELECT '/*', 2 -- '*/
-- %%
  SELECT   1
-- %%
SELECT	1,	2	AS	tab
-- %%
SELECT 1;
-- %%
SELECT 1 ; ; -- empty ones ;
-- %%
SELECT 1 AS ünï, 2 AS 模型, 3 AS "Ω ≠", 'naïve ☃' AS s
-- %%
SELECT 1 AS 😀, 2 AS x😀y, 3 AS 😀e, '👩‍👩‍👧;' AS "👩‍👩‍👧;"
-- %%
SELECT 1 AS é, 2 AS ́x, '́;' AS ², 4 AS ٣
-- %%
SELECT length('日本語'), strlen('日本語'), '日本語'[2], upper('straße'), 'é' = 'é' -- ☃ ; '
-- %%
SELECT ünï FROM (SELECT 1 AS ünï)
-- %%
SELECT 1 + 1, '  ', $$ ;$$
-- %%
SELECT NULL::INTEGER[], NULL::STRUCT(a INT), [NULL::INT]
-- %%
SELECT true AND NOT false OR NULL, 1 < 2, 1 <> 2, 1 != 2, 1 == 1, 1 <= 2
-- %%
SELECT @5, @(-5), - -5
-- %%
SELECT 'abc' ^@ 'ab', [1, 2] && [2], [1, 2] @> [1], [1] <@ [1, 2], 'a' || 'b', 'abc' ~~ 'a%', 'abc' !~~ 'b%'
-- %%
SELECT 7 // 2, 7 / 2, 7 % 3, 1 << 3, 5 & 3, xor(5, 3)
-- %%
SELECT format('{} {:>4}', 'a', 1), printf('%05d', 42), concat_ws(';', 'a', 'b'), repeat(';', 3), chr(59)
-- %%
SELECT regexp_replace('a;b', '[;]', '--'), regexp_extract('x1', '(?P<n>\d)'), string_split('a;b', ';'), 'x' IN ('x', ';')
-- %%
SELECT strftime(DATE '2020-01-02', '%d;%m'), date_trunc('month', DATE '2020-01-15'), TIMESTAMP '2020-01-01' AT TIME ZONE 'UTC' IS NOT NULL
-- %%
SELECT date_diff('day', DATE '2020-01-01', DATE '2020-02-01'), make_date(2020, 1, 1), age(DATE '2021-01-01', DATE '2020-01-01')
-- %%
SELECT greatest(1, 2), least(1, 2), coalesce(NULL, 1), nullif(1, 1), ifnull(NULL, 2), if(true, 1, 2)
-- %%
SELECT * FROM range(3)
-- %%
SELECT * FROM generate_series(1, 10, 3) AS g(n)
-- %%
SELECT * FROM repeat_row(1, 'a', num_rows = 2)
-- %%
FROM query('SELECT 1 AS x; ')
-- %%
FROM query_table('models')
-- %%
SELECT typeof(1), typeof([1]), typeof({'a': 1}), typeof(x'00'), typeof(INTERVAL 1 DAY)
-- %%
SELECT getvariable('nope'), md5('x'), hash(NULL) IS NOT NULL, sha256(';')
-- %%
SELECT cast('[1, 2]' AS INTEGER[]), '{a: 1}'::STRUCT(a INT), '12:30'::TIME, 'true'::BOOL, '2020-01-01'::DATE::TIMESTAMP
-- %%
SELECT uuid() IS NOT NULL, random() BETWEEN 0 AND 1, now() > '2020-01-01'::TIMESTAMPTZ
-- %%%% tables
CREATE TABLE a (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE, n INTEGER DEFAULT 7 CHECK (n > 0), twice INTEGER GENERATED ALWAYS AS (n * 2) VIRTUAL)
-- %%
CREATE TABLE IF NOT EXISTS a (id INTEGER)
-- %%
CREATE OR REPLACE TABLE b (id INTEGER REFERENCES a (id), x DECIMAL(9, 2), PRIMARY KEY (id, x), CHECK (x >= 0))
-- %%
CREATE TEMP TABLE tmp (x INT)
-- %%
CREATE TEMPORARY TABLE tmp2 AS SELECT 1 AS x
-- %%
CREATE TABLE c AS SELECT * FROM range(3) r(x)
-- %%
CREATE TABLE d (y, z) AS SELECT 1, 'a'
-- %%
CREATE TABLE e AS FROM c WITH NO DATA
-- %%
CREATE TABLE f (g AS (h + 1), h INTEGER)
-- %%
CREATE TABLE "odd; name" ("a;b" INTEGER, "c""d" VARCHAR, "e f" INTEGER[])
-- %%
CREATE TABLE tüp (ñ INTEGER, 😀 VARCHAR)
-- %%
CREATE TABLE nested (l INTEGER[], a INTEGER[3], s STRUCT(x INTEGER, y STRUCT(z VARCHAR)), m MAP(VARCHAR, INTEGER[]), u UNION(n INTEGER, s VARCHAR))
-- %%
INSERT INTO a (id, name) VALUES (1, 'x'), (2, 'y;')
-- %%
INSERT INTO a VALUES (3, 'z', 5)
-- %%
INSERT INTO a BY NAME SELECT 4 AS id, 'w' AS name
-- %%
INSERT INTO a (id, name) VALUES (1, 'q') ON CONFLICT DO NOTHING
-- %%
INSERT INTO a (id, name) VALUES (1, 'q') ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE a.id = 1
-- %%
CREATE TABLE g2 (k INTEGER PRIMARY KEY, v VARCHAR)
-- %%
INSERT OR REPLACE INTO g2 VALUES (1, 'b')
-- %%
INSERT OR IGNORE INTO a (id, name) VALUES (2, 'ignored')
-- %%
INSERT INTO a (id, name) VALUES (5, 'five') RETURNING *
-- %%
INSERT INTO a (id, name) VALUES (6, 'six') RETURNING id AS "Count"
-- %%
INSERT INTO c DEFAULT VALUES
-- %%
INSERT INTO c SELECT x + 10 FROM c WHERE x IS NOT NULL
-- %%
INSERT INTO c FROM range(2)
-- %%
WITH v AS (SELECT 99 AS x) INSERT INTO c SELECT x FROM v
-- %%
INSERT INTO nested VALUES ([1, 2], [1, 2, 3], {'x': 1, 'y': {'z': ';'}}, MAP {'a': [1]}, 'text')
-- %%
INSERT INTO tüp VALUES (1, '😀;')
-- %%
INSERT INTO "odd; name" VALUES (1, 'x', [1])
-- %%
FROM a ORDER BY id
-- %%
FROM c ORDER BY ALL
-- %%
SELECT l[1], s.y.z, m['a'][1], u.s, union_tag(u) FROM nested
-- %%
SELECT ñ, 😀 FROM tüp
-- %%
SELECT "a;b", "c""d" FROM "odd; name"
-- %%
UPDATE a SET n = n + 1
-- %%
UPDATE a SET n = 3, name = name || ';' WHERE id = 3 RETURNING id, n, name
-- %%
UPDATE a SET n = c.x + 1 FROM c WHERE a.id = c.x AND c.x > 0
-- %%
WITH v AS (SELECT 5 AS id) UPDATE a SET name = 'cte' FROM v WHERE a.id = v.id
-- %%
DELETE FROM a WHERE id = 6
-- %%
DELETE FROM a USING c WHERE a.id = c.x AND c.x = 2 RETURNING name
-- %%
DELETE FROM c WHERE x IS NULL
-- %%
MERGE INTO a USING (SELECT 1 AS id, 'merged' AS name UNION ALL SELECT 9, 'new') s ON a.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)
-- %%
MERGE INTO d USING (SELECT 1 AS y, 'b' AS z) s USING (y) WHEN MATCHED THEN DELETE RETURNING merge_action, *
-- %%
MERGE INTO d USING (SELECT 2 AS y, 'b' AS z) s USING (y) WHEN NOT MATCHED BY TARGET THEN INSERT BY NAME WHEN NOT MATCHED BY SOURCE THEN DELETE
-- %%
TRUNCATE e
-- %%
TRUNCATE TABLE tmp
-- %%
ALTER TABLE c ADD COLUMN y VARCHAR
-- %%
ALTER TABLE c ADD COLUMN IF NOT EXISTS z INTEGER DEFAULT 5
-- %%
ALTER TABLE c ALTER COLUMN z TYPE BIGINT
-- %%
ALTER TABLE c ALTER x SET DATA TYPE VARCHAR USING x || ';'
-- %%
ALTER TABLE c ALTER COLUMN z SET DEFAULT 6
-- %%
ALTER TABLE c ALTER COLUMN z DROP DEFAULT
-- %%
ALTER TABLE c ALTER COLUMN z SET NOT NULL
-- %%
ALTER TABLE c ALTER COLUMN z DROP NOT NULL
-- %%
ALTER TABLE c RENAME COLUMN y TO why
-- %%
ALTER TABLE c RENAME TO c2
-- %%
ALTER TABLE c2 DROP COLUMN why
-- %%
ALTER TABLE IF EXISTS nope ADD COLUMN q INTEGER
-- %%
ALTER TABLE e ADD PRIMARY KEY (x)
-- %%
ALTER TABLE nested ADD COLUMN s.w INTEGER
-- %%
ALTER TABLE nested DROP COLUMN s.w
-- %%
ALTER TABLE nested RENAME COLUMN s.x TO ex
-- %%
FROM c2 ORDER BY ALL
-- %%
CREATE INDEX idx ON c2 (z)
-- %%
CREATE UNIQUE INDEX IF NOT EXISTS idx2 ON tmp2 (x)
-- %%
CREATE INDEX "idx;3" ON c2 ((z + 1))
-- %%
DROP INDEX idx
-- %%
DROP INDEX IF EXISTS "idx;3"
-- %%
COMMENT ON TABLE a IS 'a table; with a comment'
-- %%
COMMENT ON COLUMN a.name IS 'it''s a name'
-- %%
COMMENT ON TABLE a IS NULL
-- %%
SELECT comment FROM duckdb_columns() WHERE table_name = 'a' ORDER BY column_index
-- %%
SELECT sql FROM duckdb_tables() WHERE table_name = 'a'
-- %%
CREATE VIEW v AS SELECT id, name FROM a -- the view;
-- %%
CREATE OR REPLACE VIEW v (i, "n;") AS SELECT id, name FROM a WHERE name <> ';'
-- %%
CREATE TEMP VIEW tv AS FROM v
-- %%
CREATE VIEW IF NOT EXISTS v AS SELECT 1
-- %%
ALTER VIEW v RENAME TO v2
-- %%
FROM v2 ORDER BY ALL
-- %%
SELECT sql FROM duckdb_views() WHERE view_name = 'v2'
-- %%
COMMENT ON VIEW v2 IS 'seen'
-- %%
DROP VIEW v2
-- %%
DROP VIEW IF EXISTS v2
-- %%
DROP TABLE d
-- %%
DROP TABLE IF EXISTS d
-- %%
DROP TABLE tmp CASCADE
-- %%
CREATE TABLE g AS VALUES (1, 'a'), (2, 'b')
-- %%
CREATE RECURSIVE VIEW numbers (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 3
-- %%
FROM numbers
-- %%%% schemas
CREATE SCHEMA s
-- %%
CREATE SCHEMA IF NOT EXISTS s
-- %%
CREATE SCHEMA "odd; schema"
-- %%
CREATE TABLE s.t (x INTEGER)
-- %%
CREATE TABLE "odd; schema"."t; u" ("v; w" INTEGER)
-- %%
INSERT INTO s.t VALUES (1)
-- %%
SELECT s.t.x, t.x FROM s.t
-- %%
SELECT "odd; schema"."t; u"."v; w" FROM "odd; schema"."t; u"
-- %%
USE s
-- %%
SELECT current_schema()
-- %%
FROM t
-- %%
USE main
-- %%
SET schema = 's'
-- %%
RESET schema
-- %%
SET search_path = 'main,s'
-- %%
FROM t
-- %%
RESET search_path
-- %%
CREATE SEQUENCE seq
-- %%
CREATE SEQUENCE IF NOT EXISTS seq2 START WITH 10 INCREMENT BY -1 MINVALUE 1 MAXVALUE 10 CYCLE
-- %%
SELECT nextval('seq') AS n
-- %%
SELECT currval('seq')
-- %%
SELECT nextval('seq2'), nextval('seq2')
-- %%
CREATE TABLE counted (id INTEGER DEFAULT nextval('seq'), x VARCHAR)
-- %%
INSERT INTO counted (x) VALUES ('a'), ('b') RETURNING id
-- %%
CREATE TYPE mood AS ENUM ('sad', 'ok; fine', 'it''s good')
-- %%
CREATE TYPE pair AS STRUCT(x INTEGER, y INTEGER)
-- %%
CREATE TYPE alias AS DECIMAL(10, 3)
-- %%
CREATE TYPE many AS UNION(n INTEGER, s VARCHAR)
-- %%
CREATE TABLE moods (m mood, p pair, a alias, q main.mood)
-- %%
INSERT INTO moods VALUES ('sad', {'x': 1, 'y': 2}, 1.5, 'ok; fine')
-- %%
SELECT m, m::VARCHAR, p.x, a, enum_range(NULL::mood), 'sad'::mood < 'ok; fine'::mood FROM moods
-- %%
DROP TYPE many
-- %%
CREATE MACRO add(a, b) AS a + b
-- %%
CREATE OR REPLACE MACRO add(a, b := 10) AS a + b
-- %%
CREATE MACRO over(x) AS x, (x, y) AS x || ';' || y
-- %%
CREATE FUNCTION typed(x INTEGER) AS x * 2
-- %%
CREATE MACRO numbers(n) AS TABLE SELECT * FROM range(n) r(i)
-- %%
CREATE TEMP MACRO quoted() AS 'it''s; '
-- %%
SELECT add(1), add(1, 2), add(1, b := 3), over(1), over('a', 'b'), typed(2), quoted()
-- %%
FROM numbers(3)
-- %%
SELECT add(i, b := 2) FROM numbers(2), numbers(n := 1) AS o(j)
-- %%
DROP MACRO add
-- %%
DROP MACRO TABLE numbers
-- %%
DROP FUNCTION typed
-- %%
DROP SEQUENCE seq2
-- %%
DROP SCHEMA "odd; schema" CASCADE
-- %%
ATTACH ':memory:' AS other
-- %%
ATTACH IF NOT EXISTS ':memory:' AS other
-- %%
CREATE TABLE other.t (x INTEGER)
-- %%
CREATE SCHEMA other.s
-- %%
INSERT INTO other.main.t VALUES (5)
-- %%
SELECT other.main.t.x FROM other.main.t
-- %%
COPY FROM DATABASE other TO "memory"
-- %%
DETACH other
-- %%
DETACH DATABASE IF EXISTS other
-- %%%% control
CREATE TABLE t AS SELECT range AS x FROM range(4)
-- %%
BEGIN
-- %%
INSERT INTO t VALUES (10)
-- %%
ROLLBACK
-- %%
SELECT count(*) FROM t
-- %%
BEGIN TRANSACTION
-- %%
DELETE FROM t WHERE x = 0
-- %%
COMMIT
-- %%
START TRANSACTION
-- %%
END
-- %%
BEGIN; ABORT
-- %%
SELECT count(*) FROM t
-- %%
SET VARIABLE v = 5
-- %%
SET VARIABLE "w;" = [1, 2, 3]
-- %%
SELECT getvariable('v'), getvariable('w;')
-- %%
SET VARIABLE v = (SELECT max(x) FROM t)
-- %%
SELECT getvariable('v')
-- %%
RESET VARIABLE v
-- %%
SELECT getvariable('v')
-- %%
SET threads = 1
-- %%
SET threads TO 1
-- %%
SET SESSION default_order = 'desc'
-- %%
SELECT x FROM t ORDER BY x
-- %%
RESET default_order
-- %%
SET GLOBAL default_null_order = 'nulls_last'
-- %%
RESET GLOBAL default_null_order
-- %%
PRAGMA default_order = 'ASC'
-- %%
PRAGMA enable_profiling = 'no_output'
-- %%
PRAGMA disable_profiling
-- %%
SELECT current_setting('threads')
-- %%
PREPARE p AS SELECT x + $1 FROM t ORDER BY x
-- %%
EXECUTE p(100)
-- %%
PREPARE q AS SELECT $a::INTEGER, $b::VARCHAR
-- %%
EXECUTE q(a := 1, b := ';')
-- %%
PREPARE r AS INSERT INTO t VALUES (?)
-- %%
EXECUTE r(7)
-- %%
DEALLOCATE p
-- %%
DEALLOCATE PREPARE q
-- %%
EXPLAIN SELECT x FROM t WHERE x > 1
-- %%
EXPLAIN (FORMAT json) SELECT 1
-- %%
EXPLAIN ANALYZE SELECT count(*) FROM t
-- %%
EXPLAIN ANALYZE INSERT INTO t VALUES (20)
-- %%
SELECT max(x) FROM t
-- %%
COPY t TO 't.csv' (HEADER, DELIMITER ';')
-- %%
COPY (SELECT x, ';' AS "y;" FROM t) TO 'u.csv' (FORMAT csv, QUOTE '"')
-- %%
COPY t TO 't.parquet' (FORMAT parquet)
-- %%
COPY (FROM t) TO 't.json'
-- %%
COPY t FROM 't.csv' (HEADER, DELIMITER ';')
-- %%
COPY t (x) FROM 't.parquet'
-- %%
FROM 't.csv'
-- %%
SELECT * FROM read_csv('u.csv', all_varchar = true)
-- %%
SELECT count(*) FROM read_parquet(['t.parquet', 't.parquet'])
-- %%
SELECT x FROM 't.json' ORDER BY x
-- %%
FROM read_text('t.csv') SELECT content
-- %%
SELECT count(*), sum(x) FROM t
-- %%
ATTACH ':memory:' AS exported
-- %%
CREATE TABLE exported.e (x INTEGER, s VARCHAR)
-- %%
INSERT INTO exported.e VALUES (1, ';')
-- %%
EXPORT DATABASE exported TO 'folder' (FORMAT parquet)
-- %%
ATTACH ':memory:' AS imported
-- %%
USE imported
-- %%
IMPORT DATABASE 'folder'
-- %%
FROM e
-- %%
USE "memory"
-- %%
CHECKPOINT
-- %%
FORCE CHECKPOINT
-- %%
CHECKPOINT exported
-- %%
VACUUM
-- %%
VACUUM ANALYZE t
-- %%
ANALYZE
-- %%
ANALYZE t
-- %%
CALL pragma_version()
-- %%
CALL range(3)
-- %%
LOAD json
-- %%
DROP TABLE t
-- %%
SELECT setseed(0.5)
-- %%
SELECT random()
-- %%%% inspect
CREATE TABLE inspect (inspect INTEGER, u INTEGER, k INTEGER, y BOOLEAN)
-- %%
INSERT INTO inspect VALUES (1, 10, 0, true), (2, 20, 1, false)
-- %%
INSERT INTO inspect (inspect, u) VALUES (3, 30)
-- %%
INSERT INTO inspect BY NAME SELECT 4 AS inspect
-- %%
INSERT INTO inspect SELECT inspect, u, k, y FROM inspect WHERE false
-- %%
FROM inspect
-- %%
SELECT inspect FROM inspect
-- %%
SELECT INSPECT FROM INSPECT
-- %%
SELECT "Inspect" FROM "INSPECT"
-- %%
SELECT inspect u, k FROM inspect
-- %%
SELECT inspect u, inspect.u FROM inspect ORDER BY inspect.u
-- %%
SELECT inspect AS inspect FROM inspect AS inspect
-- %%
SELECT u inspect FROM inspect
-- %%
SELECT u inspect, k inspect2 FROM inspect inspect
-- %%
SELECT inspect.inspect FROM inspect
-- %%
SELECT main.inspect.inspect FROM main.inspect
-- %%
SELECT inspect.* FROM inspect
-- %%
SELECT * EXCLUDE inspect FROM inspect
-- %%
SELECT * EXCLUDE (inspect, u) FROM inspect
-- %%
SELECT * REPLACE (inspect + 1 AS inspect) FROM inspect
-- %%
SELECT * RENAME (inspect AS u2) FROM inspect
-- %%
SELECT COLUMNS('inspect') FROM inspect
-- %%
SELECT inspect i, i + 1 FROM inspect
-- %%
SELECT inspect: 1, u: inspect
-- %%
FROM inspect i JOIN inspect x USING (k) SELECT i.inspect, x.inspect ORDER BY ALL
-- %%
FROM inspect JOIN (SELECT 0 AS k) x USING (k)
-- %%
FROM inspect a JOIN inspect b ON a.inspect = b.inspect AND a.y SELECT a.inspect
-- %%
SELECT a.u FROM inspect a, inspect b WHERE a.inspect = b.inspect ORDER BY 1
-- %%
SELECT i.u FROM inspect i WHERE inspect = 1
-- %%
SELECT u FROM inspect WHERE inspect AND y
-- %%
SELECT u FROM inspect WHERE y AND inspect
-- %%
SELECT u FROM inspect WHERE inspect IN (1, 2) AND inspect IS NOT NULL AND NOT inspect = 3 ORDER BY u
-- %%
SELECT u FROM inspect WHERE inspect ISNULL AND y
-- %%
SELECT u FROM inspect WHERE inspect NOTNULL AND y
-- %%
SELECT u FROM inspect WHERE inspect NOT NULL AND y
-- %%
SELECT inspect NOTNULL AND y FROM inspect ORDER BY u
-- %%
SELECT inspect BETWEEN 1 AND 2, 1 BETWEEN inspect AND inspect + u FROM inspect ORDER BY u
-- %%
SELECT u BETWEEN inspect AND inspect.u AND y FROM inspect ORDER BY u
-- %%
SELECT CASE WHEN inspect THEN u ELSE inspect END FROM inspect ORDER BY u
-- %%
SELECT CASE inspect WHEN 1 THEN inspect ELSE inspect END AS x FROM inspect ORDER BY u
-- %%
SELECT CASE WHEN y THEN true ELSE inspect END AND y FROM inspect ORDER BY u
-- %%
SELECT CASE WHEN true THEN {'a': 1} ELSE inspect END.a FROM (SELECT {'a': 2} AS inspect)
-- %%
SELECT count(inspect) FILTER (WHERE inspect AND y) FROM inspect
-- %%
SELECT sum(inspect) OVER (PARTITION BY inspect ORDER BY inspect) FROM inspect ORDER BY ALL
-- %%
SELECT sum(u) OVER inspect FROM inspect WINDOW inspect AS (ORDER BY u) ORDER BY ALL
-- %%
SELECT inspect, count(*) FROM inspect GROUP BY inspect HAVING inspect > 1 ORDER BY inspect DESC NULLS LAST
-- %%
SELECT inspect FROM inspect ORDER BY inspect LIMIT 1
-- %%
SELECT inspect COLLATE nocase FROM (SELECT 'A' AS inspect)
-- %%
SELECT inspect::VARCHAR, inspect || ';', -inspect, inspect! FROM inspect ORDER BY u
-- %%
SELECT inspect AT TIME ZONE 'UTC' IS NOT NULL FROM (SELECT TIMESTAMP '2020-01-01' AS inspect)
-- %%
FROM inspect USING SAMPLE 5 ROWS
-- %%
FROM inspect TABLESAMPLE 100 PERCENT
-- %%
FROM inspect LIMIT 1
-- %%
FROM inspect SELECT inspect WHERE inspect = 2
-- %%
FROM inspect SELECT inspect GROUP BY inspect HAVING inspect = 2
-- %%
SELECT inspect FROM inspect UNION SELECT u FROM inspect ORDER BY inspect
-- %%
SELECT inspect FROM inspect EXCEPT SELECT 1 ORDER BY inspect
-- %%
SELECT DISTINCT inspect FROM inspect ORDER BY inspect
-- %%
SELECT DISTINCT ON (inspect) inspect, u FROM inspect ORDER BY inspect
-- %%
SELECT ALL inspect FROM inspect
-- %%
WITH inspect AS (SELECT 1 AS inspect) SELECT inspect FROM inspect
-- %%
WITH inspect(inspect) AS MATERIALIZED (SELECT 1), u AS (FROM inspect) SELECT inspect FROM u
-- %%
WITH RECURSIVE inspect(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM inspect WHERE n < 3) FROM inspect
-- %%
SELECT (SELECT inspect FROM inspect LIMIT 1) AS inspect, EXISTS (FROM inspect)
-- %%
SELECT inspect.inspect.inspect FROM (SELECT {'inspect': {'inspect': 1}} AS inspect)
-- %%
SELECT inspect.inspect.inspect FROM (SELECT {'inspect': 2} AS inspect) AS inspect
-- %%
SELECT inspect['inspect'] FROM (SELECT MAP {'inspect': 1} AS inspect) WHERE false
-- %%
SELECT {'inspect': 1}, {inspect: 2}, struct_pack(inspect := 3), MAP {'inspect': 'INSPECT U.unit AND H.hypothesis'}
-- %%
SELECT 'SELECT S INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S FROM models M'
-- %%
SELECT $$ INSPECT U.unit AND H.hypothesis $$, E'INSPECT \' U.unit', "INSPECT U.unit" FROM (SELECT 1 AS "INSPECT U.unit")
-- %%
SELECT 1 -- INSPECT U.unit AND H.hypothesis
-- %%
SELECT 1 /* INSPECT U.unit AND H.hypothesis USING pearson */, 2
-- %%
SELECT "inspect" U, k FROM inspect
-- %%
SELECT "INSPECT"."U" FROM inspect ORDER BY ALL
-- %%
SELECT 1 inspect, 2 units WHERE true
-- %%
SELECT 1 /* x */ INSPECT -- U.unit AND
, 2
-- %%
SELECT [inspect FOR inspect IN [1, 2]], list_transform([1], lambda inspect: inspect + 1)
-- %%
SELECT list_filter([1, 2], lambda inspect: inspect > 1 AND inspect < 5)
-- %%
SELECT unnest([1, 2]) AS inspect, inspect IN (1, 2) FROM inspect WHERE inspect = 1
-- %%
SELECT * FROM unnest([1, 2]) AS inspect(inspect)
-- %%
SELECT * FROM (VALUES (1)) inspect(u)
-- %%
FROM inspect, LATERAL (SELECT inspect.u + 1 AS v) SELECT inspect, v ORDER BY ALL
-- %%
FROM range(2) inspect(inspect) POSITIONAL JOIN inspect i SELECT i.inspect ORDER BY ALL
-- %%
FROM inspect NATURAL JOIN inspect x SELECT count(*)
-- %%
FROM inspect CROSS JOIN inspect b SELECT count(inspect.inspect)
-- %%
FROM inspect a ASOF JOIN inspect b ON a.k = b.k AND a.inspect >= b.inspect SELECT a.inspect ORDER BY ALL
-- %%
FROM inspect SEMI JOIN (SELECT 1 AS inspect) USING (inspect) SELECT inspect
-- %%
FROM inspect ANTI JOIN (SELECT 1 AS inspect) x ON inspect.inspect = x.inspect SELECT inspect ORDER BY inspect
-- %%
PIVOT inspect ON inspect USING sum(u)
-- %%
PIVOT inspect ON y IN (true) USING max(inspect) GROUP BY k ORDER BY k
-- %%
UNPIVOT inspect ON inspect, u INTO NAME n VALUE inspect2
-- %%
SUMMARIZE inspect
-- %%
DESCRIBE inspect
-- %%
SHOW inspect
-- %%
PRAGMA table_info(inspect)
-- %%
EXPLAIN SELECT inspect FROM inspect
-- %%
CREATE MACRO inspect(x) AS x + 1
-- %%
SELECT inspect(1), inspect(inspect), inspect (x := 2) FROM inspect ORDER BY ALL
-- %%
SELECT 1, inspect(x := 1), [0, inspect(x := 2)], abs(inspect(x := 3))
-- %%
SELECT 1 IS DISTINCT FROM inspect(x := 1), 1 IS NOT DISTINCT FROM inspect(x := 0)
-- %%
SELECT u FROM inspect GROUP BY u, inspect(x := u) ORDER BY u, inspect(x := u)
-- %%
SELECT u FROM range(1), inspect WHERE u IN (10, inspect(x := 19)) ORDER BY u
-- %%
SELECT (1).inspect(), u.inspect() FROM inspect ORDER BY ALL
-- %%
CREATE MACRO inspect_t(x, y := 1) AS TABLE SELECT x AS inspect, y AS u
-- %%
CREATE OR REPLACE MACRO inspect(x) AS TABLE SELECT x AS inspect, 2 AS u
-- %%
FROM inspect(1)
-- %%
SELECT * FROM inspect(1) u, inspect(2), inspect_t(x := 3)
-- %%
SELECT i.inspect FROM inspect(1) i JOIN inspect(1) USING (inspect)
-- %%
FROM inspect_t(1, y := 2)
-- %%
DROP MACRO TABLE inspect
-- %%
CREATE SCHEMA inspect
-- %%
CREATE TABLE inspect.inspect (inspect INTEGER)
-- %%
INSERT INTO inspect.inspect VALUES (7) RETURNING inspect
-- %%
SELECT inspect.inspect.inspect FROM inspect.inspect
-- %%
SELECT inspect FROM inspect.inspect AND_ WHERE inspect > 1
-- %%
CREATE TYPE inspect.inspect AS ENUM ('a', 'b')
-- %%
CREATE TABLE typed (inspect inspect.inspect, x inspect.inspect)
-- %%
CREATE TABLE typed2 (x INTEGER, inspect inspect.inspect DEFAULT 'a')
-- %%
ALTER TABLE typed2 ADD COLUMN inspect2 inspect.inspect
-- %%
CREATE TABLE typed3 (x INTEGER)
-- %%
ALTER TABLE typed3 ADD COLUMN inspect inspect.inspect
-- %%
ALTER TABLE typed3 ADD inspect2 STRUCT(inspect inspect.inspect)
-- %%
SELECT x::STRUCT(inspect inspect.inspect) FROM (SELECT {'inspect': 'a'} AS x)
-- %%
CREATE MACRO typed(inspect inspect.inspect) AS inspect
-- %%
ALTER TABLE inspect RENAME inspect TO inspect3
-- %%
ALTER TABLE inspect RENAME COLUMN inspect3 TO inspect
-- %%
ALTER TABLE inspect ALTER inspect TYPE BIGINT
-- %%
ALTER TABLE inspect ALTER COLUMN inspect SET DEFAULT 3
-- %%
ALTER TABLE inspect ADD COLUMN inspect4 INTEGER
-- %%
CREATE INDEX inspect ON inspect (inspect)
-- %%
DROP INDEX inspect
-- %%
COMMENT ON TABLE inspect IS 'INSPECT U.unit'
-- %%
COMMENT ON COLUMN inspect.inspect IS 'inspect'
-- %%
UPDATE inspect SET inspect = inspect + 1 WHERE inspect AND y
-- %%
UPDATE inspect AS i SET u = inspect FROM range(2) r(x) WHERE inspect = r.x RETURNING inspect
-- %%
DELETE FROM inspect USING range(9) inspect2(x) WHERE inspect = x AND y
-- %%
MERGE INTO inspect USING (SELECT 1 AS inspect) s ON inspect.inspect = s.inspect WHEN NOT MATCHED THEN INSERT (inspect) VALUES (s.inspect)
-- %%
INSERT INTO inspect (inspect) VALUES (50) RETURNING inspect u, inspect.u
-- %%
CREATE VIEW inspections AS SELECT inspect u FROM inspect
-- %%
FROM inspections ORDER BY u
-- %%
CREATE SEQUENCE inspect START 5
-- %%
SELECT nextval('inspect') AS inspect
-- %%
PREPARE inspect AS SELECT inspect FROM inspect WHERE inspect = $1
-- %%
EXECUTE inspect(50)
-- %%
DEALLOCATE inspect
-- %%
SET VARIABLE inspect = 5
-- %%
SELECT getvariable('inspect') inspect
-- %%
ATTACH ':memory:' AS inspect
-- %%
CREATE TABLE inspect.main.inspect AS SELECT 1 AS inspect
-- %%
SELECT inspect FROM inspect.main.inspect
-- %%
DETACH inspect
-- %%
COPY (SELECT inspect FROM inspect ORDER BY inspect) TO 'inspect.csv'
-- %%
SELECT inspect FROM 'inspect.csv' AS inspect
-- %%
TRUNCATE inspect
-- %%
DROP TABLE inspect
-- %%%% ours by name only
CREATE TABLE model (model VARCHAR, dataset VARCHAR)
-- %%
CREATE TABLE hypothesis AS SELECT 1 AS hypothesis
-- %%
CREATE OR REPLACE TABLE dataset AS SELECT 'x' AS dataset
-- %%
CREATE VIEW run AS SELECT 1 AS run
-- %%
DESCRIBE model
-- %%
DESCRIBE dataset
-- %%
DESC hypothesis
-- %%
SHOW model
-- %%
SELECT model, models FROM (SELECT 1 AS model, 2 AS models)
-- %%
SELECT count(*) FROM models
-- %%
FROM units, layers, hypotheses, runs, scores, datasets SELECT count(*)
-- %%
DROP TABLE model
-- %%
DROP TABLE hypothesis
-- %%
DROP VIEW run
-- %%
CREATE MACRO is_vowel2(x) AS x IN ('a', 'e')
-- %%
SELECT is_vowel2('a')
-- %%
SELECT position('a' IN 'ba'), length('abc')
-- %%
SELECT 'CREATE MODEL x FROM y', 'DROP MODEL x;'
-- %%
-- CREATE MODEL x FROM 'y';
SELECT 1
-- %%
/* SHOW MODELS; */ SHOW TABLES
