"""Ready hypotheses for text: what one would ask of a unit first.

Each is a function with the decorator `deepbase.hypothesis`: its parameters name the columns of `symbols` that it reads,
its return annotation says whether it is a boolean, a number or a category, and the first line of its docstring
describes it. They are ordinary functions and may be called, read and copied as a start for one's own.

- `words`: of the word that a symbol is part of (capitals, digits, punctuation, stop words, sentences).
- `characters`: of the symbol's own text; made for models that read characters.
- `structure`: of the symbol's place in its record (brackets, quotes, lines, repetitions).

A function with a list among its parameters gets a whole record and returns one value per symbol. Some values are
missing in such lists, as where a symbol is part of no word; the answer is then missing too, as None.
"""
