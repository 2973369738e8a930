-- The tables that DeepBase keeps in a database file. Plain DuckDB: any client can read them without DeepBase.

CREATE TABLE IF NOT EXISTS deepbase_format (format INTEGER);
COMMENT ON TABLE deepbase_format IS 'Marks a DeepBase database: the version of these tables.';
COMMENT ON COLUMN deepbase_format.format IS 'The version.';

CREATE TABLE IF NOT EXISTS models (
    model VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    architecture VARCHAR NOT NULL,
    parameters BIGINT NOT NULL,
    context BIGINT,
    padding VARCHAR NOT NULL,
    options JSON NOT NULL,
    registered TIMESTAMP NOT NULL
);
COMMENT ON TABLE models IS 'The registered models; the user''s own tags (epoch, step, ...) are further columns.';
COMMENT ON COLUMN models.model IS 'The name that queries use.';
COMMENT ON COLUMN models.source IS 'A Hugging Face directory or hub id, file.py:name, or python for an object that was handed over.';
COMMENT ON COLUMN models.fingerprint IS 'A digest of the weights and the tokenizer, not of the path.';
COMMENT ON COLUMN models.architecture IS 'The class of the torch module.';
COMMENT ON COLUMN models.parameters IS 'How many parameters it has.';
COMMENT ON COLUMN models.context IS 'The most tokens of one sequence, special tokens included; NULL without a limit.';
COMMENT ON COLUMN models.padding IS 'The side on which shorter sequences are filled; none: only equal lengths run together.';
COMMENT ON COLUMN models.options IS 'The options that it was registered with.';
COMMENT ON COLUMN models.registered IS 'When (UTC).';

CREATE TABLE IF NOT EXISTS layers (
    model VARCHAR NOT NULL,
    layer VARCHAR NOT NULL,
    layer_index INTEGER NOT NULL,
    width INTEGER NOT NULL,
    kind VARCHAR NOT NULL
);
COMMENT ON TABLE layers IS 'The modules of each model whose output has a value per symbol.';
COMMENT ON COLUMN layers.model IS 'The model.';
COMMENT ON COLUMN layers.layer IS 'The torch module path.';
COMMENT ON COLUMN layers.layer_index IS 'The order in which the modules finish during a forward.';
COMMENT ON COLUMN layers.width IS 'How many units it has.';
COMMENT ON COLUMN layers.kind IS 'block output, MLP neurons, attention output, embedding or other.';

CREATE VIEW IF NOT EXISTS units AS
SELECT model, layer, unnest(range(width))::INTEGER AS unit FROM layers;
COMMENT ON VIEW units IS 'Every unit of every layer: its address is (model, layer, unit).';
COMMENT ON COLUMN units.model IS 'The model.';
COMMENT ON COLUMN units.layer IS 'The torch module path.';
COMMENT ON COLUMN units.unit IS 'The unit within the layer, from 0.';

CREATE TABLE IF NOT EXISTS datasets (
    dataset VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    records BIGINT NOT NULL,
    columns JSON NOT NULL,
    registered TIMESTAMP NOT NULL
);
COMMENT ON TABLE datasets IS 'The registered datasets. Their records are in the schema records, one table each.';
COMMENT ON COLUMN datasets.dataset IS 'The name that queries use.';
COMMENT ON COLUMN datasets.source IS 'The file or the query that it was read from.';
COMMENT ON COLUMN datasets.fingerprint IS 'A digest of its content.';
COMMENT ON COLUMN datasets.records IS 'How many records it has.';
COMMENT ON COLUMN datasets.columns IS 'The columns that hypotheses can be made of: name, level, kind, values.';
COMMENT ON COLUMN datasets.registered IS 'When (UTC).';

CREATE SCHEMA IF NOT EXISTS records;

