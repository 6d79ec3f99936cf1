"""A bundle of a StyleGAN3 that was trained with the original implementation.

What is read is a state dict of plain tensors with the original's names, as `.pt` (loaded with `weights_only=True`) or
`.safetensors`; never a pickle of objects. The network's configuration follows from names and shapes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import write_json
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks import StyleGAN3
from monai_retina_gen.weights import CHECKPOINT, find_bundle, load_state, save_state, sha256_file

TEMPLATE = "retina_stylegan3"
_OUTSIDE_LAYERS = {
    r"mapping\.w_avg": "w_avg",
    r"mapping\.fc(\d+\.(weight|bias))": r"latent_mapping.layers.\1",
    r"mapping\.(embed\.(weight|bias))": r"latent_mapping.\1",
    r"synthesis\.input\.freqs": "synthesis.input.frequencies",
    r"synthesis\.input\.((affine\.)?weight|affine\.bias|phases|transform)": r"synthesis.input.\1",
}
"""Names of the original's parameters outside the layers of the synthesis network, and ours for them."""
README = """# {name}

A StyleGAN3 imported by `monai-retina-gen model import-stylegan3`. **Not for clinical use.**

Its licence, its training data and their licence are those of the imported weights: name them here before you pass this
bundle on.
"""


def infer_configuration(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `StyleGAN3` from a state dict with the original's names; `WeightsError` for another."""
    pattern = r"synthesis\.L(\d+)_(\d+)_(\d+)\.weight"
    layers = {int(m[1]): (int(m[2]), int(m[3]), n) for n in state if (m := re.fullmatch(pattern, n))}
    fully = sorted(n for n in state if re.fullmatch(r"mapping\.fc\d+\.weight", n))
    if sorted(layers) != list(range(15)) or not fully:
        raise WeightsError(
            f"layers {sorted(layers)} and {len(fully)} mapping layers were found, wanted 0 to 14 and at least one: "
            "pass the state dict of a StyleGAN3 generator alone, with names such as synthesis.L0_36_512.weight"
        )
    size = layers[14][0]
    w_dim, first = state["mapping.fc0.weight"].shape
    embed = state.get("mapping.embed.weight")
    return {
        "image_size": size,
        "config": "r" if state[layers[0][2]].shape[-1] == 1 else "t",
        "z_dim": first - (0 if embed is None else w_dim),
        "w_dim": w_dim,
        "num_classes": 0 if embed is None else embed.shape[1],
        # The last layers' cutoff is half the image's side: their channels give the base, unless they are capped.
        "channel_base": layers[13][1] * size,
        "channel_max": max(channels for _, channels, _ in layers.values()),
        "mapping_layers": len(fully),
    }


def import_stylegan3(weights: str | Path, out: str | Path) -> Path:
    """Write a bundle with imported weights, `.pt` or `.safetensors`, into a new folder, which is returned.

    Raises:
        ValueError: if `out` exists.
        WeightsError: if the file holds anything but tensors, or not those of a StyleGAN3 generator.
    """
    out, state = Path(out), _read(Path(weights))
    if out.exists():
        raise ValueError(f"out={str(out)!r} exists: name a new folder")
    arguments = infer_configuration(state)
    network = StyleGAN3(**arguments)
    try:
        network.load_state_dict(convert_stylegan3_state(state, network))
    except RuntimeError as error:
        raise WeightsError(f"{weights} does not fit {arguments}: {str(error)[:800]}") from error
    shutil.copytree(find_bundle(TEMPLATE) / "configs", out / "configs", ignore=shutil.ignore_patterns("zhao*", "512*"))
    save_state(network.state_dict(), out / CHECKPOINT)
    _describe(out, arguments)
    return out


def convert_stylegan3_state(state: Mapping[str, Tensor], network: StyleGAN3) -> dict[str, Tensor]:
    """Translate names such as `synthesis.L0_36_512.weight`; the result is for `network.load_state_dict`.

    Filters are no parameters here; they are compared with those that the network computes.
    `WeightsError` for a name that is not known, a layer that `network` does not have (another size, configuration or
    number of channels) or a filter that differs from `network`'s.
    """
    converted = {}
    for name, value in state.items():
        if name.endswith(("up_filter", "down_filter")):
            _check_filter(name, value, network)
        else:
            converted[_translate(name, network)] = value
    return converted


def _translate(name: str, network: StyleGAN3) -> str:
    for pattern, ours in _OUTSIDE_LAYERS.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    index, rest = _layer(name, network)
    return f"synthesis.layers.{index}.{rest}"


def _layer(name: str, network: StyleGAN3) -> tuple[int, str]:
    match = re.fullmatch(
        r"synthesis\.L(\d+)_(\d+)_(\d+)\.((affine\.)?(weight|bias)|magnitude_ema|(up|down)_filter)", name
    )
    if match is None:
        raise WeightsError(f"{name!r} is not a parameter of StyleGAN3: pass the state dict of a generator alone")
    index, size, channels = int(match[1]), int(match[2]), int(match[3])
    targets = [layer.plan.target for layer in network.synthesis.layers]  # type: ignore[union-attr]
    if index >= len(targets) or (size, channels) != (targets[index].size, targets[index].channels):  # type: ignore[union-attr]
        ours = [f"L{i}_{t.size}_{t.channels}" for i, t in enumerate(targets)]  # type: ignore[union-attr]
        raise WeightsError(
            f"the state has a layer L{index}_{size}_{channels}, the network has {', '.join(ours)}: build it with the "
            "image_size, channel_base and channel_max of the state"
        )
    return index, match[4]


def _check_filter(name: str, value: Tensor, network: StyleGAN3) -> None:
    index, rest = _layer(name, network)
    ours = dict(zip(("up_filter", "down_filter"), network.synthesis.layers[index].plan.filters(), strict=True))[rest]  # type: ignore[union-attr, operator]
    if ours is None or ours.shape != value.shape or not torch.allclose(ours, value.double().cpu(), atol=1e-5):
        raise WeightsError(f"{name} differs from the network's filter: is `config` ('t' or 'r') the state's?")


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return load_state(path)
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise WeightsError(f"{path} needs safetensors: pip install 'monai-retina-gen[safetensors]'") from error
    state: dict[str, Tensor] = load_file(str(path))
    return state


def _describe(out: Path, arguments: dict[str, Any]) -> None:
    """Configuration, metadata and model card of the imported network."""
    for name in ("inference", "train"):
        config = json.loads((out / "configs" / f"{name}.json").read_text(encoding="utf-8"))
        config["network_def"]["mapping_layers"] = arguments["mapping_layers"]
        config.update({key: value for key, value in arguments.items() if key in config})
        if not arguments["num_classes"] and "grades" in config:
            config["grades"] = [0]
        write_json(config, out / "configs" / f"{name}.json", sort_keys=False)
    path = out / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    size = arguments["image_size"]
    metadata["network_data_format"]["inputs"]["image"]["num_channels"] = arguments["z_dim"]
    metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"] = [size, size]
    metadata |= {
        "version": "0.0.1",
        "changelog": {"0.0.1": "imported"},
        "name": f"Imported StyleGAN3, {size} px",
        "description": f"StyleGAN3 whose weights were imported: {size} px, configuration {arguments['config']}.",
        "data_source": "not known: the weights were imported",
        "eval_metrics": {},
        "weights_licence": "not known: that of the imported weights",
        "weights": {CHECKPOINT: {"sha256": sha256_file(out / CHECKPOINT), "bytes": (out / CHECKPOINT).stat().st_size}},
    }
    write_json(metadata, path, sort_keys=False)
    (out / "docs").mkdir()
    (out / "docs" / "README.md").write_text(README.format(name=out.name), encoding="utf-8")
