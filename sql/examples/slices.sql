-- How does a unit do on each kind of record?
SELECT D.place, round(S.unit_score, 3) AS score, S.symbols, S.records
INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
FROM models M, units U, hypotheses H, inputs D
WHERE M.model = 'minilm' AND U.layer = 'encoder.layer.0.intermediate' AND U.unit = 829
  AND H.hypothesis = 'is_negation' AND D.dataset = 'reviews'
GROUP BY D.place ORDER BY score DESC;