CREATE TABLE IF NOT EXISTS hypotheses (
    hypothesis VARCHAR NOT NULL,
    kind VARCHAR,
    source VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    expression VARCHAR,
    registered TIMESTAMP NOT NULL
);
COMMENT ON TABLE hypotheses IS 'The registered hypotheses: Python functions and SQL expressions.';
COMMENT ON COLUMN hypotheses.hypothesis IS 'The name that queries use.';
COMMENT ON COLUMN hypotheses.kind IS 'boolean, number or category; NULL until a dataset tells.';
COMMENT ON COLUMN hypotheses.source IS 'file.py:name, python for a function that was handed over, or sql.';
COMMENT ON COLUMN hypotheses.fingerprint IS 'A digest of its code.';
COMMENT ON COLUMN hypotheses.description IS 'One line.';
COMMENT ON COLUMN hypotheses.expression IS 'The SQL expression; NULL for a Python function.';
COMMENT ON COLUMN hypotheses.registered IS 'When (UTC).';

CREATE TABLE IF NOT EXISTS measures (
    measure VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    registered TIMESTAMP NOT NULL
);
COMMENT ON TABLE measures IS 'The user''s own measures; those of DeepBase need no registering.';
COMMENT ON COLUMN measures.measure IS 'The name that queries use.';
COMMENT ON COLUMN measures.source IS 'file.py:Class, or python for a class that was handed over.';
COMMENT ON COLUMN measures.fingerprint IS 'A digest of its code.';
COMMENT ON COLUMN measures.description IS 'One line.';
COMMENT ON COLUMN measures.registered IS 'When (UTC).';

CREATE TABLE IF NOT EXISTS selections (
    selection VARCHAR NOT NULL,
    record BIGINT NOT NULL,
    groups VARCHAR[] NOT NULL
);
COMMENT ON TABLE selections IS 'Records of runs that were chosen by more than a condition on the dataset''s own columns, such as a join.';
COMMENT ON COLUMN selections.selection IS 'A digest of the content; the specs of runs name it.';
COMMENT ON COLUMN selections.record IS 'The number of the record in the run''s dataset.';
COMMENT ON COLUMN selections.groups IS 'The values of the columns of records that the run groups by, in that order.';

CREATE TABLE IF NOT EXISTS runs (
    run BIGINT NOT NULL,
    started TIMESTAMP NOT NULL,
    finished TIMESTAMP,
    status VARCHAR NOT NULL,
    spec JSON NOT NULL,
    records_seen BIGINT NOT NULL,
    symbols_seen BIGINT NOT NULL,
    stopped_because VARCHAR,
    seed BIGINT NOT NULL,
    versions JSON NOT NULL,
    seconds DOUBLE NOT NULL,
    counts JSON NOT NULL,
    process VARCHAR NOT NULL
);
COMMENT ON TABLE runs IS 'One row an inspection.';
COMMENT ON COLUMN runs.run IS 'Its number.';
COMMENT ON COLUMN runs.started IS 'When it began (UTC).';
COMMENT ON COLUMN runs.finished IS 'When it ended (UTC).';
COMMENT ON COLUMN runs.status IS 'running, done, interrupted (by Ctrl-C or a kill) or failed (by an error); the last two can be resumed.';
COMMENT ON COLUMN runs.spec IS 'What was asked for, with the fingerprints of the models, the dataset, the hypotheses and the user''s own measures.';
COMMENT ON COLUMN runs.records_seen IS 'The records that the scores rest on.';
COMMENT ON COLUMN runs.symbols_seen IS 'The symbols that the scores rest on, those of all models together.';
COMMENT ON COLUMN runs.stopped_because IS 'Why it ended.';
COMMENT ON COLUMN runs.seed IS 'The seed of the order of the records.';
COMMENT ON COLUMN runs.versions IS 'The versions of Python, DeepBase, torch, transformers and DuckDB.';
COMMENT ON COLUMN runs.seconds IS 'Wall time, over all resumptions.';
COMMENT ON COLUMN runs.counts IS 'What was cut, empty or not aligned, of all models together.';
COMMENT ON COLUMN runs.process IS 'The process that runs it: host, process id and its start.';

