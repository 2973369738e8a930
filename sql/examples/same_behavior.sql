-- Which units of a later checkpoint behave like a unit of an earlier one?
SELECT i AS unit, round(corr(a.value, unit(b.activation, i)), 1) AS similarity
FROM unit_activations('chars-16', 'reviews', 'memory', 10) a
JOIN activations('chars-64', 'reviews') b USING (record, position), range(48) AS units(i)
WHERE b.layer = 'memory' GROUP BY i ORDER BY abs(corr(a.value, unit(b.activation, i))) DESC LIMIT 3;
