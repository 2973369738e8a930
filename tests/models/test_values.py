"""The values of units are those of the forward itself, however sequences are batched and padded."""

from dataclasses import replace

import pytest
import torch

from deepbase.errors import ModelError

FAMILIES = ["bert", "roberta", "albert", "gpt2", "llama", "t5", "bart"]
ROWS = [[2, 4, 5, 6, 3], [2, 9, 10, 11, 12, 13, 14, 15, 3], [2, 3]]


def _hidden_states(module, row):
    with torch.inference_mode():
        return module(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states


def _hand_hooks(module, row):
    """The first tensor of the output of every module, by its name, for one sequence alone."""
    seen, hooks = {}, []
    for name, part in module.named_modules():

        def keep(_, __, output, name=name):
            while isinstance(output, (tuple, list, dict)):
                output = next(iter(output.values() if isinstance(output, dict) else output))
            seen[name] = output

        hooks.append(part.register_forward_hook(keep))
    with torch.inference_mode():
        module(input_ids=torch.tensor([row]))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(
    ("family", "layers"),
    [
        ("bert", ["embeddings", "encoder.layer.0"]),
        ("roberta", ["embeddings", "encoder.layer.0"]),
        ("gpt2", ["drop", "h.0"]),
        ("llama", ["embed_tokens", "layers.0"]),
        ("t5", ["encoder.embed_tokens", "encoder.block.0"]),
    ],
)
def test_block_outputs_are_the_hidden_states(opened, batch, collect, family, layers):
    model = opened(family)
    row = ROWS[1]
    expected = _hidden_states(model._model.module, row)
    got = collect(model, batch([row]), layers)
    for i, layer in enumerate(layers):
        torch.testing.assert_close(got[layer], expected[i][0], atol=1e-6, rtol=0)


def test_the_last_call_of_a_shared_block_counts(opened, batch, collect):
    model = opened("albert")
    block = "encoder.albert_layer_groups.0"
    got = collect(model, batch([ROWS[1]]), [block])
    torch.testing.assert_close(got[block], _hidden_states(model._model.module, ROWS[1])[-1][0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_equals_a_hand_written_hook(opened, batch, collect, family):
    model = opened(family)
    expected = _hand_hooks(model._model.module, ROWS[1])
    got = collect(model, batch([ROWS[1]]))
    assert list(got) == [layer.layer for layer in model.layers]
    for layer in model.layers:
        assert got[layer.layer].shape == (len(ROWS[1]), layer.width)
        torch.testing.assert_close(got[layer.layer], expected[layer.layer].reshape(-1, layer.width))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "bart"])
def test_padding_on_either_side_changes_nothing(opened, batch, collect, family, side):
    model = opened(family, padding=side)
    assert model.input_format.padding == side
    together = collect(model, batch(ROWS, side, model.input_format.pad_id))
    alone = [collect(model, batch([row])) for row in ROWS]
    for layer, values in together.items():
        expected = torch.cat([each[layer] for each in alone])
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(values, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_are_padded_on_the_right(opened, family):
    assert opened(family).input_format.padding == "right"


def test_a_side_that_would_shift_positions_is_refused(opened):
    with pytest.raises(ModelError) as raised:
        opened("bart", padding="left")
    assert str(raised.value) == (
        "BartEncoder cannot be padded on the left: its layer 'embed_positions' then has other values. "
        "Leave padding out to find out what is safe"
    )


def test_only_the_symbols_asked_for_are_gathered_in_their_order(opened, batch, collect):
    model = opened("bert")
    whole = batch(ROWS)
    take = whole.take[[7, 2, 2, 0]]
    few = replace(whole, take=take, symbol=whole.symbol[:4], symbols=4)
    got = collect(model, few, ["encoder.layer.1"])["encoder.layer.1"]
    torch.testing.assert_close(got, collect(model, whole, ["encoder.layer.1"])["encoder.layer.1"][[7, 2, 2, 0]])


def test_half_precision_is_handed_over_as_float32(opened, batch, collect):
    model = opened("bert", dtype=torch.bfloat16)
    got = collect(model, batch(ROWS), ["encoder.layer.1"])["encoder.layer.1"]
    assert got.dtype == torch.float32
