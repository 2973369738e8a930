-- How does a concept grow during training? The best unit of each checkpoint.
SELECT M.epoch, round(max(abs(S.unit_score)), 1) AS best
INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
FROM models M, units U, hypotheses H, inputs D
WHERE M.epoch IS NOT NULL AND U.layer = 'memory' AND H.hypothesis = 'h_after_t' AND D.dataset = 'reviews'
GROUP BY M.epoch ORDER BY M.epoch;
