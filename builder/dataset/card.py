"""The dataset card: YAML made from the files themselves, text from the build's own figures."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from noisezoo.builder.engine import CUT_PROMPTS
from noisezoo.builder.views import PREFIX, TITLES
from noisezoo.citation import source_links
from noisezoo.files import committed, sha256_of
from noisezoo.pca import PCA_ROWS, Basis
from noisezoo.record import CARD, PAIRED, Record, Section
from noisezoo.schema import PREVIOUS
from .layout import Config, read_configs, version_by

if TYPE_CHECKING:
    from datasets import Features

CLIP = {None: "-", True: "yes", False: "no"}


def write_card(root: Path, record: Record) -> None:
    """Write the dataset's README.md; a folder without one is no dataset yet.

    Its YAML is loaded back through `datasets` before the file gets its name.

    Raises:
        ValueError: It does not read back as the configs and features that the files have.
    """
    text = card_text(root, record, root.name)
    features = {config.name: config.features for _, config in read_configs(root, record)}
    with committed(root / CARD, check=partial(_check, features=features)) as temporary:
        temporary.write_text(text)


def card_text(root: Path, record: Record, name: str) -> str:
    """Render `dataset_card.md` from the record and the files in `root`, for a dataset that is called `name`."""
    import jinja2

    configs = read_configs(root, record)
    template = (files("noisezoo.builder.dataset") / "dataset_card.md").read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    sections = [_facts(root, s, {config.name: config for _, config in configs}) for s in record.sections]
    return environment.from_string(template).render(
        front_matter=_yaml(root, record, configs), first=sections[0], sections=sections, folder=name,
        paper=source_links(), pca_rows=PCA_ROWS, sensitive=any(section.sensitive for section in record.sections),
        imported=any(view.get("imported") for section in record.sections for view in section.views),
    )  # fmt: skip


def _facts(root: Path, section: Section, configs: Mapping[str, Config]) -> dict[str, Any]:
    """What the card says of one source."""
    names = section.view_names
    example = next((view["name"] for view in section.views if view["kind"] == "noise"), names[0])
    metrics = section.settings["metrics"] if section.settings["reconstruct"] else ()
    return {
        **vars(section),
        "rows": section.rows,
        "first_split": next(iter(section.splits)),
        "example": example,
        "example_views": json.dumps(list(dict.fromkeys([example, names[-1]]))),
        "table": [_view_row(root, section, view) for view in section.views],
        "latents": _latents(section, configs, [PREFIX + name for name in metrics]),
        "metrics": [TITLES[name] for name in metrics],
        "previous": any(PREVIOUS in configs[section.prefix + name].features for name in names),
    }


def _view_row(root: Path, section: Section, view: Mapping[str, Any]) -> dict[str, Any]:
    name, size = view["name"], section.sizes[view["name"]]
    kept = len(Basis.read(root / section.basis(name)).components) if name in section.reduced else None
    return {**view, **_model(view), "shape": "x".join(map(str, view["shape"])), "clip": CLIP[view["clip_conditioned"]],
            "paired": "in full" if kept is None else f"{kept} of {size}"}  # fmt: skip


def _model(view: Mapping[str, Any]) -> dict[str, str]:
    """Where the weights come from."""
    repo, revision = view["repo"], view["revision"]
    shipped = repo.startswith("testbed:")
    model = f"{repo.removeprefix('testbed:')}, ships with NoiseZoo" if shipped else f"`{repo}`" if repo else "none"
    return {"model": model + (", before training" if view["untrained"] else ""),
            "commit": f"`{revision}`" if revision else "-"}  # fmt: skip


def _latents(section: Section, configs: Mapping[str, Config], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Mean over rows of each noise view's quality columns; of the reconstruction's, over the rows in its sample."""
    from pyarrow.dataset import dataset

    found = []
    for name in section.view_names:
        config = configs[section.prefix + name]
        if "latent_std" in config.features:
            table = dataset(config.paths).to_table(columns=["latent_mean", "latent_std", *columns])
            values = {column: table.column(column).to_numpy() for column in table.column_names}
            found.append({
                "view": name, "end": _end(section.facts.get(name)),
                "mean": _mean(values["latent_mean"]), "std": _mean(values["latent_std"]),
                "metrics": [_mean(values[column]) for column in columns],
                "cut": int((section.facts.get(name) or {}).get(CUT_PROMPTS, 0)),
                "sample": int(np.isfinite(values[columns[0]]).sum()) if columns else 0,
            })  # fmt: skip
    return found


