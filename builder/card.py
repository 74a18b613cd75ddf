"""The dataset card: YAML made from the files themselves, text from the build's own figures."""

import hashlib
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from noisezoo import zoo
from noisezoo.builder.build import Build, source_refusals
from noisezoo.builder.provenance import public_recipe
from noisezoo.builder.quality import PREFIX, TITLES
from noisezoo.files import committed, sha256_of
from noisezoo.loading import PAIRED
from noisezoo.pca import Basis
from noisezoo.schema import PREVIOUS

if TYPE_CHECKING:
    from noisezoo.builder.dataset import Config, Rows

CLIP = {None: "-", True: "yes", False: "no"}


def write_card(build: Build, rows: "Rows", configs: "list[Config]", bases: dict[str, Basis]) -> None:
    """Render `dataset_card.md` into the dataset's README.md, and load its YAML back through `datasets`.

    The README is written last: a folder without it is not a dataset yet.
    """
    import jinja2

    template = (files("noisezoo.builder") / "dataset_card.md").read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    text = environment.from_string(template).render(**_facts(build, rows, configs, bases))
    with committed(build.root / "README.md", check=partial(_check, configs=configs)) as temporary:
        temporary.write_text(text)


def _facts(build: Build, rows: "Rows", configs: "list[Config]", bases: dict[str, Basis]) -> dict[str, Any]:
    from noisezoo.builder.dataset import PCA_ROWS

    markers = [marker for unit in build.all_units() if (marker := unit.marker()) is not None]
    software = markers[0]["software"]
    latents = _latents(build, configs)
    example = next((view.name for view in build.views if view.kind == "noise"), build.views[0].name)
    public = public_recipe(build)
    settings = public["settings"] | {"source": public["source"]["name"], "limit": build.recipe.source.limit}
    return {
        "front_matter": yaml.safe_dump(
            _front_matter(build, rows, configs), sort_keys=False, allow_unicode=True
        ).strip(),
        "title": f"NoiseZoo: {build.recipe.name}",
        "source": build.recipe.source.name.partition(":")[0],
        "folder": build.root.name,
        "example": example,
        "example_views": str(list(dict.fromkeys([example, build.views[-1].name]))).replace("'", '"'),
        "views": [_view_row(view, bases) for view in build.views],
        "pca_dims": build.recipe.pca_dims,
        "pca_rows": PCA_ROWS,
        "splits": rows.splits,
        "first_split": next(iter(rows.splits)),
        "n_rows": int(rows.kept.sum()),
        "n_scanned": len(build.manifest) + len(source_refusals(build)),
        "n_refused": len(build.manifest) - int(rows.kept.sum()) + len(source_refusals(build)),
        "settings": settings,
        "device": ", ".join(sorted({marker["device"] for marker in markers})),
        "software": software,
        "software_line": ", ".join(f"{name} {number}" for name, number in software.items()),
        "latents": latents,
        "metrics": [TITLES[name] for name in _metrics(build)],
        "weights": public.get("weights", {}),
        "previous": any(PREVIOUS in config.features for config in configs),
    }


def _view_row(view: zoo.View, bases: dict[str, Basis]) -> dict[str, Any]:
    paired = f"{len(bases[view.name].components)} of {view.size}" if view.name in bases else "in full"
    shape = "x".join(str(side) for side in view.shape)
    return {"name": view.name, "kind": view.kind, "shape": shape, "dtype": view.dtype, "license": view.license,
            "clip": CLIP[view.clip_conditioned], "about": view.about, "paired": paired}  # fmt: skip


def _metrics(build: Build) -> tuple[str, ...]:
    """Names of the metrics that regenerated rows carry."""
    return build.recipe.settings.metrics if build.recipe.settings.reconstruct else ()


