"""The layers of a model, whoever wrote it."""

from torch import nn


def repeated_layers(model: nn.Module, prefix: str = "") -> dict[str, nn.Module]:
    """Return the repeated parts of a model by name: the children of its outermost ModuleLists, first to last."""
    found: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            found |= {f"{prefix}{name}.{number}": layer for number, layer in child.named_children()}
        else:
            found |= repeated_layers(child, f"{prefix}{name}.")
    return found
