"""Image sources: one class each, opened by name."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from noisezoo.builder.sources.source import Refusal, Source
from noisezoo.errors import UsageError

SOURCES: Mapping[str, str] = {
    "faces": "noisezoo.builder.sources.faces:Faces",
    "digits": "noisezoo.builder.sources.digits:Digits",
    "imagefolder": "noisezoo.builder.sources.imagefolder:ImageFolder",
    "celeba": "noisezoo.builder.sources.celeba:CelebA",
    "afhq": "noisezoo.builder.sources.afhq:AFHQ",
    "afhqv2": "noisezoo.builder.sources.afhq:AFHQv2",
    "hf": "noisezoo.builder.sources.hub_dataset:HubImages",
}
"""Name -> `module:class`. Adding a source is adding a file and a line here."""

__all__ = ["SOURCES", "Refusal", "Source", "open_source"]


def open_source(name: str, options: Mapping[str, Any] | None = None) -> Source:
    """Open `NAME` or `NAME:ARGUMENT` (as in `imagefolder:photos`, `celeba:data/celeba`, `hf:beans`).

    Raises:
        UsageError: No such source, or it does not take those options.
    """
    kind, _, argument = name.partition(":")
    if kind not in SOURCES:
        raise UsageError(
            f"unknown source {kind!r}; choose one of: {', '.join(SOURCES)} "
            "(as in imagefolder:PATH, hf:REPO; celeba and afhq may take :PATH)"
        )
    module, _, attribute = SOURCES[kind].partition(":")
    factory = getattr(import_module(module), attribute)
    try:
        source: Source = factory(*([argument] if argument else []), **(options or {}))
    except TypeError as error:
        raise UsageError(f"source {name!r}: {str(error).replace('__init__() ', '')}") from error
    return source
