"""From predictions to a conclusion: figures with intervals, corrected comparisons, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.metrics import (
    NUM_GRADES,
    accuracy_from_confusion,
    grade_confusion_matrix,
    holm,
    kappa_from_confusion,
    referable_confusion,
    sensitivity_from_confusion,
    verdict,
)
from monai_retina_gen.metrics.bootstrap import confusion_per_group
from monai_retina_gen.metrics.crossed_effects import crossed_interval

from .arms import BASELINE, GENERATIVE, Condition
from .config import StudyConfig


@dataclass(frozen=True)
class Gradings:
    """What several graders of one condition say of the same photographs."""

    preds: Tensor  # (U, N) labels, one row a grader
    target: Tensor  # (N,) true labels
    groups: Sequence[str]  # patient or photograph of each, drawn together
    strata: Sequence[str]  # backbone of each grader
    num_classes: int

    def counts(self) -> Tensor:
        """Confusion matrices by grader and group: `(U, G, k, k)` float64."""
        each = [confusion_per_group(preds, self.target, self.groups, self.num_classes) for preds in self.preds]
        return torch.stack(each)


def figure_interval(
    gradings: Gradings,
    statistic: Callable[[Tensor], Tensor],
    baseline: Gradings | None = None,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> dict[str, Any]:
    """Mean figure of the graders, or of its difference to a baseline's, as `crossed_interval` gives it."""
    counts = None
    if baseline is not None:
        same = torch.equal(gradings.target, baseline.target) and list(gradings.groups) == list(baseline.groups)
        if not same or list(gradings.strata) != list(baseline.strata):
            raise ValueError("the two conditions were not judged on the same photographs by the same graders and seeds")
        counts = baseline.counts()
    found = crossed_interval(gradings.counts(), statistic, baseline=counts, strata=gradings.strata, within=within)
    return found.as_dict()


STATISTICS = {
    "accuracy": accuracy_from_confusion,
    "kappa": kappa_from_confusion,
    "sensitivity": sensitivity_from_confusion,
}
REFERABLE = {
    "referable_accuracy": lambda counts: accuracy_from_confusion(referable_confusion(counts)),
    "referable_sensitivity": lambda counts: sensitivity_from_confusion(referable_confusion(counts))[..., 1],
    "referable_specificity": lambda counts: sensitivity_from_confusion(referable_confusion(counts))[..., 0],
}
"""Figures of referable disease, grades 2 to 4 against 0 and 1, for graders that tell all five."""
ALL = "all"
UNAIDED = Condition(BASELINE)
SEEN = "no verdict, the generator may have seen the judged photographs, or those that were left out"
Results = Sequence[dict[str, Any]]
Pair = tuple[Condition, Condition]


def analyse(results: Results, config: StudyConfig) -> dict[str, Any]:
    """Figures of every condition on every set, and the comparisons, from the results of the runs.

    `sets` has rows (condition, grader or `all`) with figures, their differences to `oversample` and the confusion
    matrix.
    """
    conditions = list(dict.fromkeys(_condition(result) for result in results))
    sets = [name for name in results[0]["predictions"] if name != "validation"]
    gradings = {
        name: {condition: _gradings(results, condition, name, config) for condition in conditions} for name in sets
    }
    kappas = {c: [r["validation_kappa"] for r in results if _condition(r) == c] for c in conditions}
    validation = {condition: sum(each) / len(each) for condition, each in kappas.items()}
    primary = _primary_pair(validation, config.primary)
    seen = {condition.generator for condition in conditions if condition.generator} - set(config.unseen)
    unclean = {"cross-validation"} if config.severe_share == 1 else set(sets)
    comparisons = {
        name: _comparisons(gradings[name], primary if name == "test" else None, seen if name in unclean else ())
        for name in sets
    }
    return {
        "validation_kappa": {condition.id: kappa for condition, kappa in validation.items()},
        "sets": {name: _rows(gradings[name]) for name in sets},
        "comparisons": comparisons,
        "primary": _primary(primary, comparisons, validation, config.primary),
        "te_fake": _te_fake(results),
    }