CREATE TABLE IF NOT EXISTS run_hypotheses (
    run BIGINT NOT NULL,
    hypothesis VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    expression VARCHAR
);
COMMENT ON TABLE run_hypotheses IS 'The hypotheses that each run scores, as they were when it began.';
COMMENT ON COLUMN run_hypotheses.run IS 'The run.';
COMMENT ON COLUMN run_hypotheses.hypothesis IS 'The name that its scores have.';
COMMENT ON COLUMN run_hypotheses.kind IS 'boolean, number or category.';
COMMENT ON COLUMN run_hypotheses.source IS 'file.py:name, python for a function that was handed over, column for what a column of the dataset says, or sql.';
COMMENT ON COLUMN run_hypotheses.fingerprint IS 'A digest of its definition.';
COMMENT ON COLUMN run_hypotheses.description IS 'One line.';
COMMENT ON COLUMN run_hypotheses.expression IS 'SQL over the columns of symbols; NULL for a Python function.';

CREATE TABLE IF NOT EXISTS score_lists (
    run BIGINT NOT NULL,
    model VARCHAR NOT NULL,
    layer VARCHAR NOT NULL,
    hypothesis VARCHAR,
    measure VARCHAR NOT NULL,
    slice VARCHAR,
    unit INTEGER[] NOT NULL,
    unit_score DOUBLE[] NOT NULL,
    group_score DOUBLE,
    control_score DOUBLE,
    shuffled_score DOUBLE,
    baseline_score DOUBLE,
    low DOUBLE[],
    high DOUBLE[],
    whole BOOLEAN NOT NULL,
    open BOOLEAN[],
    p_value DOUBLE[],
    q_value DOUBLE[],
    symbols BIGINT NOT NULL,
    records BIGINT NOT NULL,
    note INTEGER[],
    notes VARCHAR[] NOT NULL
);
COMMENT ON TABLE score_lists IS 'What the view scores shows one by one: one row per run, layer, hypothesis, measure and slice, with lists over at most 2,048 units.';
COMMENT ON COLUMN score_lists.run IS 'The run that it is from.';
COMMENT ON COLUMN score_lists.model IS 'The model.';
COMMENT ON COLUMN score_lists.layer IS 'The torch module path.';
COMMENT ON COLUMN score_lists.hypothesis IS 'The hypothesis.';
COMMENT ON COLUMN score_lists.measure IS 'The measure.';
COMMENT ON COLUMN score_lists.slice IS 'The values of GROUP BY.';
COMMENT ON COLUMN score_lists.unit IS 'The units.';
COMMENT ON COLUMN score_lists.unit_score IS 'The score of each unit.';
COMMENT ON COLUMN score_lists.group_score IS 'As in scores.';
COMMENT ON COLUMN score_lists.control_score IS 'As in scores.';
COMMENT ON COLUMN score_lists.shuffled_score IS 'As in scores.';
COMMENT ON COLUMN score_lists.baseline_score IS 'As in scores.';
COMMENT ON COLUMN score_lists.low IS 'The lower ends of their intervals; NULL where there is none, and where the whole dataset was read.';
COMMENT ON COLUMN score_lists.high IS 'The upper ends of their intervals, likewise.';
COMMENT ON COLUMN score_lists.whole IS 'Whether every record of the dataset was read, so that the interval is the score itself.';
COMMENT ON COLUMN score_lists.open IS 'Whether each is open, as in scores; NULL where none is.';
COMMENT ON COLUMN score_lists.p_value IS 'Their p-values; NULL for a measure without a test.';
COMMENT ON COLUMN score_lists.q_value IS 'Their q-values; NULL for a measure without a test.';
COMMENT ON COLUMN score_lists.symbols IS 'As in scores.';
COMMENT ON COLUMN score_lists.records IS 'As in scores.';
COMMENT ON COLUMN score_lists.note IS 'The place of each unit''s note in notes, from 1; 0 where it has none. NULL where no unit has one.';
COMMENT ON COLUMN score_lists.notes IS 'What the notes say.';

CREATE VIEW IF NOT EXISTS scores AS
SELECT
    run, model, layer, unit, hypothesis, measure, slice, unit_score, group_score, control_score, shuffled_score,
    baseline_score, group_score - control_score AS selectivity, coalesce(low, exact) AS low, coalesce(high, exact) AS high,
    p_value, q_value, symbols, records, coalesce(open, false) AS open, note
