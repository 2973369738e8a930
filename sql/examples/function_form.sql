-- Which units know how many stars a review gives? As a function.
SELECT layer, unit, round(unit_score, 3) AS score, records
FROM inspect(model := 'minilm', dataset := 'reviews', hypotheses := 'stars', layers := 'encoder.layer.?',
             at := 'record')
ORDER BY abs(unit_score) DESC LIMIT 3;
