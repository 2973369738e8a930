"""A request is checked when it is made, and is read back as it was written; which units it means."""

from __future__ import annotations

import json

import pytest

from deepbase.blocks import Layer
from deepbase.errors import QueryError
from deepbase.query.base import InspectSpec
from deepbase.query.layers import check_units, choose_units

UNITS = {"a": {"x.y": ((0, 3), (7, 8))}, "b": {"z": ((1, 2),)}}
LAYERS = [Layer("x", 0, 4, "block output"), Layer("x.act", 1, 8, "MLP neurons"), Layer("head", 2, 2, "other")]
REFUSED = {"rnn": "it returns a tuple"}


def spec(**options) -> InspectSpec:
    return InspectSpec(**{"models": ("a", "b"), "dataset": "d", "hypotheses": ("h",), **options})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"units": UNITS, "group_by": ("inputs.g", "models.epoch"), "query": "SELECT 1", "selection": "x", "error": 0.5},
    ],
)
def test_a_spec_is_read_back_as_it_was_written(options):
    made = spec(**options)
    assert InspectSpec.from_json({**json.loads(json.dumps(made.as_json())), "fingerprints": {}}) == made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ()}, "an inspection needs a model. Name at least one."),
        ({"models": ("a", "a")}, "models has 'a' twice. Name it once."),
        ({"error": 0}, "error cannot be 0. Give a number above 0 and below 1."),
        ({"error": "x"}, "error cannot be 'x'. Give a number above 0 and below 1."),
        ({"error": float("nan")}, "error cannot be nan. Give a number above 0 and below 1."),
        ({"confidence": 0.4}, "confidence cannot be 0.4. Give a number from 0.5 up and below 1."),
        ({"confidence": 1}, "confidence cannot be 1. Give a number from 0.5 up and below 1."),
        ({"units": UNITS, "layers": ("x",)}, "the units that are asked for have their layers already. Leave layers "
            "out."),
        ({"units": {"a": UNITS["a"]}}, "units are asked for of other models than are inspected. Name units of each "
            "model."),
        ({"units": {**UNITS, "b": {}}}, "no unit of model 'b' is asked for. Name one, or leave the model out."),
        ({"units": {**UNITS, "b": {"z": ((3, 4), (1, 2))}}}, "the units of layer 'z' of model 'b' cannot be "
            "((3, 4), (1, 2)). Give ascending half-open ranges, as in ((0, 3), (7, 8))."),
    ],
)  # fmt: skip
def test_a_request_out_of_range_is_refused(options, message):
    with pytest.raises(QueryError) as error:
        spec(**options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("layers", "units", "found"),
    [
        ((), [1, 0, 3], {"x": ((0, 2), (3, 4)), "x.act": ((0, 2), (3, 4))}),
        (("head",), (1,), {"head": ((1, 2),)}),
        (("x*",), 2, {"x": ((2, 3),), "x.act": ((2, 3),)}),
        ((), {"x*": [1], "x.act": [2, 7]}, {"x": ((1, 2),), "x.act": ((1, 3), (7, 8))}),
    ],
)
def test_units_are_numbers_for_every_layer_or_by_layer(layers, units, found):
    assert choose_units(layers, units, LAYERS, REFUSED, "net") == found


@pytest.mark.parametrize(
    ("layers", "units", "message"),
    [
        ((), [4], "layer 'x' of model 'net' has no unit 4. Its units are 0 to 3."),
        ((), {"x.akt": [0]}, "no layer of model 'net' matches 'x.akt'. Did you mean 'x.act'?"),
        ((), {"rnn": [0]}, "layer 'rnn' of model 'net' cannot be inspected: it returns a tuple. Choose another layer."),
        ((), [-1], "-1 is no unit. Units are whole numbers from 0 up."),
        ((), [1.0], "1.0 is no unit. Units are whole numbers from 0 up."),
        ((), "1", "'1' is no unit. Units are whole numbers from 0 up."),
        ((), [], "no unit of layer 'x' of model 'net' is asked for. Name at least one."),
        (("x",), {"x": [0]}, "the units that are asked for have their layers already. Leave layers out."),
    ],
)
def test_units_that_are_not_there_are_refused(layers, units, message):
    with pytest.raises(QueryError) as error:
        choose_units(layers, units, LAYERS, REFUSED, "net")
    assert str(error.value) == message


def test_ranges_of_units_are_checked_against_the_layers():
    assert check_units({"head": ((0, 2),), "x": ((1, 2),)}, LAYERS, REFUSED, "net") == (
        (LAYERS[0], ((1, 2),)), (LAYERS[2], ((0, 2),)),
    )  # fmt: skip
    with pytest.raises(QueryError, match="model 'net' has no layer 'y'"):
        check_units({"y": ((0, 1),)}, LAYERS, REFUSED, "net")
    with pytest.raises(QueryError, match="layer 'rnn' of model 'net' cannot be inspected"):
        check_units({"rnn": ((0, 1),)}, LAYERS, REFUSED, "net")
