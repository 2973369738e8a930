-- Units, hypotheses and records chosen by tables of one's own.
SELECT U.unit, x.why, t.theme, S.hypothesis, round(S.unit_score, 3) AS score, S.records
INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
FROM units U JOIN suspects x USING (layer, unit), hypotheses H JOIN themes t USING (hypothesis),
     inputs D JOIN readers r USING (record)
WHERE U.model = 'minilm' AND D.dataset = 'reviews' AND r.reader = 'Ada' ORDER BY unit, abs(score) DESC;
