-- Which units respond to two concepts at once?
SELECT S.layer, S.unit, round(min(abs(S.unit_score)), 3) AS weaker, round(max(abs(S.unit_score)), 3) AS stronger
INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
FROM models M, units U, hypotheses H, inputs D
WHERE M.model = 'minilm' AND U.layer LIKE '%.intermediate' AND D.dataset = 'reviews'
  AND H.hypothesis IN ('is_negation', 'is_stopword')
GROUP BY S.layer, S.unit HAVING min(abs(S.unit_score)) > 0.3 ORDER BY weaker DESC LIMIT 4;
