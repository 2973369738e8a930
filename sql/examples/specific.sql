-- Which units are about one hypothesis alone, far ahead of their second best?
WITH found AS (
    SELECT S.*
    INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
    FROM models M, units U, hypotheses H, inputs D
    WHERE M.model = 'minilm' AND U.layer LIKE 'encoder.layer._.intermediate' AND D.dataset = 'reviews'
      AND H.hypothesis IN ('is_negation', 'is_capitalized', 'is_stopword', 'is_pronoun', 'long_word', 'after_comma')
)
SELECT layer, unit, hypothesis, round(unit_score, 3) AS score,
       round(abs(unit_score) - lead(abs(unit_score)) OVER best_first, 3) AS ahead
FROM found WHERE unit_score IS NOT NULL
WINDOW best_first AS (PARTITION BY layer, unit ORDER BY abs(unit_score) DESC)
QUALIFY row_number() OVER best_first = 1 ORDER BY ahead DESC LIMIT 5;
