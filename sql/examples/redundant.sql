-- Which units of a layer say the same? Units that hardly move are left out, since their correlation is noise.
WITH behaviors AS (
    SELECT record, position, i AS unit, unit(activation, i) AS value
    FROM activations('minilm', 'reviews'), range(384) AS units(i) WHERE layer = 'encoder.layer.5'
)
SELECT a.unit, b.unit AS other, round(corr(a.value, b.value), 3) AS correlation
FROM behaviors a JOIN behaviors b USING (record, position) WHERE a.unit < b.unit
GROUP BY a.unit, b.unit HAVING least(stddev(a.value), stddev(b.value)) > 1e-6
ORDER BY abs(corr(a.value, b.value)) DESC LIMIT 3;
