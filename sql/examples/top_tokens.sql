-- On which tokens is a unit highest, and in what context?
SELECT round(value, 2) AS value, record, context
FROM unit_activations('minilm', 'reviews', 'encoder.layer.0.intermediate', 829)
JOIN contexts('reviews', 'minilm', width := 4) USING (record, position)
ORDER BY value DESC LIMIT 5;
