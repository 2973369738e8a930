-- The virtual tables as a client without DeepBase sees them: their columns, and a sentence in the place of their rows.
-- DeepBase puts a temporary macro of the same name and parameters over each of them.
-- Every column says it, because DuckDB may look at a filter on a column before it looks at the WHERE of the macro.

CREATE OR REPLACE MACRO deepbase_missing(name) AS
error(name || ' is computed by DeepBase, and cannot be read without it: open this file with deepbase.connect() in Python, or with deepbase sql --db FILE');
COMMENT ON MACRO deepbase_missing IS 'Says what a virtual table needs.';

CREATE OR REPLACE MACRO symbols(dataset, model, "at" := 'token') AS TABLE
SELECT
    deepbase_missing('symbols')::BIGINT AS record,
    deepbase_missing('symbols')::INTEGER AS position,
    deepbase_missing('symbols')::VARCHAR AS symbol,
    deepbase_missing('symbols')::VARCHAR AS token,
    deepbase_missing('symbols')::INTEGER AS start,
    deepbase_missing('symbols')::INTEGER AS "end",
    deepbase_missing('symbols')::VARCHAR AS word,
    deepbase_missing('symbols')::INTEGER AS word_index,
    deepbase_missing('symbols')::VARCHAR AS text
WHERE deepbase_missing('symbols') IS NULL;
COMMENT ON MACRO TABLE symbols IS 'The symbols of a dataset as a model''s tokenizer makes them (at: token, word or record), with the columns of the dataset.';

CREATE OR REPLACE MACRO activations(model, dataset, "at" := 'token') AS TABLE
SELECT
    deepbase_missing('activations')::BIGINT AS record,
    deepbase_missing('activations')::INTEGER AS position,
    deepbase_missing('activations')::VARCHAR AS symbol,
    deepbase_missing('activations')::VARCHAR AS layer,
    deepbase_missing('activations')::FLOAT[] AS activation
WHERE deepbase_missing('activations') IS NULL;
COMMENT ON MACRO TABLE activations IS 'The values of all units of each layer at every symbol of a dataset.';

CREATE OR REPLACE MACRO unit_activations(model, dataset, layer, unit, "at" := 'token') AS TABLE
SELECT
    deepbase_missing('unit_activations')::BIGINT AS record,
    deepbase_missing('unit_activations')::INTEGER AS position,
    deepbase_missing('unit_activations')::VARCHAR AS symbol,
    deepbase_missing('unit_activations')::FLOAT AS value
WHERE deepbase_missing('unit_activations') IS NULL;
COMMENT ON MACRO TABLE unit_activations IS 'The value of one unit at every symbol of a dataset.';

CREATE OR REPLACE MACRO hypothesis_values(dataset, model, hypothesis, "at" := 'token') AS TABLE
SELECT
    deepbase_missing('hypothesis_values')::BIGINT AS record,
    deepbase_missing('hypothesis_values')::INTEGER AS position,
    deepbase_missing('hypothesis_values')::VARCHAR AS symbol,
    deepbase_missing('hypothesis_values')::DOUBLE AS value
WHERE deepbase_missing('hypothesis_values') IS NULL;
COMMENT ON MACRO TABLE hypothesis_values IS 'The value of one hypothesis at every symbol of a dataset: 1 or 0 for true or false, NULL where it has none.';
