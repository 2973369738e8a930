-- Which symbols lie furthest along the direction that leads from the symbols without a concept to those with it?
WITH labelled AS (
    SELECT record, position, activation, value = 1 AS negation FROM activations('minilm', 'reviews')
    JOIN hypothesis_values('reviews', 'minilm', 'is_negation') USING (record, position) WHERE layer = 'encoder.layer.2'
), difference AS (
    SELECT i, avg(unit(activation, i)) FILTER (negation) - avg(unit(activation, i)) FILTER (NOT negation) AS step
    FROM labelled, range(384) AS units(i) GROUP BY i
), direction AS (SELECT list(step ORDER BY i)::FLOAT[] AS towards FROM difference)
SELECT round(dot(activation, towards), 2) AS along, negation, context
FROM labelled JOIN contexts('reviews', 'minilm', width := 3) USING (record, position), direction
ORDER BY along DESC LIMIT 3;
