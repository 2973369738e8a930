-- How often is each concept true? Hypotheses are functions over the symbols.
SELECT count(*) AS symbols, round(avg(is_negation(word)::INT), 3) AS negation,
       round(avg(is_capitalized(word)::INT), 3) AS capitalized, round(avg(is_stopword(word)::INT), 3) AS stopword
FROM symbols('reviews', 'minilm');
