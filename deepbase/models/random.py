"""The same architecture with random weights: what a model's structure gives without any training.

A Hugging Face model is made anew from its config, other modules by the `reset_parameters` of their parts. What that
leaves as it was, parameters of a module's own, is drawn from a normal distribution with their mean and standard
deviation. Zhang and Bowman 2018, "Language Modeling Teaches You More Syntax than Translation Does", section 3.

Memory: a second copy of the model.
"""

from __future__ import annotations

import copy

import torch
import transformers
from torch import nn

from deepbase.models.base import InspectableModel


def randomized(model: InspectableModel, seed: int = 0) -> InspectableModel:
    """A copy of a model with random weights.

    Args:
        model: the model, which stays as it is.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[] if model.device.type == "cpu" else [model.device]):
        torch.manual_seed(seed)
        return model.with_module(_initialized(model.module))


@torch.no_grad()
def _initialized(module: nn.Module) -> nn.Module:
    """A copy with weights as at the beginning of a training."""
    if isinstance(module, transformers.PreTrainedModel):
        made: nn.Module = type(module)(copy.deepcopy(module.config))
        return made.to(module.device, module.dtype).train(module.training)
    fresh = copy.deepcopy(module)
    before = {name: p.clone() for name, p in fresh.named_parameters()}
    for part in fresh.modules():
        if callable(reset := getattr(part, "reset_parameters", None)):
            reset()
    for name, parameter in fresh.named_parameters():
        if torch.equal(parameter, before[name]) and parameter.is_floating_point() and parameter.numel() > 1:
            deviation, mean = torch.std_mean(parameter.float())
            parameter.copy_(torch.randn_like(parameter.float()) * deviation + mean)
    return fresh
