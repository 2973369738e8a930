"""The running example of the paper: a character model of SQL, and the grammar that it was taught.

DeepBase's paper (Sellam et al., SIGMOD 2019) inspects a recurrent network that completes SQL queries sampled from a
probabilistic grammar. The example is a good first inspection because its ground truth is known: the grammar itself
says which characters are inside a WHERE clause, a subquery or a string, so one can ask which units follow which rule.

- `grammar`: the grammar of `sql.pcfg`, queries sampled from it, and their annotation by character.
- `model`: the network, with the weights that ship with the package.
- `train`: `python -m deepbase.demo.train` makes these weights again from a seed.
"""
