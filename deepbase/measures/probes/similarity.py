"""How similar two groups of units are, over the same symbols: CKA and CCA.

With X and Y, the activations of the two groups, about their means:

* Linear centered kernel alignment (Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited",
  section 3) is `|Y'X|_F^2 / (|X'X|_F |Y'Y|_F)`. The numerator is a sum over the units u of the first group of
  `|Y'x_u|^2`, so each unit has its share. The measure is biased upwards where there are few symbols for the units.
  Debiased, each of the three terms is replaced by the unbiased estimator of HSIC (Song et al. 2012, eq. 5; its use for
  CKA: Murphy et al. 2024, "Correcting Biased Centered Kernel Alignment Measures"), which in the space of the units is,
  with the rows x_i and y_i,

      |Y'X|_F^2 - n / (n - 2) sum_i |x_i|^2 |y_i|^2 + |X|_F^2 |Y|_F^2 / ((n - 1) (n - 2)),

  again a sum over the units of either group.
* The canonical correlations are the singular values of `(X'X)^-1/2 X'Y (Y'Y)^-1/2` (Hotelling 1936; the same as of `Qx'
  Qy` from QR factorizations, Björck and Golub 1973), as many as the smaller rank. Their mean is the similarity of Raghu
  et al. 2017, "SVCCA", who first reduce both groups to the principal components that hold 99 % of the variance. Its
  weighted mean, PWCCA (Morcos et al. 2018, "Insights on representational similarity", section 3), weights each by how
  much of the first group it accounts for, `sum over units j of |h'x_j|` for the variate h. With no more symbols than
  units all correlations are 1, of anything; so the directions that were found on some symbols are tried on others
  (`held_out`).

Precision. What is centred in float64 is rounded to float32; products of `PORTION` symbols are in float32 for CKA and in
float64 for CCA, which inverts them, and added up in float64. Principal components below rounding
(`Gram.tolerance`) are left out.

The products of CKA are summed by group of records, so that its error follows from what it is without each group in
turn: the delete-a-group jackknife (Wolter 2007, Introduction to Variance Estimation, section 4.2), whose bias is that
of few symbols for many units, too.

Memory: for CKA a tile of `PANEL` by `PANEL` products for each group of records, however many units there are; for CCA
three float64[unit, unit] of each group, which its caller may keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self, final

import torch
from torch import Tensor

from deepbase.measures.probes.gram import Gram, Sums, spectrum
from deepbase.measures.probes.rows import PORTION

PANEL = 1024
"""Units of either group whose products are summed at the same time."""

Read = Callable[[slice], Iterator[Tensor]]
"""Some units about their means, float32[symbol, unit], a chunk at a time: the same symbols of both groups."""


@final
@dataclass(frozen=True)
class Products:
    """The squared products of two groups, by unit; what it takes to correct their bias is there if it was asked for.

    Attributes:
        first: float64[unit of the first], `|Y'x_u|^2`, or what is unbiased in its place.
        second: float64[unit of the second].
        without: float64[group], the sum of all symbols but those of a group of records, about their own means.
    """

    first: Tensor
    second: Tensor
    without: Tensor

    @property
    def whole(self) -> float:
        """The sum, which is the same over the units of either."""
        return float(self.first.sum())

    @classmethod
    def of(cls, x: Read, y: Read, units: tuple[int, int], group: Tensor, *, unbiased: bool = False) -> Self:
        """Read both groups: once for each pair of panels.

        Args:
            x: the first group.
            y: the second.
            units: how many each has.
            group: int64[symbol], the group of records of each; at least 4 symbols for an unbiased estimate.
            unbiased: whether to correct the bias, which takes one more pass.
        """
        first, second = (torch.zeros(n, dtype=torch.float64) for n in units)
        symbols, groups = torch.bincount(group), _Groups(group)
        without = torch.zeros(len(symbols), dtype=torch.float64)
        for a in _panels(units[0]):
            for b in _panels(units[1]):
                parts = _products(x, y, a, b, groups)
                without += parts.without(symbols).cpu()
                square = parts.product.sum(0).square_()
                first[a] += square.sum(1).cpu()
                second[b] += square.sum(0).cpu()
        found = cls(first, second, without)
        return found._corrected(x, y, group) if unbiased else found

    def _corrected(self, x: Read, y: Read, group: Tensor) -> Self:
        n, groups = len(group), len(self.without)
        weighted = [torch.zeros_like(self.first), torch.zeros_like(self.second)]
        sizes = [torch.zeros_like(self.first), torch.zeros_like(self.second)]
        by_group = torch.zeros(groups, 4, dtype=torch.float64)
        at = 0
        for pair in zip(x(slice(None)), y(slice(None)), strict=True):
            squares = [values.double().square_() for values in pair]
            of_symbols = [v.sum(1).cpu() for v in squares]
            for i in (0, 1):
                weighted[i] += (squares[1 - i].sum(1) @ squares[i]).cpu()
                sizes[i] += squares[i].sum(0).cpu()
            one, other = of_symbols
            sums = torch.stack([one * other, one, other, torch.ones_like(one)], 1)
            by_group.index_add_(0, group[at : at + len(one)], sums)
            at += len(one)
        unbiased = [
            product - n / (n - 2) * weighted[i] + sizes[i] * sizes[1 - i].sum() / ((n - 1) * (n - 2))
            for i, product in enumerate((self.first, self.second))
        ]
        both, one, other, left = (by_group.sum(0) - by_group).unbind(1)
        less = left / (left - 2) * both - one * other / ((left - 1) * (left - 2))
        first, second = unbiased
        return type(self)(first, second, self.without - less)


def _panels(units: int) -> list[slice]:
    return [slice(i, min(i + PANEL, units)) for i in range(0, units, PANEL)]


class _Groups:
    """Groups of records, int64[symbol], and which symbols of a chunk are of each."""

    def __init__(self, group: Tensor) -> None:
        self.group, self.count = group, int(group.max()) + 1
        self.known: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}

    def portions(self, first: int, symbols: int) -> list[tuple[int, Tensor]]:
        """Groups, and the places of at most `PORTION` symbols of each within the chunk."""
        if (first, symbols) not in self.known:
            own = self.group[first : first + symbols]
            order, sizes = own.argsort(stable=True), torch.bincount(own, minlength=self.count).tolist()
            several = zip(range(self.count), torch.split(order, sizes), strict=True)
            self.known[first, symbols] = [
                (g, some) for g, rows in several for some in torch.split(rows, PORTION) if len(some)
            ]
        return self.known[first, symbols]


class _Parts(NamedTuple):
    """The products of some units, by group of records.

    Attributes:
        product: float64[group, unit of the first, unit of the second].
        first: float64[group, unit of the first], the sums of the units.
        second: float64[group, unit of the second].
    """

    product: Tensor
    first: Tensor
    second: Tensor

    def without(self, symbols: Tensor) -> Tensor:
        """float64[group], the sum of the squared products of all groups but one, about their own means.

        Args:
            symbols: int64[group], how many there are.
        """
        whole = self.product.sum(0)
        left = (symbols.sum() - symbols).clamp_min(1).to(whole.device)
        found, rest = [], torch.empty_like(whole)
        for part, one, other, n in zip(*self, left, strict=True):
            torch.sub(whole, part, out=rest).addr_(one, other, alpha=-1 / float(n))
            found.append(torch.dot(rest.view(-1), rest.view(-1)))
        return torch.stack(found)


def _products(x: Read, y: Read, a: slice, b: slice, group: _Groups) -> _Parts:
    """The sums of products of some units, by group of records."""
    found: _Parts | None = None
    at = 0
    for left, right in zip(x(a), y(b), strict=True):
        if found is None:
            groups = group.count
            found = _Parts(
                *(
                    torch.zeros(groups, *size, dtype=torch.float64, device=left.device)
                    for size in ((left.shape[1], right.shape[1]), (left.shape[1],), (right.shape[1],))
                )
            )
        for g, rows in group.portions(at, len(left)):
            one, other = left[rows.to(left.device)], right[rows.to(right.device)]
            found.product[g] += one.T @ other
            found.first[g] += one.sum(0, dtype=torch.float64)
            found.second[g] += other.sum(0, dtype=torch.float64)
        at += len(left)
    assert found is not None
    return found


def alignment(cross: float, x: float, y: float) -> float:
    """CKA from the whole of three products, of the groups with each other and with themselves.

    Returns:
        From 0 to 1, debiased from -1 to 1; NaN if no unit of a group varies.
    """
    return min(cross / (x**0.5 * y**0.5), 1.0) if min(x, y) > 0 else float("nan")


def alignments(cross: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """As `alignment`, of several sets of symbols, float64[set] each."""
    several = zip(cross.tolist(), x.tolist(), y.tolist(), strict=True)
    return torch.tensor([alignment(*v) for v in several], dtype=torch.float64)


@final
@dataclass(frozen=True)
class Components:
    """The principal components of a group with variance 1.

    Attributes:
        basis: float64[unit, component]: of units about their means, their values, with the sum of squares 1.
        loadings: float64[unit, component], the products of units and components.
    """

    basis: Tensor
    loadings: Tensor

    @classmethod
    def of(cls, scatter: Tensor, tolerance: float, variance: float = 1.0) -> Self:
        """From the products of units about their means.

        Args:
            scatter: float64[unit, unit], finite.
            tolerance: the share of the largest eigenvalue below which one is rounding.
            variance: the share of the variance that the components have to hold; 1 for all of them.
        """
        values, vectors = spectrum(scatter, tolerance)
        if variance < 1 and len(values):
            held = values.cumsum(0) / values.sum()
            kept = int((held < variance).sum()) + 1
            values, vectors = values[:kept], vectors[:, :kept]
        return cls(vectors / values.sqrt(), vectors * values.sqrt())


@final
@dataclass(frozen=True)
class Cca:
    """Canonical correlations.

    Attributes:
        correlations: float64[min(rank of the one, rank of the other)], descending, from 0 to 1.
        first, second: float64[unit, correlation], the directions in each group.
        turns: the same in their components, float64[component, correlation] each.
    """

    correlations: Tensor
    first: Tensor
    second: Tensor
    turns: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, x: Components, y: Components, cross: Tensor) -> Self:
        """Of two groups.

        Args:
            x: the first group.
            y: the second.
            cross: float64[unit of the second, unit of the first], their products about their means.
        """
        left, correlations, right = torch.linalg.svd(y.basis.T @ cross @ x.basis, full_matrices=False)
        turns = (right.T, left)
        return cls(correlations.clamp(max=1), x.basis @ turns[0], y.basis @ turns[1], turns)

    def weights(self, components: Components, group: int, scale: Tensor | None = None) -> Tensor:
        """float64[correlation] with the sum 1: how much of a group each correlation accounts for.

        Args:
            components: of the group.
            group: 0 for the first, 1 for the second.
            scale: float64[unit], by what the units were divided; None where they were not.
        """
        loadings = components.loadings if scale is None else components.loadings * scale[:, None]
        shares = (loadings @ self.turns[group]).abs().sum(0)
        return shares / shares.sum()

    def on(self, others: Gram) -> Tensor:
        """float64[correlation]: how the variates of the two groups correlate on other symbols, from -1 to 1.

        Args:
            others: of these symbols, the second group in the place of the hypotheses.

        Returns:
            NaN for a variate that is constant there.
        """
        xx, yx, yy = others.scatter()
        cross = (self.second * (yx @ self.first)).sum(0)
        sizes = [(v * (s @ v)).sum(0).clamp(min=0) for v, s in ((self.first, xx), (self.second, yy))]
        return (cross / (sizes[0] * sizes[1]).sqrt()).nan_to_num(torch.nan, torch.nan, torch.nan).clamp(-1, 1)


def explained(components: Components, cross: Tensor, others: Gram) -> Tensor:
    """float64[unit of the first]: the R squared of each unit, predicted by least squares from the second group.

    On the symbols that it was fitted on it is the squared multiple correlation, and else at most 1.

    Args:
        components: of the second group, by which units are predicted.
        cross: float64[unit of the second, unit of the first], their products about their means, for the fit.
        others: of the symbols that are predicted, about the means of the fit; the second group in the place of the
            hypotheses.

    Returns:
        NaN for a unit that is constant there.
    """
    weights = components.basis @ (components.basis.T @ cross)
    left = others.xx.diagonal() - 2 * (weights * others.sums.xy).sum(0) + (weights * (others.yy @ weights)).sum(0)
    whole = others.scatter()[0].diagonal()
    return torch.where(whole > 1e-12 * others.xx.diagonal(), 1 - left.clamp(min=0) / whole, torch.nan)


def beside(x: Gram, y: Gram, cross: Tensor) -> Gram:
    """The sums of two groups over the same symbols, from those of each.

    Args:
        x: of the first group, without hypotheses.
        y: of the second.
        cross: float64[unit of the second, unit of the first], the sums of their products.
    """
    return Gram(Sums(x.sums.rows, x.sums.x, y.sums.x, cross), x.xx, y.xx, x.products)
