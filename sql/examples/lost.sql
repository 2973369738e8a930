-- What did not take part? A character model has symbols between words, which no hypothesis about words is compared on.
SELECT DISTINCT spec->>'models' AS models, spec->>'dataset' AS dataset, key AS what, value::INT AS count
FROM runs, json_each(counts) WHERE value::INT > 0 ORDER BY ALL;
