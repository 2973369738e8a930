-- What changes between two runs? The same question with and without the restaurants.
SELECT unit, round(a.unit_score, 3) AS score, round(b.unit_score, 3) AS without
FROM inspect(model := 'minilm', dataset := 'reviews', hypotheses := 'is_negation', layers := 'encoder.layer.5') a
JOIN inspect(model := 'minilm', dataset := 'reviews', hypotheses := 'is_negation', layers := 'encoder.layer.5',
             where := 'place <> ''restaurant''') b USING (model, layer, unit, hypothesis, measure)
ORDER BY abs(a.unit_score - b.unit_score) DESC LIMIT 3;