def _end(facts: Mapping[str, float] | None) -> str:
    """Where x_T sits: the time the network is message there, and its weights of image and noise."""
    return f"t = {facts['x_T_time']:g}: {facts['x_T_a']:.4f} x0 + {facts['x_T_s']:.4f} eps" if facts else "-"


def _mean(values: np.ndarray) -> str:
    """Mean of what is there, to three decimals; a dash for nothing."""
    there = values[np.isfinite(values)]
    return f"{there.mean():.3f}" if len(there) else "-"


def _yaml(root: Path, record: Record, configs: Sequence[tuple[Section, Config]]) -> str:
    first, total = record.sections[0], sum(section.rows for section in record.sections)
    sizes = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    licenses = sorted({section.license.lower() for section in record.sections})
    named = sorted({section.license_name for section in record.sections if section.license_name})
    fields = {
        "license": licenses[0] if len(licenses) == 1 else licenses,
        **({"license_name": ", ".join(named)} if named else {}),
        "pretty_name": f"NoiseZoo: {first.title}",
        "tags": ["noisezoo", "diffusion", "ddim-inversion", "representation-geometry",
                 *dict.fromkeys(section.source for section in record.sections)],
        "size_categories": [next((name for limit, name in sizes.items() if total < limit), "100K<n<1M")],
        "configs": [_config_yaml(root, section, config) for section, config in configs],
        "dataset_info": [_info_yaml(section, config) for section, config in configs],
    }  # fmt: skip
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).strip()


def _config_yaml(root: Path, section: Section, config: Config) -> dict[str, Any]:
    """One entry of `configs`: every file named, as a glob would not notice a missing shard.

    The version comes from the files' content: without it `datasets` serves old rows from its cache after a rebuild.
    """
    default = {"default": True} if config.name == PAIRED else {}
    data = [{"split": split, "path": [str(path.relative_to(root)) for path in paths]}
            for split, paths in config.files.items()]  # fmt: skip
    return {"config_name": config.name, **default, "version": version_by("".join(map(sha256_of, config.paths))),
            "description": f"{section.source}: {section.about(config.name)}", "data_files": data}  # fmt: skip


def _info_yaml(section: Section, config: Config) -> dict[str, Any]:
    """One entry of `dataset_info`: features, rows and bytes."""
    sizes = {split: sum(path.stat().st_size for path in paths) for split, paths in config.files.items()}
    splits = [{"name": s, "num_bytes": sizes[s], "num_examples": n} for s, n in section.splits.items()]
    total = sum(sizes.values())
    return {"config_name": config.name, "features": config.features._to_yaml_list(), "splits": splits,
            "download_size": total, "dataset_size": total}  # fmt: skip


def _check(path: Path, features: "Mapping[str, Features]") -> None:
    """The YAML must read back, through `datasets`, as the configs and features that were written."""
    from datasets import DatasetInfo
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    data = DatasetCard(path.read_text()).data
    infos = {entry["config_name"]: DatasetInfo._from_yaml_dict(entry) for entry in data.to_dict()["dataset_info"]}  # type: ignore[no-untyped-call]
    same = {name: info.features for name, info in infos.items()} == dict(features)
    if not same or set(MetadataConfigs.from_dataset_card_data(data)) != set(features):
        raise ValueError("the card's configs and features do not read back; report this")
