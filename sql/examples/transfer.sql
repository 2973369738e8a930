-- Does a unit still follow its concept on other data? Here the same reviews without punctuation.
SELECT D.dataset, U.unit, round(S.unit_score, 3) AS score, S.symbols
INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
FROM models M, units U, hypotheses H, inputs D
WHERE M.model = 'minilm' AND U.layer = 'encoder.layer.2.intermediate' AND U.unit IN (823, 1265)
  AND H.hypothesis = 'is_negation' AND D.dataset IN ('reviews', 'unpunctuated')
GROUP BY D.dataset ORDER BY U.unit, D.dataset;
