"""What a run carries from block to block can be written, read, and gone on from without losing a bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import safe_open

from deepbase.blocks import Block
from deepbase.engine.base import RunState, SliceState
from deepbase.measures.registry import MEASURES
from deepbase.testing import CPU, block_state, hard_data, label_shift

KINDS = tuple(dict.fromkeys(m.state_type for m in MEASURES.values() if m.state_type.saved))
LAYERS = ("encoder.layer.0", "h.1.mlp/odd name", "module")
DATA = hard_data(90)
SHIFT = label_shift(DATA)


ONE = ((), "net")
KEYS = [ONE, (("news", None), "net"), (("NULL", "it's"), "other/net")]


def block(index: int, records: int, symbols: int, **counts: int) -> Block:
    return Block(index, pa.table({"record": np.zeros(symbols)}), [], records, counts)


def states(first: int, end: int, like: SliceState | None = None) -> dict:
    """The states of all layers over some symbols, with the pilots of a run."""
    return {
        layer: {
            k: block_state(k, DATA.rows(first, end), shift=SHIFT, like=like.layers[layer][k] if like else None)
            for k in KINDS
        }
        for layer in LAYERS
    }


def coverage(first: int, end: int) -> dict[str, np.ndarray]:
    """Symbols, one record for ten of them, and the half of these with something true."""
    symbols = (~np.isnan(DATA.y[first:end])).sum(0)
    records = symbols // 10
    return {"symbols": symbols, "records": records, "with_true": records // 2, "with_false": records - 1}


def folded(blocks: Sequence[tuple[int, int]], state: RunState | None = None, keys=KEYS) -> RunState:
    """A run over some blocks, of which each model and slice sees all symbols; a slice may begin late."""
    state = state or RunState()
    for first, end in blocks:
        seen = keys[: 1 + state.next_block] if end > first else []
        partial = {
            key: SliceState(SHIFT, **coverage(first, end), layers=states(first, end, state.slices.get(key)))
            for key in seen
        }
        state = state.after([block(state.next_block, 3, end - first, records_cut=1)], partial)
    return state


def again(state: RunState) -> RunState:
    return RunState.from_bytes(state.to_bytes(), KINDS, CPU)


def assert_same(a: RunState, b: RunState) -> None:
    for name in ("next_block", "records_seen", "symbols_seen"):
        assert getattr(a, name) == getattr(b, name)
    assert dict(a.counts) == dict(b.counts)
    assert list(a.slices) == list(b.slices)
    for key, mine in a.slices.items():
        assert_same_slice(mine, b.slices[key])


def assert_same_slice(a: SliceState, b: SliceState) -> None:
    for name in ("label_shift", "symbols", "records", "with_true", "with_false"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert {k: set(v) for k, v in a.layers.items()} == {k: set(v) for k, v in b.layers.items()}
    for layer, kinds in a.layers.items():
        for kind, state in kinds.items():
            mine, other = state.arrays(), b.layers[layer][kind].arrays()
            assert mine.keys() == other.keys()
            for name, array in mine.items():
                assert array.dtype == other[name].dtype
                assert torch.equal(array.nan_to_num(7.5), other[name].nan_to_num(7.5)), (layer, name)


@pytest.mark.parametrize("blocks", [[], [(0, 40)], [(0, 40), (40, 50), (50, 90)], [(0, 0), (0, 30), (30, 30)]])
def test_a_state_is_read_back_as_it_was_written(blocks):
    state = folded(blocks)
    assert_same(state, again(state))
    assert state.to_bytes() == again(state).to_bytes()


def test_a_state_that_was_read_back_goes_on_to_the_same_bits():
    rest = [(40, 50), (50, 90)]
    begun = folded([(0, 40)])
    assert_same(folded(rest, begun), folded(rest, again(begun)))


def test_going_on_leaves_the_state_that_it_went_on_from():
    begun = folded([(0, 40)])
    before = again(begun)
    folded([(40, 90)], begun)
    assert_same(begun, before)


def test_what_was_seen_is_counted():
    state = folded([(0, 40), (40, 40), (40, 90)])
    assert (state.next_block, state.records_seen, state.symbols_seen) == (3, 9, 90)
    assert state.counts == {"records_cut": 3}
    known = ~np.isnan(DATA.y)
    one = state.slices[ONE]
    assert one.symbols.tolist() == known.sum(0).tolist()
    assert one.records.tolist() == (known[:40].sum(0) // 10 + known[40:].sum(0) // 10).tolist()


def test_records_are_counted_once_and_symbols_for_every_model():
    state = RunState().after([block(0, 3, 40, records_cut=1), block(0, 3, 25, records_cut=2)], {})
    assert (state.next_block, state.records_seen, state.symbols_seen) == (1, 3, 65)
    assert state.counts == {"records_cut": 3}


def test_losses_of_a_later_kind_are_counted_as_well():
    state = RunState().after([block(0, 1, 0, a=1)], {})
    state = state.after([block(1, 1, 0, b=2)], {})
    assert state.counts == {"a": 1, "b": 2}


def test_a_state_is_written_as_plain_safetensors(tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(folded([(0, 40)]).to_bytes())
    with safe_open(path, "pt") as file:
        assert any(LAYERS[1] in name for name in file.keys())  # noqa: SIM118
        assert file.get_tensor("0/symbols").dtype == torch.int64
