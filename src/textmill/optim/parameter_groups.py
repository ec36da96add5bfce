"""Groups of parameters that optimizers treat differently: matrices, embeddings, vectors."""

from typing import Any

from torch import nn

EMBEDDING_TYPES = (nn.Embedding,)


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimizer groups `matrices`, `embeddings` and `vectors` of every trainable parameter of `model`, once.

    Matrices (two dimensions and more) are decayed. Embeddings, which include the output head, and vectors (norm gains,
    biases) are not: pulling a rare token's row or a gain towards zero regularises nothing (arXiv:2501.00656, 3.4.2).
    Each group carries its `name`. Empty groups are omitted.
    """
    matrices, embeddings, vectors = [], [], []
    tables = {id(table.weight) for table in model.modules() if isinstance(table, EMBEDDING_TYPES)}
    head = getattr(model, "lm_head", None)
    if isinstance(head, nn.Linear):
        tables.add(id(head.weight))
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in tables:
            embeddings.append(parameter)
        elif parameter.ndim >= 2:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    groups = [
        {"params": matrices, "weight_decay": weight_decay, "name": "matrices"},
        {"params": embeddings, "weight_decay": 0.0, "name": "embeddings"},
        {"params": vectors, "weight_decay": 0.0, "name": "vectors"},
    ]
    return [group for group in groups if group["params"]]
