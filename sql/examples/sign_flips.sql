-- Which units change their sign between kinds of records?
WITH slices AS (
    SELECT S.layer, S.unit, D.place, S.unit_score AS score
    INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
    FROM models M, units U, hypotheses H, inputs D
    WHERE M.model = 'minilm' AND U.layer LIKE 'encoder.layer._' AND D.dataset = 'reviews'
      AND H.hypothesis = 'is_capitalized'
    GROUP BY D.place
)
SELECT layer, unit, round(min(score), 3) AS lowest, arg_min(place, score) AS "in", round(max(score), 3) AS highest,
       arg_max(place, score) AS "and in"
FROM slices GROUP BY layer, unit ORDER BY least(-min(score), max(score)) DESC LIMIT 3;
