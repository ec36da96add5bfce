"""The nearest semi-orthogonal matrix, by matrix products alone."""

import torch
from torch import Tensor

POLYNOMIALS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)
"""Coefficients (a, b, c) of the odd polynomials a x + b x^3 + c x^5 that, one after the other, bring singular values
from 0.001 to 1 nearest to 1: Polar Express, Amsel et al. 2025 (arXiv:2505.16932, algorithm 1)."""

_SAFETY = 1.01
"""Rounding may lift a singular value above 1, where the polynomials grow: they are evaluated at x / 1.01 (4.4)."""


def orthogonalise(matrices: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return matrices (n, A, B) whose singular values lie near 1 and whose singular vectors are those of `matrices`.

    Iterates X <- aX + (bXX' + c(XX')^2)X in `dtype` from X = M / |M|, on the orientation with the smaller Gram matrix.
    Singular values below a thousandth of the Frobenius norm stay smaller than 1.
    """
    x = matrices.to(dtype)
    transposed = x.size(-2) > x.size(-1)
    if transposed:
        x = x.mT
    x = x / (_SAFETY * x.norm(dim=(-2, -1), keepdim=True)).clamp(min=1e-7)
    for a, b, c in ((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in POLYNOMIALS):
        gram = x @ x.mT  # (n, A, A)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # (n, A, A)
        x = torch.baddbmm(x, polynomial, x, beta=a)  # (n, A, B)
    return x.mT if transposed else x
