"""Compiled loops and torch fold a batch into the same sums."""

from __future__ import annotations

import pytest
import torch

from deepbase.measures import compile as compiling
from deepbase.measures import facts, moments
from deepbase.measures.batch import ROWS, BatchLabels
from deepbase.measures.facts import UnitSums
from deepbase.measures.fold import TILE
from deepbase.measures.moments import PairMoments


def batch(symbols, *, kinds, nulls, records=40, seed=0):
    made = torch.Generator().manual_seed(seed)
    columns = len(kinds)
    y = torch.randn(symbols, columns, generator=made)
    for i, kind in enumerate(kinds):
        if kind == "boolean":
            y[:, i] = (y[:, i] > 1).float()
    null_class = torch.arange(columns) % 2 if nulls else torch.zeros(columns, dtype=torch.long)
    valid = (torch.rand(symbols, 2, generator=made) > 0.3).float() if nulls else None
    if valid is not None:
        y = y * valid[:, null_class]
    record = torch.randint(records, (symbols,), generator=made).sort().values
    return BatchLabels(y, valid, null_class, torch.zeros(columns, dtype=torch.float64), record, kinds)


def same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(
            value, b[name], rtol=1e-5, atol=1e-3, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("nulls", [False, True])
@pytest.mark.parametrize("kinds", [("boolean",) * 5, ("boolean", "number", "number")])
@pytest.mark.parametrize(("symbols", "units"), [(1, 1), (300, TILE + 3), (20 * ROWS, 5), (0, 3)])
def test_loops_and_torch_fold_alike(monkeypatch, symbols, units, kinds, nulls):
    labels = batch(symbols, kinds=kinds, nulls=nulls, records=1 if symbols > ROWS else 40)
    x = torch.randn(symbols, units, generator=torch.Generator().manual_seed(1)) * 3 + 1e4
    if symbols > 2 and units > 2:
        x[1, 0], x[2, 1] = torch.nan, torch.inf
    first = [kind.first(x, labels, 0).update(x, labels) for kind in (PairMoments, UnitSums)]
    monkeypatch.setattr(moments, "loops", lambda: None)
    monkeypatch.setattr(facts, "loops", lambda: None)
    second = [kind.first(x, labels, 0).update(x, labels) for kind in (PairMoments, UnitSums)]
    finite = first[0].finite
    assert torch.equal(finite, second[0].finite)
    assert finite.sum() == (units - 2 if symbols > 2 and units > 2 else units)
    for a, b in zip(first, second, strict=True):
        clean = [{n: v[..., finite] if v.shape[-1] == units else v for n, v in s.arrays().items()} for s in (a, b)]
        same(*clean)


@pytest.fixture(params=["the threads of torch", "others"])
def _team(request, monkeypatch):
    if request.param == "others":
        monkeypatch.setattr(compiling, "_openmp", lambda: None)


@pytest.mark.usefixtures("_team")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("units", [0, 1, 63, 64, 65, 128, 129, 1000])
def test_shares_are_each_unit_once(monkeypatch, threads, units):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    seen = []
    compiling.in_shares(units, 64, lambda first, last: seen.extend(range(first, last)))
    assert sorted(seen) == list(range(units))


@pytest.mark.usefixtures("_team")
def test_what_goes_wrong_in_a_share_comes_out(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def work(first, _last):
        if first:
            raise ValueError("second share")

    with pytest.raises(ValueError, match="second share"):
        compiling.in_shares(128, 64, work)