def _condition(result: dict[str, Any]) -> Condition:
    run = result["run"]
    found = (run["arm"], run["generator"], run["ratio"], run.get("of", ""))
    return Condition(*found, run.get("share", 0.0), run.get("gated", False))


def _gradings(results: Results, condition: Condition, name: str, config: StudyConfig) -> Gradings:
    """Gradings of a condition on a set; of folds that judge different photographs, a grader is all folds of a seed."""
    chosen = [result for result in results if _condition(result) == condition]
    pooled = name == "cross-validation"
    units: dict[Any, list[dict[str, Any]]] = {}
    for result in chosen:
        run = result["run"]
        unit = (run["grader"], run["seed"], -1 if pooled else run["fold"])
        units.setdefault(unit, []).append(result["predictions"][name])
    keys = ("image", "group", "target", "pred")
    tables = [[row for part in parts for row in zip(*map(part.get, keys), strict=True)] for parts in units.values()]
    tables = [sorted(table) for table in tables] if pooled else tables
    if any([row[:3] for row in table] != [row[:3] for row in tables[0]] for table in tables):
        raise ValueError(f"runs were judged on different photographs of {name!r}; delete the runs and start again")
    return Gradings(
        preds=torch.tensor([[row[-1] for row in table] for table in tables]),
        target=torch.tensor([row[2] for row in tables[0]]),
        groups=[row[1] for row in tables[0]],
        strata=[unit[0] for unit in units],
        num_classes=config.num_classes,
    )


def _rows(gradings: dict[Condition, Gradings]) -> list[dict[str, Any]]:
    graders = list(dict.fromkeys(next(iter(gradings.values())).strata))
    baseline = gradings.get(UNAIDED)
    rows = []
    for condition, judged in gradings.items():
        for grader in [*graders, *([ALL] if len(graders) > 1 else [])]:
            part = _of_grader(judged, grader)
            row: dict[str, Any] = {"condition": condition.id, **vars(condition), "grader": grader}
            figures = STATISTICS | (REFERABLE if part.num_classes == NUM_GRADES else {})
            row |= {
                n: figure_interval(part, s, within=(-1.0 if n == "kappa" else 0.0, 1.0)) for n, s in figures.items()
            }
            matrices = [grade_confusion_matrix(preds, part.target, part.num_classes) for preds in part.preds]
            row["confusion"] = torch.stack(matrices).sum(0).tolist()  # over the graders; rows are true labels
            row |= {"n": len(part.target), "graders_trained": len(part.preds)}
            if baseline is not None and condition != UNAIDED:
                other = _of_grader(baseline, grader)
                row["difference"] = {name: figure_interval(part, s, other) for name, s in figures.items()}
            rows.append(row)
    return rows


def _of_grader(judged: Gradings, grader: str) -> Gradings:
    if grader == ALL:
        return judged
    rows = [row for row, name in enumerate(judged.strata) if name == grader]
    return Gradings(judged.preds[rows], judged.target, judged.groups, [grader] * len(rows), judged.num_classes)


def _primary_pair(validation: dict[Condition, float], named: str) -> Pair | None:
    """The condition named in advance, or the generative one with the best kappa on validation; and the baseline."""
    if UNAIDED not in validation:
        return None
    generative = {condition: kappa for condition, kappa in validation.items() if condition.arm in GENERATIVE}
    if named:
        return next(condition for condition in validation if condition.id == named), UNAIDED
    return (max(generative, key=generative.__getitem__), UNAIDED) if generative else None


