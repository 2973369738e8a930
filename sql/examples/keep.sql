-- Scores as a Parquet file, for any other tool.
COPY (
    SELECT S.layer, S.unit, S.hypothesis, S.unit_score
    INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
    FROM units U, hypotheses H, inputs D
    WHERE U.model = 'minilm' AND U.layer = 'encoder.layer.5' AND H.hypothesis LIKE 'place=%' AND D.dataset = 'reviews'
) TO 'scores.parquet';
SELECT hypothesis, count(*) AS scores FROM 'scores.parquet' GROUP BY hypothesis ORDER BY hypothesis;
