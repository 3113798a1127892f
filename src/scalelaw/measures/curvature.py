"""Curvature of the loss where training ended: the Hessian's largest eigenvalue and its trace.

The Hessian of n parameters is never there as a whole, only its products with vectors (Pearlmutter 1994). The
eigenvalue is ARPACK's, by Lanczos iteration; the trace Hutchinson's (1989): v H v with signs v drawn at even
odds has the mean tr H.
"""

import math

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scalelaw.contracts import Batch
from scalelaw.measures.measure import SEED, Figures, Measure, Subject, counts, mean_nll

FEWEST = 8  # Lanczos vectors: the largest eigenvalues of a trained model's Hessian lie well apart


class Curvature(Measure):
    """rows: validation windows whose mean NLL it is. probes: products for the trace. tolerance: of the
    eigenvalue, relative. products: the most that may go into it."""

    def __init__(self, *, along: bool, rows: int, probes: int, tolerance: float, products: int) -> None:
        super().__init__(along=along)
        counts("curvature", rows=rows, probes=probes, products=products)
        self.rows, self.probes, self.tolerance, self.products = rows, probes, tolerance, products

    def __call__(self, subject: Subject) -> Figures:
        """top_eigenvalue: the largest; None where it has not settled. trace, and trace_error, its standard
        error (None with one probe). Nats a token, over squared units of the parameters."""
        hessian = Hessian(subject.model, subject.batch(self.rows))
        top = largest(hessian, self.tolerance, self.products)
        trace, error = hutchinson(hessian, self.probes)
        return {"top_eigenvalue": top, "trace": trace, "trace_error": error}


class Hessian:
    """Of the mean NLL of a batch by all parameters, as products with vectors."""

    def __init__(self, model: torch.nn.Module, batch: Batch) -> None:
        self.parameters = list(model.parameters())
        self.size = sum(parameter.numel() for parameter in self.parameters)
        self.type, self.device = self.parameters[0].dtype, self.parameters[0].device
        # The fused kernels of attention have no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            slopes = torch.autograd.grad(mean_nll(model, batch), self.parameters, create_graph=True)
        self.gradient = torch.cat([slope.flatten() for slope in slopes])

    def product(self, vector: Tensor) -> Tensor:
        """H v, (n,) each. One graph serves all products."""
        parts = torch.autograd.grad(self.gradient, self.parameters, vector, retain_graph=True)
        return torch.cat([part.flatten() for part in parts])

    def operator(self) -> LinearOperator:
        def matvec(vector: np.ndarray) -> np.ndarray:
            given = torch.from_numpy(np.ascontiguousarray(vector.ravel())).to(self.device, self.type)
            return self.product(given).double().cpu().numpy()

        return LinearOperator((self.size, self.size), matvec=matvec, dtype=np.float64)  # pyright: ignore


def largest(hessian: Hessian, tolerance: float, products: int) -> float | None:
    """The algebraically largest eigenvalue, to a relative tolerance; None after too many products."""
    start = np.random.default_rng(SEED).standard_normal(hessian.size)
    vectors = min(FEWEST, hessian.size - 1)
    # A restart keeps about half of the vectors, and so takes about half as many products.
    restarts = max(1, 2 * (products - vectors) // vectors)
    try:
        found = eigsh(
            hessian.operator(),
            k=1,
            which="LA",
            v0=start,
            ncv=vectors,
            tol=tolerance,  # pyright: ignore[reportArgumentType] (scipy's stubs say int)
            maxiter=restarts,
            return_eigenvectors=False,
        )
    except ArpackError:
        return None
    return float(found[0])


def hutchinson(hessian: Hessian, probes: int) -> tuple[float, float | None]:
    """The trace and its standard error over the probes."""
    generator = torch.Generator().manual_seed(SEED)
    found = []
    for _ in range(probes):
        signs = torch.randint(2, (hessian.size,), generator=generator).mul_(2).sub_(1)
        signs = signs.to(hessian.device, hessian.type)
        found.append(float((signs * hessian.product(signs)).sum(dtype=torch.float64)))
    error = float(np.std(found, ddof=1)) / math.sqrt(probes) if probes > 1 else None
    return float(np.mean(found)), error
