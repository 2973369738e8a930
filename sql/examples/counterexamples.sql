-- Where is a strong unit high although the hypothesis is false?
SELECT round(u.value, 3) AS value, context
FROM unit_activations('minilm', 'reviews', 'encoder.layer.2.intermediate', 1265) u
JOIN hypothesis_values('reviews', 'minilm', 'is_negation') h USING (record, position)
JOIN contexts('reviews', 'minilm', width := 3) USING (record, position)
WHERE h.value = 0 ORDER BY u.value DESC LIMIT 4;
