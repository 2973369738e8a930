"""Models: from token ids to the behaviours of units.

`load` finds a model, `inspectable` finds out by tiny forwards what can be read from it and how it wants to be fed,
and `InspectableModel.run` streams the values of the asked layers to a visitor. `import deepbase` does not come here,
because this package loads torch and transformers.
"""

from deepbase.models.base import InspectableModel, Model
from deepbase.models.loading import inspectable, load

__all__ = ["InspectableModel", "Model", "inspectable", "load"]
