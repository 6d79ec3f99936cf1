"""Give a generator without grades images for grades, by drawing many and keeping the good ones.

After Cheng and Ye, "Application of Generative Adversarial Networks in augmentation of medical image datasets", section
"Data and Implementation", where 443 of about 2000 generated images were chosen and sorted into five grades by hand.
Here images are kept by their realism score (Kynkaanniemi et al. 2019, arXiv:1904.06991, Eq. 3) and labelled by graders
where these are confident, and what was refused is counted and shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_retina_gen.data import Item, write_json
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.evidence.curation.candidates import CandidatePool, is_unconditional
from monai_retina_gen.evidence.curation.curation_report import distribution, outcome, pictures, statement, warnings_of
from monai_retina_gen.evidence.curation.kept_images import check_store, store, write_kept
from monai_retina_gen.evidence.curation.selection import Selection, score_photographs, select
from monai_retina_gen.evidence.evaluation.extractor import DEFAULT_EXTRACTOR, Extractor, load_extractor
from monai_retina_gen.evidence.evaluation.image_sets import photographs
from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge, load_grader
from monai_retina_gen.generators import RetinaGenerator, load_generator

__all__ = ["Curation", "curate"]

CURATION_FILE = "curation.json"
K = 3


@dataclass(frozen=True)
class Curation:
    """Outcome of `curate`."""

    folder: Path  # of the kept images, `manifest.json`, `datalist.json` and `curation.json`
    selection: Selection  # which candidates were kept, and why the others were not
    report: dict[str, Any]  # what `curation.json` holds
    latents: list[Tensor]  # per grade (n, latent_dim); empty for a generator that takes grades

    @property
    def kept(self) -> dict[int, int]:
        """Number of images kept of each grade."""
        return {int(grade): counts["kept"] for grade, counts in self.report["grades"].items()}


def curate(
    generator: str | RetinaGenerator,
    items: Sequence[Item],
    out: str | Path,
    *,
    candidates: int = 2000,
    per_grade: int = 100,
    realism: float = 1.0,
    confidence: float = 0.5,
    graders: Sequence[str | GraderJudge] = (DEFAULT_GRADERS,),
    extractor: str | Extractor = DEFAULT_EXTRACTOR,
    store_in: str | Path | None = None,
    seed: int = 0,
    batch_size: int = 32,
    device: str = "cpu",
    progress: bool = True,
) -> Curation:
    """Draw candidates, keep those that are realistic and clearly of a grade, up to a number per grade.

    Stopped and started again it goes on and gives the same bytes. In the same folder, other thresholds, numbers per
    grade and more candidates make another choice among the candidates that are already drawn.

    Args:
        generator: a bundle's name or folder, or a generator. One that takes grades is filtered: grades are asked for
            in turn, and an image is kept only where the graders confirm the grade.
        items: graded datalist items of the photographs that realism is measured against.
        out: folder to write, or to go on with.
        candidates: images drawn, from consecutive seeds.
        per_grade: images kept of each grade at most. Fewer are no error: the report says how many are lacking.
        realism: smallest realism score; 1 is the border of the photographs' estimated manifold.
        confidence: smallest probability that the graders give to their grade, in (0, 1].
        graders: graders, or names of their bundles; their probabilities are averaged.
        extractor: see `load_extractor`.
        store_in: bundle whose weights get the kept latents, so that it samples by grade; pinned anew.
        seed: of the first candidate.
        batch_size: images per forward pass; part of the settings, since bytes may depend on it.
        device: where generator, extractor and graders run.
        progress: show bars with the time left.

    Returns:
        The outcome; `out` is a data set as `expand` writes it.

    Raises:
        ValueError: for a number or threshold outside its range, fewer than four photographs, a folder that holds
            candidates of another generator, or a bundle that cannot take the latents (see `check_store`).
    """
    for name, value in (("candidates", candidates), ("per_grade", per_grade), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}={value}: at least 1 is wanted")
    if not 0 < confidence <= 1:
        raise ValueError(f"confidence={confidence}: a probability in (0, 1] is wanted")
    if not realism >= 0:
        raise ValueError(f"realism={realism}: a score of at least 0 is wanted; 1 is the border of the manifold")
    if len(items) < K + 1:
        raise ValueError(f"items holds {len(items)} photographs: realism with k = {K} needs at least {K + 1}")
    if not graders:
        raise ValueError("graders is empty: name at least one, such as retina_grader:cross_fitted")
    made_by = load_generator(generator, device=device)
    bundle = check_store(store_in, made_by, per_grade) if store_in else None
    folder = Path(out)
    pool = CandidatePool(
        folder / "candidates",
        made_by,
        load_extractor(extractor, device=device),
        [load_grader(grader, device) if isinstance(grader, str) else grader for grader in graders],
        seed=seed,
        batch_size=batch_size,
    )
    reference = score_photographs(pool, photographs(items, made_by.image_size), k=K)
    features, probabilities = pool.draw(candidates, progress)
    scores, sureness = reference.realism(features), probabilities.max(dim=1).values
    selection = select(
        scores,
        reference.copies(features),
        probabilities,
        None if is_unconditional(made_by) else [record.grade for record in pool.records()],
        per_grade=per_grade,
        min_realism=realism,
        confidence=confidence,
    )
    classes = range(probabilities.shape[1])
    latents = [pool.latents(selection.rows(grade=grade)) for grade in classes] if is_unconditional(made_by) else []
    stored = store(bundle, latents) if bundle and any(map(len, latents)) else None
    names = " + ".join(grader.name for grader in pool.graders)
    label = f"seen by {names} with a probability of at least {confidence}"
    write_kept(folder, pool, selection, label=label, stored=stored)
    report = {
        "kind": "curation",
        **statement(pool, stored),
        "data": {"n_photographs": len(items), "photographs_sha256": reference.sha256, "n_candidates": candidates},
        "settings": {"per_grade": per_grade, "k": K, "seed": seed, "batch_size": batch_size},
        **outcome(selection, len(classes), per_grade, seed),
        "realism": {**distribution(scores, realism), "photographs": reference.realistic(realism)},
        "confidence": {**distribution(sureness, confidence), "photographs": reference.confident(confidence)},
        "warnings": warnings_of(pool, len(items)),
    }
    report["pictures"] = pictures(folder, pool, selection, report["grades"])
    write_json(report, folder / CURATION_FILE)
    return Curation(folder, selection, report, latents)
