"""Groups of parameters that optimizers treat differently: matrices, embeddings, vectors."""

from typing import Any

from torch import nn


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimizer groups `matrices`, `embeddings` and `vectors` of every trainable parameter of `model`, once.

    Matrices (two dimensions and more) are decayed. Embeddings, which include the output head, and vectors (norm gains,
    biases) are not: pulling a rare token's row or a gain towards zero regularises nothing (arXiv:2501.00656, 3.4.2).
    Each group carries its `name`. Empty groups are omitted.
    """
    tables = {id(table.weight) for table in model.modules() if isinstance(table, nn.Embedding)}
    head = getattr(model, "lm_head", None)
    if isinstance(head, nn.Linear):
        tables.add(id(head.weight))
    groups: dict[str, list[nn.Parameter]] = {"matrices": [], "embeddings": [], "vectors": []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            matrix = "matrices" if parameter.ndim >= 2 else "vectors"
            groups["embeddings" if id(parameter) in tables else matrix].append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if name == "matrices" else 0.0, "name": name}
        for name, parameters in groups.items()
        if parameters
    ]
