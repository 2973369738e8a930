-- How are the values of a unit distributed where the hypothesis is true, and where it is false?
SELECT h.value = 1 AS negation, count(*) AS symbols, round(quantile_cont(u.value, 0.05), 2) AS p5,
       round(median(u.value), 2) AS median, round(quantile_cont(u.value, 0.95), 2) AS p95
FROM unit_activations('minilm', 'reviews', 'encoder.layer.0.intermediate', 829) u
JOIN hypothesis_values('reviews', 'minilm', 'is_negation') h USING (record, position)
GROUP BY negation ORDER BY negation;
