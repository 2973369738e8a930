-- A cheap measure on all units, and a second one on the best of them alone.
SELECT S.layer, S.unit, round(S.unit_score, 2) AS hedges_g
INSPECT U.unit AND H.hypothesis USING cohens_d(unbiased := true) OVER D.record AS S
FROM (
    SELECT R.model, R.layer, R.unit
    INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS R
    FROM units U, hypotheses H, inputs D
    WHERE U.model = 'minilm' AND U.layer LIKE '%.intermediate' AND H.hypothesis = 'is_negation'
      AND D.dataset = 'reviews' ORDER BY abs(R.unit_score) DESC LIMIT 3
) U, hypotheses H, inputs D
WHERE H.hypothesis = 'is_negation' AND D.dataset = 'reviews' ORDER BY hedges_g DESC;
