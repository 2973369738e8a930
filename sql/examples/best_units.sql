-- Which units follow negation best?
SELECT S.layer, S.unit, round(S.unit_score, 3) AS score
INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
FROM models M, units U, hypotheses H, inputs D
WHERE M.model = 'minilm' AND U.layer LIKE '%.intermediate' AND H.hypothesis = 'is_negation' AND D.dataset = 'reviews'
ORDER BY abs(S.unit_score) DESC LIMIT 4;
