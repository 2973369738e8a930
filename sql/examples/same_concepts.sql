-- Are two concepts the same? How hypotheses correlate with each other.
SELECT round(corr(a.value, b.value), 3) AS with_first_word, round(corr(a.value, c.value), 3) AS with_stopword
FROM hypothesis_values('reviews', 'minilm', 'is_capitalized') a
JOIN hypothesis_values('reviews', 'minilm', 'starts_sentence') b USING (record, position)
JOIN hypothesis_values('reviews', 'minilm', 'is_stopword') c USING (record, position);
