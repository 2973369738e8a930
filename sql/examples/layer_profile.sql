-- Where in the model does each concept live? The best unit of each layer, a column a concept.
PIVOT (
    SELECT U.layer, H.hypothesis, S.unit_score
    INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
    FROM models M, units U, hypotheses H, inputs D
    WHERE M.model = 'minilm' AND U.layer SIMILAR TO 'encoder.layer.[0-9]' AND D.dataset = 'reviews'
      AND H.hypothesis IN ('is_negation', 'is_capitalized', 'after_comma')
) ON hypothesis USING round(max(abs(unit_score)), 3) GROUP BY layer ORDER BY layer;