def _latents(build: Build, configs: "list[Config]") -> list[dict[str, Any]]:
    """Mean over rows of each noise view's quality columns; of the reconstruction's, over the rows in its sample."""
    import pyarrow.parquet as pq

    columns = [PREFIX + name for name in _metrics(build)]
    found = []
    for config in configs:
        if "latent_std" in config.features and config.name != PAIRED:
            paths = [path for paths in config.files.values() for path in paths]
            tables = [pq.read_table(path, columns=["latent_mean", "latent_std", *columns]) for path in paths]
            names = tables[0].column_names
            values = {name: np.concatenate([table.column(name).to_numpy() for table in tables]) for name in names}
            found.append({
                "view": config.name, "end": _end(build, config.name),
                "mean": _mean(values["latent_mean"]), "std": _mean(values["latent_std"]),
                "metrics": [_mean(values[name]) for name in columns],
                "sample": int(np.isfinite(values[columns[0]]).sum()) if columns else 0,
            })  # fmt: skip
    return found


def _end(build: Build, name: str) -> str:
    """Where x_T sits: the time the network is told there, and its weights of image and noise."""
    unit = next(unit for unit in build.all_units() if unit.view.name == name)
    facts = (unit.marker() or {}).get("facts") or {}
    return f"t = {facts['x_T_time']:g}: {facts['x_T_a']:.4f} x0 + {facts['x_T_s']:.4f} eps" if facts else "-"


def _mean(values: np.ndarray) -> str:
    """Mean of what is there, to three decimals; a dash for nothing."""
    there = values[np.isfinite(values)]
    return f"{there.mean():.3f}" if len(there) else "-"


def _front_matter(build: Build, rows: "Rows", configs: "list[Config]") -> dict[str, Any]:
    total = int(rows.kept.sum())
    sizes = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    size = next((name for limit, name in sizes.items() if total < limit), "100K<n<1M")
    source = build.recipe.source.name.partition(":")[0]
    return {
        "license": build.source_facts["license"].lower(),
        "pretty_name": f"NoiseZoo: {build.recipe.name}",
        "tags": ["noisezoo", "diffusion", "ddim-inversion", "representation-geometry", source],
        "size_categories": [size],
        "configs": [_config_yaml(build, config, source) for config in configs],
        "dataset_info": [_info_yaml(config, rows) for config in configs],
    }


def _config_yaml(build: Build, config: "Config", source: str) -> dict[str, Any]:
    """One entry of `configs`: every file named, as a glob would not notice a missing shard.

    The version comes from the files' content: without it `datasets` serves old rows from its cache after a rebuild.
    """
    hashes = "".join(sha256_of(path) for paths in config.files.values() for path in paths)
    number = int(hashlib.sha256(hashes.encode()).hexdigest()[:12], 16)
    abouts = {view.name: view.about for view in build.views}
    about = abouts.get(config.name, "ids, splits and labels")
    entry: dict[str, Any] = {"config_name": config.name}
    if config.name == PAIRED:
        entry["default"] = True
        about = "labels and all views, large ones reduced by PCA"
    data = [{"split": split, "path": [str(path.relative_to(build.root)) for path in paths]}
            for split, paths in config.files.items()]  # fmt: skip
    return {**entry, "version": f"1.0.{number}", "description": f"{source}: {about}", "data_files": data}


def _info_yaml(config: "Config", rows: "Rows") -> dict[str, Any]:
    """One entry of `dataset_info`: features, rows and bytes."""
    sizes = {split: sum(path.stat().st_size for path in paths) for split, paths in config.files.items()}
    splits = [{"name": s, "num_bytes": sizes[s], "num_examples": n} for s, n in rows.splits.items()]
    total = sum(sizes.values())
    return {"config_name": config.name, "features": config.features._to_yaml_list(), "splits": splits,
            "download_size": total, "dataset_size": total}  # fmt: skip


def _check(path: Path, configs: "list[Config]") -> None:
    """The YAML must read back, through `datasets`, as the configs and features that were written."""
    from datasets import DatasetInfo
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    data = DatasetCard(path.read_text()).data
    if set(MetadataConfigs.from_dataset_card_data(data)) != {config.name for config in configs}:
        raise ValueError("the card's configs do not read back; report this")
    infos = {entry["config_name"]: DatasetInfo._from_yaml_dict(entry) for entry in data.to_dict()["dataset_info"]}  # type: ignore[no-untyped-call]
    wrong = [config.name for config in configs if infos[config.name].features != config.features]
    if wrong:
        raise ValueError(f"the card's features of {wrong[0]} do not read back; report this")
