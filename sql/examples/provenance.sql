-- Where does a score come from: which model, data, code, seed and versions?
WITH best AS (
    SELECT S.run, S.hypothesis, S.unit_score
    INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
    FROM units U, hypotheses H, inputs D
    WHERE U.model = 'minilm' AND U.layer = 'encoder.layer.0.intermediate' AND D.dataset = 'reviews'
      AND H.hypothesis = 'is_negation' ORDER BY S.unit_score DESC LIMIT 1
)
SELECT round(unit_score, 3) AS score, (spec->>'$.fingerprints.models.minilm')[:8] AS model,
       (spec->>'$.fingerprints.dataset')[:8] AS dataset, fingerprint[:8] AS code, seed, versions->>'torch' AS torch
FROM best JOIN runs USING (run) JOIN run_hypotheses USING (run, hypothesis);
