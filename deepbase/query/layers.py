"""Which layers a request means."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from deepbase.blocks import Layer
from deepbase.errors import QueryError, nearest

DEFAULT_KINDS = ("block output", "MLP neurons")


def choose_layers(requests: Sequence[str], layers: Sequence[Layer], refused: Mapping[str, str]) -> tuple[Layer, ...]:
    """The layers that some globs name, in the order in which the model runs them.

    A glob's `*` matches dots too: `encoder.layer.*` is every module below. Without a request, the choice is the block
    outputs and the MLP neurons, or every layer of a model that has neither.

    Args:
        requests: globs over module paths.
        layers: the layers of the model.
        refused: modules whose output has no value per symbol, and why.

    Raises:
        QueryError: if a glob matches nothing.
    """
    if not requests:
        return tuple(x for x in layers if x.kind in DEFAULT_KINDS) or tuple(layers)
    chosen = set()
    for request in requests:
        found = {x.layer for x in layers if x.layer == request or fnmatch.fnmatchcase(x.layer, request)}
        if not found and request in refused:
            raise QueryError(f"layer '{request}' cannot be inspected: {refused[request]}", "Choose another layer.")
        if not found:
            raise QueryError(f"no layer matches '{request}'", nearest(request, [x.layer for x in layers]))
        chosen |= found
    return tuple(x for x in layers if x.layer in chosen)
