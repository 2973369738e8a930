"""The textbooks of our own measures: SciPy's, scikit-learn's, or NumPy's in float64; and `check`, which uses them.

The data, the states and the checks are `deepbase.testing`, which any measure passes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats
import sklearn.metrics
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from deepbase.blocks import Floats, Ints
from deepbase.measures.base import AbstractMeasure, AbstractState
from deepbase.measures.registry import MEASURES
from deepbase.testing import Data, Reference, compare, expected_of, said_bound, scores

TOLERANCE = 1e-5


def textbook_mean_difference(x: Floats, y: Floats) -> float:
    """NumPy's."""
    return float(x[y == 1].mean() - x[y == 0].mean())


def textbook_cohens_d(x: Floats, y: Floats) -> float:
    """With the pooled standard deviation of Cohen 1988; see `CohensD` about its error for a large d."""
    true, false = x[y == 1], x[y == 0]
    squares = ((true - true.mean()) ** 2).sum() + ((false - false.mean()) ** 2).sum()
    if len(x) <= 2 or squares <= 1e-12 * ((x - x.mean()) ** 2).sum():
        return float("nan")
    return textbook_mean_difference(x, y) / float(np.sqrt(squares / (len(x) - 2)))


def textbook_class_selectivity(x: Floats, y: Floats) -> float:
    """NumPy's."""
    true, false = x[y == 1].mean(), x[y == 0].mean()
    return float((true - false) / (abs(true) + abs(false))) if true or false else float("nan")


def textbook_correlation_ratio(x: Floats, y: Ints) -> float:
    """From what varies within the values of a category."""
    groups = [x[y == v] for v in np.unique(y)]
    within = sum(((g - g.mean()) ** 2).sum() for g in groups)
    return float(np.sqrt(max(0, 1 - within / ((x - x.mean()) ** 2).sum())))


def textbook_f1(x: Floats, y: Floats) -> float:
    """The best along scikit-learn's curve, whose last point takes nothing for true."""
    precision, recall, _thresholds = sklearn.metrics.precision_recall_curve(y, x)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-300)).max())


def textbook_accuracy(x: Floats, y: Floats) -> float:
    """The best along scikit-learn's curve, which begins where nothing is taken for true."""
    false, true, _thresholds = sklearn.metrics.roc_curve(y, x, drop_intermediate=False)
    return float((true * y.sum() + (1 - false) * (1 - y).sum()).max() / len(y))


def textbook_jaccard(x: Floats, y: Floats, top: float = 0.05) -> float:
    """scikit-learn's, of what is above NumPy's quantile."""
    threshold = np.sort(x)[max(int(np.ceil(round((1 - top) * len(x), 6))), 1) - 1]
    return float(sklearn.metrics.jaccard_score(y == 1, x > threshold))


def quantile_bins(x: Floats, bins: int = 16) -> Ints:
    """int64[symbol]: bins by the number of lesser values."""
    return (scipy.stats.rankdata(x, "min").astype(np.int64) - 1) * bins // len(x)


def textbook_mutual_information(x: Floats, y: npt.NDArray[Any], bins: int = 16, corrected: bool = True) -> float:
    """scikit-learn's of classes, in bits, with the bias of Miller and Madow."""
    return information(quantile_bins(x, bins), y, corrected)


def textbook_mutual_information_of_numbers(x: Floats, y: Floats, bins: int = 16, corrected: bool = True) -> float:
    """The same of a number, in bins as well."""
    return information(quantile_bins(x, bins), quantile_bins(y, bins), corrected)


def information(x: npt.NDArray[np.generic], y: npt.NDArray[np.generic], corrected: bool = True) -> float:
    """scikit-learn's, in bits, with the bias of Miller and Madow."""
    cells = len(np.unique(np.stack([x, y]), axis=1).T) - len(np.unique(x)) - len(np.unique(y)) + 1
    nats = sklearn.metrics.mutual_info_score(x, y) - corrected * cells / (2 * len(x))
    return float(max(nats, 0) / np.log(2))


def information_bound(note: str, x: Floats, y: Floats) -> float:
    """How far mutual information is off if so many symbols at each border change their cell, or as the note says.

    The entropy of K cells moves by `d log2(K - 1) + h(d)` at most, if a share d of the symbols moves (Zhang 2007,
    "Estimating mutual information via Kolmogorov distance"); that of the margins and of the cells do. The correction
    of the bias moves by as many cells as may become empty or be filled.
    """
    off = re.fullmatch(r"approximate: the borders of the bins are off by at most (\S+) of the symbols", note)
    if off is None:
        return said_bound(note, x, y)
    bins, classes = 16, len(np.unique(y))
    values = bins if y.dtype == np.float64 and not set(np.unique(y)) <= {0, 1} else classes
    moved = min(float(off[1]) * (bins - 1) * (2 if values == bins else 1), 0.5)
    binary = -(moved * np.log2(moved) + (1 - moved) * np.log2(1 - moved)) if moved else 0.0
    return 3 * float(moved * np.log2(bins * values - 1) + binary) + bins * values / (2 * len(y) * np.log(2))


def textbook_kurtosis(x: Floats) -> float:
    """SciPy's; NaN for what counts as constant."""
    if (x == x[0]).all() or x.std() <= max(2.0**-23 * abs(x.mean()), 1e-18):
        return float("nan")
    return float(scipy.stats.kurtosis(x))


def _of_scale(score: float, x: Floats, _: object) -> float:
    return TOLERANCE * max(abs(score), float(x.std()))


