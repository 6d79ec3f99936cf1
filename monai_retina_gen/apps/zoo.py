"""`zoo`: build, publish, list, download and verify the bundles of a model zoo."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights import bundle_search_path, find_bundle, read_index
from monai_retina_gen.weights.zoo_download import download_bundle
from monai_retina_gen.zoo import find_bundles
from monai_retina_gen.zoo.building import build_zoo
from monai_retina_gen.zoo.publishing import hub_address, publish_hub, publish_zoo, release_address
from monai_retina_gen.zoo.verification import verify_bundle

BUNDLES = "folder of the bundles (default: MRG_BUNDLES, else ./bundles)"
FROM = "address or folder of the zoo (default: MRG_ZOO, the user's cache, the public zoo)"

HOSTS: dict[str, tuple[Callable[[str], str], str, Callable[..., list[str]]]] = {
    "github": (release_address, "GITHUB_TOKEN", publish_zoo),
    "huggingface": (hub_address, "HF_TOKEN", publish_hub),
}
"""By name: address of a repository's files, environment variable of the token, and upload."""


def _bundles(folder: str | None = None) -> list[Path]:
    """All that lie in a folder: the one named, else the first that is searched for names."""
    return find_bundles(Path(folder) if folder else bundle_search_path()[0])


def add_build(parser: CommandParser) -> None:
    parser.describe(run_build.__doc__, "--bundles bundles --out zoo")
    parser.add_argument("--out", required=True, help="folder to write; other versions in it stay")
    parser.add_argument("--bundles", help=BUNDLES)
    parser.add_argument("--address", help="where the archives will be found, for model_info.json")
    parser.add_argument("--replace", action="store_true", help="overwrite a version that has other content")


def run_build(args: argparse.Namespace) -> None:
    """Write <name>_v<version>.zip of every bundle, index.json and MONAI's model_info.json."""
    for entry in build_zoo(_bundles(args.bundles), Path(args.out), **chosen(args, "address", "replace")):
        print(f"{entry.file}: {entry.bytes / 1e6:.1f} MB, {len(entry.files)} files, sha256 {entry.sha256}")
    print(f"wrote {Path(args.out) / 'index.json'} and model_info.json")


def add_publish(parser: CommandParser) -> None:
    parser.describe(run_publish.__doc__, "OWNER/REPOSITORY --dry-run")
    parser.add_argument("repository", help="OWNER/NAME")
    parser.add_argument("--to", choices=list(HOSTS), default="github", help="whose repository it is (default: github)")
    parser.add_argument("--bundles", help=BUNDLES)
    parser.add_argument("--out", required=False, default="zoo", help="folder to build in; keep it")
    parser.add_argument("--dry-run", action="store_true", help="build, and upload nothing")


def run_publish(args: argparse.Namespace) -> None:
    """Build as `zoo build` does, and upload what the repository lacks.

    That is a GitHub release (token in GITHUB_TOKEN) or, with --to huggingface, a Hugging Face repository (HF_TOKEN).
    """
    address_of, variable, upload = HOSTS[args.to]
    address, token = address_of(args.repository), os.environ.get(variable, "")
    if not token and not args.dry_run:
        raise ZooError(f"{variable} is not set: want the owner's token, with the right to write contents")
    entries = build_zoo(_bundles(args.bundles), Path(args.out), address=address)
    if args.dry_run:
        for entry in entries:
            print(f"would upload {entry.file} ({entry.bytes / 1e6:.1f} MB) to {address} if it is not there")
        return
    print("\n".join(f"uploaded {name}" for name in upload(Path(args.out), args.repository, token=token)))
    print(f"the zoo is at {address}: PUBLIC_ZOO in monai_retina_gen/weights/zoo_download.py makes it the default")


def add_list(parser: CommandParser) -> None:
    parser.describe(run_list.__doc__, "--from https://example.org/zoo")
    parser.add_argument("--from", dest="location", help=FROM)


def run_list(args: argparse.Namespace) -> None:
    """Show bundles with version, size, modes, figures and the licence of their weights."""
    index = read_index(args.location)
    print(f"zoo at {index.location}")
    for entry in index.latest():
        modes = f", modes {', '.join(entry.modes)}" if entry.modes else ""
        print(f"{entry.name} {entry.version} ({entry.bytes / 1e6:.1f} MB{modes}): {entry.task}")
        print(f"  {_figures_text(entry.figures)}")
        print(f"  {entry.weights_licence or 'licence of the weights not stated'}")


def _figures_text(figures: Mapping[str, Any]) -> str:
    """Headline figures, each beside what photographs among themselves reach, and what they were taken on."""
    shown = []
    for name, value in figures.items():
        if isinstance(value, float) and not name.endswith("_floor"):
            floor = figures.get(f"{name}_floor")
            shown.append(f"{name} {value:.3g}" + (f" (photographs {floor:.3g})" if floor is not None else ""))
    on = f" on {figures['n']} {figures['split']} photographs" if {"n", "split"} <= figures.keys() else ""
    return f"{', '.join(shown)}{on}" if shown else "no figures"


def add_download(parser: CommandParser) -> None:
    parser.describe(run_download.__doc__, "retina_vae --from /mirror/zoo")
    parser.add_argument("name", help="of the bundle")
    parser.add_argument("--from", dest="location", help=FROM)
    parser.add_argument("--version", help="the highest by default")
    parser.add_argument("--to", help="folder to put it into (default: the user's cache, where it is found by name)")
    parser.add_argument("--replace", action="store_true", help="put a changed or other version that is there aside")


def run_download(args: argparse.Namespace) -> None:
    """Install a bundle whose size and sha256 are checked before anything is unpacked.

    A broken download goes on where it stopped.
    """
    folder = download_bundle(args.name, folder=args.to, **chosen(args, "version", "location", "replace"))
    print(f"{args.name} is at {folder}")


def add_verify(parser: CommandParser) -> None:
    parser.describe(run_verify.__doc__, "retina_vae --fast")
    parser.add_argument("bundles", nargs="*", help="names or folders (default: all in MRG_BUNDLES, else ./bundles)")
    parser.add_argument("--fast", action="store_true", help="only what reads files, and runs no code of the bundle")
    parser.add_argument("--figures", action="store_true", help="run evaluate.json, too: up to minutes a bundle")
    parser.add_argument("--dataset-dir", help="photographs for --figures (default: as in train.json, in MRG_DATA)")


def run_verify(args: argparse.Namespace) -> int:
    """Check the files of bundles: layout, metadata, version, weights, card, licences and paths; then what they do.

    That is what goes into the network and comes out, scripting, export and the required properties; with --figures,
    evaluate.json on the validation photographs as well. All but --fast runs the bundle's configurations: only for
    bundles whose author you trust.
    """
    folders = [find_bundle(b, download=False) for b in args.bundles] or _bundles()
    failed = 0
    for folder in folders:
        for result in verify_bundle(folder, fast=args.fast, figures=args.figures, dataset_dir=args.dataset_dir):
            failed += bool(result.problems)
            failures = "".join(f"\n  FAILED {problem}" for problem in result.problems)
            said = f"skipped: {result.skipped}" if result.skipped else "ok" if result.passed else failures
            print(f"{folder.name}: {result.check} {said}", flush=True)
    checked = f"{len(folders)} bundle{'s' * (len(folders) > 1)}"
    print(f"{checked}: {f'{failed} checks failed' if failed else 'all checks passed'}")
    return 1 if failed else 0
