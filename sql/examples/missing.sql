-- Which scores are missing, and why?
SELECT S.hypothesis, S.note, count(*) AS scores
INSPECT U.unit AND H.hypothesis USING cohens_d OVER D.record AS S
FROM models M, units U, hypotheses H, inputs D
WHERE M.model = 'minilm' AND U.layer = 'encoder.layer.5' AND H.hypothesis IN ('is_negation', 'stars', 'word = ''why''')
  AND D.dataset = 'reviews' AND S.note IS NOT NULL
GROUP BY S.hypothesis, S.note ORDER BY ALL;
