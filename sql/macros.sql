-- Functions over activations, and over the symbols around one. Plain DuckDB: any client can call them.

-- unit(activation, 17): the value of a unit; units count from 0, lists of SQL from 1. NULL where there is no such unit.
CREATE OR REPLACE MACRO unit(activation, i) AS activation[i + 1];
COMMENT ON MACRO unit IS 'The value of unit i, from 0, of an activation.';

-- dot(activation, direction): how far an activation goes in a direction, such as the weights of a probe.
CREATE OR REPLACE MACRO dot(activation, direction) AS list_inner_product(activation, direction);
COMMENT ON MACRO dot IS 'The inner product of two lists of equal length.';

-- cosine(activation, direction): NaN where one of them is zero.
CREATE OR REPLACE MACRO cosine(activation, direction) AS list_cosine_similarity(activation, direction);
COMMENT ON MACRO cosine IS 'The cosine of the angle between two lists of equal length.';

-- top_units(activation, 3): [{'unit': 7, 'value': 2.5}, ...], the greatest first; equal values by unit.
CREATE OR REPLACE MACRO top_units(activation, k) AS list_transform(
    list_slice(list_grade_up(activation, 'DESC', 'NULLS LAST'), 1, k),
    lambda place: {'unit': (place - 1)::INTEGER, 'value': activation[place]}
);
COMMENT ON MACRO top_units IS 'The k units with the greatest values, as a list of (unit, value); units count from 0.';

-- context(symbol, record, position, 5): the symbol in brackets between the 5 before and the 5 after it in its record.
-- It is a window over the rows of the query, after its WHERE: filter with QUALIFY, or outside, or join `contexts`.
CREATE OR REPLACE MACRO context(symbol, record, position, width) AS concat_ws(
    ' ',
    string_agg(symbol, ' ') OVER (PARTITION BY record ORDER BY position ROWS BETWEEN width PRECEDING AND 1 PRECEDING),
    '[' || symbol || ']',
    string_agg(symbol, ' ') OVER (PARTITION BY record ORDER BY position ROWS BETWEEN 1 FOLLOWING AND width FOLLOWING)
);
COMMENT ON MACRO context IS 'The symbol in brackets, between as many as width before and after it among the rows of the query.';

-- FROM contexts('ewt', 'minilm', width := 5): the same for every symbol of a dataset, to be joined by record and position.
CREATE OR REPLACE MACRO contexts(dataset, model, width := 5, "at" := 'token') AS TABLE
SELECT record, position, context(symbol, record, position, width) AS context
FROM symbols(dataset, model, "at" := "at");
COMMENT ON MACRO TABLE contexts IS 'Every symbol of a dataset in brackets, between as many as width before and after it.';
