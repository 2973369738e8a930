-- The study that the examples ask about. In docs/examples: deepbase sql -f ../../sql/examples/setup.sql
CREATE MODEL minilm FROM 'models.py:minilm';
CREATE MODEL chars-0 FROM 'models.py:checkpoint_0' WITH (epoch = 0);
CREATE MODEL chars-4 FROM 'models.py:checkpoint_4' WITH (epoch = 4);
CREATE MODEL chars-16 FROM 'models.py:checkpoint_16' WITH (epoch = 16);
CREATE MODEL chars-64 FROM 'models.py:checkpoint_64' WITH (epoch = 64);

CREATE DATASET reviews FROM 'reviews.csv';
CREATE DATASET unpunctuated AS
    SELECT regexp_replace(text, '[^\w ]', '', 'g') AS text, stars, place FROM inputs WHERE dataset = 'reviews';

CREATE HYPOTHESES FROM 'my_hypotheses.py';
CREATE HYPOTHESIS long_word AS length(word) > 6;
CREATE HYPOTHESIS h_after_t AS text[start : start + 1] = 'th';

CREATE TABLE suspects (layer VARCHAR, unit INTEGER, why VARCHAR);
INSERT INTO suspects VALUES
    ('encoder.layer.0.intermediate', 829, 'fires on not'), ('encoder.layer.2.intermediate', 1265, 'fires on too');
CREATE TABLE themes (hypothesis VARCHAR, theme VARCHAR);
INSERT INTO themes VALUES ('is_negation', 'logic'), ('is_capitalized', 'form'), ('long_word', 'form');
CREATE TABLE readers AS SELECT record, if(record % 2 = 0, 'Ada', 'Bo') AS reader FROM inputs WHERE dataset = 'reviews';
