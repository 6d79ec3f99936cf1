"""Several style channels as one edit: sparse least squares on what each channel was measured to do.

Wanted is a change of lesion areas; other rows of the Jacobian (vessels, disc, background) stay exactly zero to first
order. The absolute values are penalised, so that few channels move (the lasso, Tibshirani 1996), by the alternating
direction method of multipliers (Boyd et al. 2011, section 6.4) inside the null space of the rows that stay.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

STRUCTURE_ROWS = ("vessel", "od", "background")
"""Rows beside the lesions, which an edit leaves alone: areas of vessels and disc, brightness of the background."""

PENALTY = 0.1
ROUNDS = 500
EDGE = 1e-9


def sparse_composition(
    effects: Tensor,
    wanted: Tensor,
    *,
    kept: Tensor | None = None,
    energy: Tensor | None = None,
    penalty: float = 0.0,
    limit: float | Tensor = float("inf"),
) -> Tensor:
    """Steps `a` `(M,)` that minimise `(|E a - t|^2 + a^T Q a) / 2 + penalty * scale * sum |a|`, with `K a = 0`.

    `effects` E `(L, M)` are the change of each lesion by a unit step along each channel, `wanted` t `(L,)`; `kept` K
    `(N, M)` are rows that must not change, `energy` Q `(M, M)`, positive semidefinite, is what combinations of channels
    change where nothing should. `scale` is the largest absolute entry of `E^T t`: from a penalty of 1 on nothing moves,
    0 is least squares. After the search the chosen channels are fitted again without the penalty, where no step exceeds
    the limit.

    Examples:
        >>> sparse_composition(torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([4.0]), kept=torch.tensor([[0.0, 0, 1]]))
        tensor([4., 0., 0.], dtype=torch.float64)
    """
    e, t, k, q = _checked(effects, wanted, kept, energy, penalty)
    basis = _null_space(k)
    cap = torch.as_tensor(limit, dtype=torch.float64).expand(e.shape[1])
    if not basis.shape[1]:
        return e.new_zeros(e.shape[1])
    exact = _least_squares(e, t, q, basis)
    if penalty == 0 and bool((exact.abs() <= cap + EDGE).all()):
        return exact
    weight = penalty * float((e.T @ t).abs().max())
    steps = _search(e, t, q, basis, weight, cap)
    return _refitted(e, t, k, q, steps, cap)


def compose_channels(
    wanted: Mapping[str, float],
    effects: Mapping[str, Tensor],
    spread: Mapping[str, float],
    limit: Tensor,
    *,
    outside: Tensor | None = None,
) -> Tensor:
    """Steps `(M,)` for changes of lesion areas, `wanted` in units of `spread`, all other rows kept at zero.

    `effects` are `(M,)` by row; `outside` `(M, M)`, products of what two channels change away from the lesions, keeps
    small what they add up to.

    Examples:
        >>> effects = {"ex": torch.tensor([1.0, 0.1]), "vessel": torch.tensor([0.5, 0.5])}
        >>> compose_channels({"ex": 0.9}, effects, dict.fromkeys(effects, 1.0), torch.tensor([9.0, 9.0])).round()
        tensor([ 1., -1.])
    """
    rows = {name: row.double() / spread[name] for name, row in effects.items()}
    lesions = [name for name in rows if name not in STRUCTURE_ROWS]
    kept = [rows[name] for name in rows if name in STRUCTURE_ROWS]
    matrix = torch.stack([rows[name] for name in lesions])
    target = torch.tensor([float(wanted.get(name, 0.0)) for name in lesions])
    energy = None
    if outside is not None:  # in units of a typical channel: as large as what that does to the areas
        own = torch.stack([rows[name] for name in wanted]).square().mean()
        energy = outside.double() * own / outside.double().diagonal().mean().clamp(min=1e-30)
    steps = sparse_composition(
        matrix,
        target,
        kept=torch.stack(kept) if kept else None,
        energy=energy,
        penalty=PENALTY,
        limit=limit.double(),
    )
    return _scaled_to(steps, matrix, target.double(), limit.double()).float()


def _scaled_to(steps: Tensor, matrix: Tensor, target: Tensor, limit: Tensor) -> Tensor:
    """Steps as large as the target wants, by first order, where the limit allows it: penalties made them too small."""
    reached = float((matrix @ steps) @ target / target.square().sum().clamp(min=1e-30))
    allowed = float((limit / steps.abs().clamp(min=1e-30)).min())
    return steps * min(1 / reached, allowed) if reached > 1e-6 else torch.zeros_like(steps)


def _checked(
    effects: Tensor, wanted: Tensor, kept: Tensor | None, energy: Tensor | None, penalty: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    e, t = effects.double().cpu(), wanted.double().cpu()
    if e.ndim != 2 or t.shape != e.shape[:1] or not 0 <= penalty <= 1:
        raise ValueError(
            f"effects {tuple(e.shape)}, wanted {tuple(t.shape)}, penalty {penalty}: want (L, M), (L,) and 0 to 1"
        )
    count = e.shape[1]
    k = e.new_zeros(0, count) if kept is None else kept.double().cpu()
    q = e.new_zeros(count, count) if energy is None else energy.double().cpu()
    if k.ndim != 2 or k.shape[1] != count or q.shape != (count, count):
        raise ValueError(
            f"kept {tuple(k.shape)}, energy {tuple(q.shape)}: want (N, {count}) and ({count}, {count}), as many "
            "channels as effects have"
        )
    if not all(bool(x.isfinite().all()) for x in (e, t, k, q)):
        raise ValueError("effects, wanted, kept and energy must be finite")
    return e, t, k, q


def _least_squares(e: Tensor, t: Tensor, q: Tensor, basis: Tensor) -> Tensor:
    """Minimum without penalty, inside the columns of `basis`; the shortest one."""
    if not bool(q.any()):
        return basis @ (torch.linalg.pinv(e @ basis) @ t)
    return basis @ (torch.linalg.pinv(basis.T @ (e.T @ e + q) @ basis, hermitian=True) @ (basis.T @ (e.T @ t)))


def _null_space(rows: Tensor) -> Tensor:
    """Orthonormal columns that every row maps to zero."""
    if not rows.numel():
        return torch.eye(rows.shape[1], dtype=rows.dtype)
    _, values, right = torch.linalg.svd(rows, full_matrices=True)
    rank = int((values > 1e-10 * values.max().clamp(min=1e-300)).sum())
    return right[rank:].T


def _search(e: Tensor, t: Tensor, q: Tensor, basis: Tensor, weight: float, cap: Tensor) -> Tensor:
    whole = e.T @ e + q
    scale = float(whole.diagonal().mean().clamp(min=1e-30))
    normal = basis.T @ (whole + scale * torch.eye(e.shape[1], dtype=e.dtype)) @ basis
    factor, target = torch.linalg.cholesky(normal), e.T @ t
    z = u = e.new_zeros(e.shape[1])
    for _ in range(ROUNDS):
        right = basis.T @ (target + scale * (z - u))
        a = basis @ torch.cholesky_solve(right[:, None], factor)[:, 0]
        z = torch.nn.functional.softshrink(a + u, weight / scale).clamp(-cap, cap)
        u = u + a - z
    return z


def _refitted(e: Tensor, t: Tensor, k: Tensor, q: Tensor, steps: Tensor, cap: Tensor) -> Tensor:
    """Least squares on the channels that the search chose; the search's own steps, drawn to the kept rows, if worse."""
    chosen = steps.abs() > 1e-6 * steps.abs().max().clamp(min=1e-300)
    basis = _null_space(k[:, chosen])
    if basis.shape[1]:
        fitted = e.new_zeros(e.shape[1])
        fitted[chosen] = _least_squares(e[:, chosen], t, q[chosen][:, chosen], basis)
        if bool((fitted.abs() <= cap + EDGE).all()):
            return fitted
    whole = _null_space(k)
    inside = whole @ (whole.T @ steps)
    excess = (inside.abs() / cap.clamp(min=1e-300)).max().clamp(min=1.0)
    return inside / excess