def _comparisons(
    gradings: dict[Condition, Gradings], primary: Pair | None, unjudged: Collection[str]
) -> list[dict[str, Any]]:
    """Differences of kappa: all against the baseline, generative arms against their own controls.

    Those with one of the generators `unjudged` get no verdict.
    """
    pairs = [(a, UNAIDED) for a in gradings if a != UNAIDED and UNAIDED in gradings]
    pairs += [(a, b) for a in gradings for b in gradings if b.of and replace(b, arm=b.of, of="") == a]
    found: list[dict[str, Any]] = []
    for a, b in pairs:
        kappa = figure_interval(gradings[a], kappa_from_confusion, gradings[b])
        found.append({"a": a.id, "b": b.id, "kappa": kappa, "primary": (a, b) == primary})
    others = [comparison for comparison in found if not comparison["primary"]]
    for comparison, p in zip(others, holm([c["kappa"]["p"] for c in others]), strict=True):
        comparison["p_holm"] = p
    for c, (a, _) in zip(found, pairs, strict=True):
        p = c["kappa"]["p"] if c["primary"] else c["p_holm"]
        c["verdict"] = SEEN if a.generator in unjudged else verdict(c["kappa"]["value"], p, c["kappa"]["seeds"])
    return found


def _primary(
    pair: Pair | None, comparisons: dict[str, Any], validation: dict[Condition, float], named: str
) -> dict[str, Any]:
    if pair is None:
        return {"words": f"No primary comparison: it needs the arm {BASELINE!r} and one of {', '.join(GENERATIVE)}."}
    comparison = next(c for c in comparisons["test"] if c["primary"])
    kappa, best = comparison["kappa"], pair[0].id
    how = "named in advance" if named else "best generative arm by validation kappa"
    if kappa["p"] is None:
        figures = "kappa or its interval is undefined on the test split"
    else:
        # graders that never differ (both always answer the same grade, say) say nothing about power
        detectable = f"{kappa['detectable']:.3f}" if kappa["detectable"] else "unknown, nothing varies"
        figures = (
            f"difference of quadratic weighted kappa on the test split {kappa['value']:+.3f} (95 % interval "
            f"{kappa['low']:+.3f} to {kappa['high']:+.3f}, p = {kappa['p']:.3f}); smallest difference that this study "
            f"could have detected (80 % power, 5 % level): {detectable}"
        )
    words = (
        f"Primary comparison: {best} ({how}; validation kappa {validation[pair[0]]:.3f}) against "
        f"{BASELINE} ({validation[pair[1]]:.3f}): {figures}. Verdict: {comparison['verdict']}."
    )
    return {**comparison, "words": words}


def _te_fake(results: Results) -> dict[str, Any]:
    """Figures of graders trained on photographs alone on generated images, by grader and generator."""
    matrices: dict[tuple[str, str], list[torch.Tensor]] = {}
    for result in results:
        for name, judged in result["generated"].items():
            matrix = grade_confusion_matrix(torch.tensor(judged["pred"]), torch.tensor(judged["target"]), 5)
            matrices.setdefault((result["run"]["grader"], name), []).append(matrix)
    found: dict[str, Any] = {}
    for (grader, name), each in matrices.items():
        means = {figure: STATISTICS[figure](torch.stack(each)).nanmean() for figure in ("accuracy", "kappa")}
        found.setdefault(grader, {})[name] = {f: None if mean.isnan() else float(mean) for f, mean in means.items()}
    return found


def best_policy(rows: list[dict[str, Any]]) -> str:
    """The generative condition with the best kappa, of equals the first: the rule by which a study's policy is taken.

    Args:
        rows: `study["sets"]["cross-validation"]`, in which graders judge photographs that they were not trained on.

    Raises:
        ValueError: without a generative condition.

    Examples:
        >>> rows = [{"condition": "oversample", "kappa": {"value": 0.9}}]
        >>> rows += [{"condition": f"edit--g--share{s}", "kappa": {"value": k}} for s, k in ((0.3, 0.5), (0.5, 0.4))]
        >>> best_policy(rows)
        'edit--g--share0.3'
    """
    found = {row["condition"]: row["kappa"]["value"] for row in rows if "--" in row["condition"]}
    generative = {name: kappa for name, kappa in found.items() if not Condition.parse(name).of}
    if not generative:
        raise ValueError(f"rows: {[row['condition'] for row in rows]} came, and none is of a generative arm")
    return max(generative, key=lambda name: generative[name])
