-- In which epoch does each concept first have a unit above 0.55?
WITH best AS (
    SELECT H.hypothesis, M.epoch, max(abs(S.unit_score)) AS score
    INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
    FROM models M, units U, hypotheses H, inputs D
    WHERE M.epoch IS NOT NULL AND U.layer = 'memory' AND D.dataset = 'reviews'
      AND H.hypothesis IN ('is_vowel', 'h_after_t', 'is_negation')
    GROUP BY H.hypothesis, M.epoch
)
SELECT hypothesis, min(epoch) FILTER (score > 0.55) AS epoch FROM best GROUP BY hypothesis ORDER BY epoch;