REFERENCES = {
    "pearson": Reference(
        {
            "boolean": lambda x, y: float(scipy.stats.pointbiserialr(y.astype(bool), x).statistic),
            "number": lambda x, y: float(scipy.stats.pearsonr(x, y).statistic),
        }
    ),
    "mean_difference": Reference(textbook_mean_difference, _of_scale),
    "cohens_d": Reference(
        textbook_cohens_d,
        lambda d, *_: max(TOLERANCE * max(abs(d), 1), 1e-6 * abs(d) ** 3),
        "no variation within the classes",
    ),
    "class_selectivity": Reference(textbook_class_selectivity, undefined="both means are 0"),
    "correlation_ratio": Reference(textbook_correlation_ratio),
    "spearman": Reference(lambda x, y: float(scipy.stats.spearmanr(x, y).statistic)),
    "kendall": Reference(lambda x, y: float(scipy.stats.kendalltau(x, y).statistic)),
    "auroc": Reference(lambda x, y: float(sklearn.metrics.roc_auc_score(y, x))),
    "average_precision": Reference(lambda x, y: float(sklearn.metrics.average_precision_score(y, x))),
    "mutual_information": Reference(
        {
            "boolean": textbook_mutual_information,
            "number": textbook_mutual_information_of_numbers,
            "category": textbook_mutual_information,
        },
        TOLERANCE,
        bound=information_bound,
    ),
    "jaccard": Reference(textbook_jaccard),
    "f1": Reference(textbook_f1),
    "accuracy": Reference(textbook_accuracy),
    "density": Reference(lambda x: float((x > 0).mean())),
    "mean": Reference(lambda x: float(x.mean()), _of_scale),
    "standard_deviation": Reference(lambda x: float(x.std()), lambda s, *_: TOLERANCE * s),
    "kurtosis": Reference(textbook_kurtosis, lambda k, *_: TOLERANCE * max(abs(k), 1), "unit is constant"),
    "minimum": Reference(lambda x: float(x.min()), 0.0),
    "maximum": Reference(lambda x: float(x.max()), 0.0),
}
"""What the measures of units are compared with."""


def held_out_f1(x: Floats, y: Floats, held_x: Floats, held_y: Floats, probe: Any) -> tuple[float, Floats]:
    """The F1 of a classifier on rows that it has not seen, macro-averaged for several classes; and its weights."""
    fit = probe.fit(x, y)
    several = len(np.unique(y)) > 2
    average = {"average": "macro"} if several else {"zero_division": 0}
    weights = np.linalg.norm(fit.coef_, axis=0) if several else fit.coef_[0]
    return float(sklearn.metrics.f1_score(held_y, fit.predict(held_x), **average)), weights


def _dummy(x: Floats, y: Floats, held_x: Floats, held_y: Floats) -> float:
    """The most frequent class, or the mean."""
    if y.dtype == np.float64 and len(np.unique(y)) > 2:
        return float(DummyRegressor().fit(x, y).score(held_x, held_y))
    found = DummyClassifier().fit(x, y).predict(held_x)
    average = "macro" if len(np.unique(y)) > 2 else "binary"
    return float(sklearn.metrics.f1_score(held_y, found, average=average, zero_division=0))


def _ridge(x: Floats, y: Floats, held_x: Floats, held_y: Floats) -> tuple[float, Floats]:
    """The R squared on rows that it has not seen, and the standardized weights."""
    fit = Ridge().fit(x, y)
    return float(fit.score(held_x, held_y)), fit.coef_ / y.std()


def _mass_mean(x: Floats, y: Floats, held_x: Floats, held_y: Floats) -> tuple[float, Floats]:
    """The difference of the means, with the threshold halfway."""
    true, false = x[y == 1].mean(0), x[y == 0].mean(0)
    found = (held_x - (true + false) / 2) @ (true - false) > 0
    return float(sklearn.metrics.f1_score(held_y, found)), true - false


GROUP_REFERENCES = {
    "logistic": Reference(lambda *rows: held_out_f1(*rows, LogisticRegression(tol=1e-10, max_iter=10_000)), 5e-3),
    "lda": Reference(lambda *rows: held_out_f1(*rows, LinearDiscriminantAnalysis(solver="lsqr"))),
    "linear": Reference(_ridge),
    "mass_mean": Reference(_mass_mean),
    "majority": Reference(_dummy),
}
"""What probes are compared with; the fits of the others are compared in tests of their own."""


@lru_cache(maxsize=64)
def _expected(measure: AbstractMeasure, data: Data) -> Any:
    return expected_of(measure, REFERENCES[measure.name], data, None)


def check(measure: AbstractMeasure, state: AbstractState, data: Data, *, approximate: bool = False) -> None:
    """Compare every score of a state with its textbook value or its note; see `deepbase.testing.compare`."""
    found = scores(measure, state, data)
    compare(measure, found, _expected(measure, data), REFERENCES[measure.name], approximate=approximate)


def expected(measure: str, data: Data, unit: str, hypothesis: str) -> tuple[float | None, str | None]:
    """The textbook score of a pair, or the note that stands in its place; of a fact, the hypothesis is empty."""
    found = _expected(MEASURES[measure](), data)
    place = found.hypotheses.index(hypothesis), list(data.units).index(unit)
    score = float(found.score[place])
    return (None, found.note[place]) if np.isnan(score) else (score, None)


def tolerance(measure: str, data: Data, unit: str, hypothesis: str) -> float:
    """How far the score of a pair may be off."""
    found = _expected(MEASURES[measure](), data)
    return float(found.tolerance[found.hypotheses.index(hypothesis), list(data.units).index(unit)])
