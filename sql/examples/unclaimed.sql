-- Which hypotheses does no unit follow?
SELECT S.hypothesis, round(max(abs(S.unit_score)), 3) AS best
INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
FROM models M, units U, hypotheses H, inputs D
WHERE M.model = 'minilm' AND U.layer LIKE '%.intermediate' AND D.dataset = 'reviews'
  AND H.hypothesis IN ('is_negation', 'is_capitalized', 'after_comma', 'long_word', 'record % 2 = 0', 'position')
GROUP BY S.hypothesis HAVING max(abs(S.unit_score)) < 0.6 ORDER BY best;