FROM (
    SELECT
        *, CASE WHEN NOT whole THEN NULL WHEN group_score IS NOT NULL THEN group_score WHEN note IS NULL THEN unit_score END
        AS exact
    FROM (
        SELECT
            run, model, layer, unnest(unit) AS unit, hypothesis, measure, slice, unnest(unit_score) AS unit_score,
            group_score, control_score, shuffled_score, baseline_score, unnest(low) AS low, unnest(high) AS high, whole,
            unnest(open) AS open, unnest(p_value) AS p_value, unnest(q_value) AS q_value, symbols, records,
            notes[unnest(note)] AS note
        FROM score_lists
    )
);
COMMENT ON VIEW scores IS 'One row per run, unit, hypothesis, measure and slice.';
COMMENT ON COLUMN scores.run IS 'The run that it is from.';
COMMENT ON COLUMN scores.model IS 'The model.';
COMMENT ON COLUMN scores.layer IS 'The torch module path.';
COMMENT ON COLUMN scores.unit IS 'The unit within the layer.';
COMMENT ON COLUMN scores.hypothesis IS 'The hypothesis; NULL for a fact of a unit that needs none; the other group where groups of units are compared.';
COMMENT ON COLUMN scores.measure IS 'The measure, with the options that are not its defaults.';
COMMENT ON COLUMN scores.slice IS 'The values of GROUP BY: of one column the value, with NULL for NULL, of several a JSON object; NULL without.';
COMMENT ON COLUMN scores.unit_score IS 'How well the unit follows the hypothesis; NULL where the note says why.';
COMMENT ON COLUMN scores.group_score IS 'How well the units of a probe follow it together, or how similar two groups are; NULL for a unit measure.';
COMMENT ON COLUMN scores.control_score IS 'What the same probe reaches on a control task, random labels by word type; NULL where none was asked for.';
COMMENT ON COLUMN scores.shuffled_score IS 'What the same probe reaches on the labels of other records; NULL where none was asked for.';
COMMENT ON COLUMN scores.baseline_score IS 'What the same probe reaches on the same architecture with random weights; NULL where none was asked for.';
COMMENT ON COLUMN scores.selectivity IS 'group_score less control_score.';
COMMENT ON COLUMN scores.low IS 'The lower end of the interval of the score over the whole dataset: of unit_score, or of group_score where units are scored together. The score itself where every record was read; NULL where the records do not tell.';
COMMENT ON COLUMN scores.high IS 'Its upper end.';
COMMENT ON COLUMN scores.p_value IS 'Of no affinity, by a test that counts records, not symbols; NULL where there is none.';
COMMENT ON COLUMN scores.q_value IS 'The p-value corrected for all pairs of the run with the same measure, by Benjamini and Hochberg unless asked otherwise.';
COMMENT ON COLUMN scores.symbols IS 'The symbols of the slice at which the hypothesis had a value.';
COMMENT ON COLUMN scores.records IS 'The records that these symbols are from.';
COMMENT ON COLUMN scores.open IS 'Whether the run ended before it could tell of this score what it was asked, or a tie was left open.';
COMMENT ON COLUMN scores.note IS 'Why there is no score, or how exact it is.';

CREATE TABLE IF NOT EXISTS checkpoints (
    run BIGINT NOT NULL,
    state BLOB NOT NULL
);
COMMENT ON TABLE checkpoints IS 'What a run needs to go on: its states as safetensors. Gone when it has read every record.';
COMMENT ON COLUMN checkpoints.run IS 'The run.';
COMMENT ON COLUMN checkpoints.state IS 'Its states, and how far it came.';

CREATE VIEW IF NOT EXISTS inputs AS
SELECT NULL::VARCHAR AS dataset, NULL::BIGINT AS record, NULL::VARCHAR AS text WHERE false;
COMMENT ON VIEW inputs IS 'The records of all datasets, with the columns of their sources.';
COMMENT ON COLUMN inputs.dataset IS 'The dataset.';
COMMENT ON COLUMN inputs.record IS 'The number of the record, from 0, in the order of the source.';
COMMENT ON COLUMN inputs.text IS 'The text.';
