"""Croissant metadata beside the card (MLCommons Croissant 1.1, JSON-LD): what catalogues and other loaders read."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from noisezoo.citation import BIBTEX
from noisezoo.files import write_json
from noisezoo.record import CROISSANT, Record, Section
from .layout import Config, read_configs, version_by

_SPACE = re.compile(r"\s")  # readers refuse an @id with one, escaped or not
VERSION = "http://mlcommons.org/croissant/1.1"
TEXTS: Mapping[str, Any] = {"@container": "@language"}
CONTEXT: Mapping[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "dct": "http://purl.org/dc/terms/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo", "name": TEXTS, "description": TEXTS,
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in (
        "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
        "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
        "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
        "source", "subField", "transform",
    )},
}  # fmt: skip
"""The specification's own, word for word."""
TYPES: Mapping[str, str] = {
    "bool": "sc:Boolean", "string": "sc:Text", "large_string": "sc:Text", "float16": "cr:Float16",
    "float32": "cr:Float32", "float64": "cr:Float64",
    **{f"{sign}int{bits}": f"cr:{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
MEDIA: Mapping[str, str] = {
    ".parquet": "application/x-parquet", ".md": "text/markdown", ".json": "application/json",
    ".jsonl": "application/jsonlines", ".safetensors": "application/octet-stream",
}  # fmt: skip


def write_croissant(root: Path, record: Record) -> None:
    """Write `croissant.json` from the record, which lists every other file, and the configs that lie there.

    Every file is an object with its hash, each config a set of files and a set of records. A date of publication and an
    address are left out: neither is known here, and the same build gives the same bytes.
    """
    write_json(root / CROISSANT, croissant(root, record, root.resolve().name))


def croissant(root: Path, record: Record, name: str) -> dict[str, Any]:
    """The metadata of a dataset that is called `name`, as JSON."""
    configs = read_configs(root, record)
    licenses = sorted({section.license_name or section.license for section in record.sections})
    sources = ", ".join(section.source for section in record.sections)
    rows = {path: file["sha256"] for path, file in record.files.items() if path.endswith(".parquet")}
    own = {"rai:personalSensitiveInformation": SENSITIVE} if any(s.sensitive for s in record.sections) else {}
    return {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": VERSION, "name": name,
        "description": f"Diffusion noise and encoder embeddings of the same images, paired row by row ({sources}).",
        "license": licenses, "citeAs": BIBTEX, "version": version_by(json.dumps(rows)), **own,
        "keywords": ["diffusion", "DDIM inversion", "representation geometry"],
        "distribution": list(_distribution(record, [config.name for _, config in configs])),
        "recordSet": [_record_set(section, config) for section, config in configs],
    }  # fmt: skip


SENSITIVE = "Noise regenerates the photograph of a person that it came from: the same care as for the source applies."


def _distribution(record: Record, configs: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Every file, then the set of each config's files."""
    for path, file in record.files.items():
        yield {
            "@type": "cr:FileObject", "@id": path, "name": path, "contentUrl": path,
            "contentSize": f"{file['bytes']} B", "encodingFormat": MEDIA[Path(path).suffix], "sha256": file["sha256"],
        }  # fmt: skip
    for name in configs:
        yield {"@type": "cr:FileSet", "@id": f"files/{name}", "name": f"files/{name}",
               "encodingFormat": MEDIA[".parquet"], "includes": f"{name}/*.parquet"}  # fmt: skip


def _record_set(section: Section, config: Config) -> dict[str, Any]:
    licenses = {section.prefix + view["name"]: f"; licence of the model: {view['license']}" for view in section.views}
    rows = ", ".join(f"{split} {count}" for split, count in section.splits.items())
    about = section.about(config.name) + licenses.get(config.name, "")
    return {
        "@type": "cr:RecordSet", "@id": config.name, "name": config.name,
        "description": f"{section.source}: {about}. Rows: {rows}.",
        "key": {"@id": f"{config.name}/image_id"},
        "field": [_field(config, name, feature) for name, feature in config.features.items()],
    }  # fmt: skip


def _field(config: Config, name: str, feature: Any) -> dict[str, Any]:
    kind, shape, about = _described(feature)
    array = {"isArray": True, "arrayShape": ",".join(map(str, shape))} if shape else {}
    return {
        "@type": "cr:Field", "@id": _SPACE.sub("_", f"{config.name}/{name}"), "name": name, "dataType": kind, **array,
        **({"description": about} if about else {}),
        "source": {"fileSet": {"@id": f"files/{config.name}"}, "extract": {"column": name}},
    }  # fmt: skip


def _described(feature: Any) -> tuple[str, tuple[int, ...], str]:
    """Type, shape of an array (empty for one value) and what its numbers stand for."""
    from datasets import ClassLabel, List

    if isinstance(feature, ClassLabel):
        return "cr:Int64", (), "classes: " + ", ".join(f"{k} {name}" for k, name in enumerate(feature.names))
    if isinstance(feature, List):
        kind, inner, about = _described(feature.feature)
        return kind, (feature.length, *inner), about
    return TYPES.get(feature.dtype, "sc:Text"), tuple(getattr(feature, "shape", ())), ""
