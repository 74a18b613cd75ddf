"""Who labels generated pictures: probes of real pictures' labels, or a classifier that the user gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo import zoo
from noisezoo.builder.sources import Source, hash_unit, signed, to_rgb, with_splits
from noisezoo.errors import UsageError
from noisezoo.schema import ID, SPLIT

if TYPE_CHECKING:
    from PIL.Image import Image

    from noisezoo.builder.models import Encoder

Seen = Mapping[str, Sequence[Any]]  # label -> its value for each picture
REAL_ROWS = 5000  # at most this many real pictures teach and test a judge
JUDGED_SIDE = 32
"""Side of the pictures of which a judge without an encoder reads the pixels; less where the model's are smaller."""


@dataclass
class Classifier:
    """`module:function` of the user's: pictures -> label -> yes or no for each."""

    target: str  # the function
    resolution: int  # side of the pictures that it will see
    counts: None = None  # no real pictures are known

    def features(self) -> dict[str, Any]:
        """Label -> its `datasets` feature, by what it says of a black picture."""
        from datasets import Value
        from PIL import Image

        return dict.fromkeys(self.see([Image.new("RGB", (self.resolution, self.resolution))]), Value("bool"))

    def see(self, images: "Sequence[Image]") -> Seen:
        """What the function says; raises UsageError where there is no such function."""
        try:
            classify: Callable[[Sequence[Image]], Seen] = resolve_name(self.target)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(f"generated: there is no classifier {self.target}: {error}") from error
        return classify(images)


@dataclass
class Probes:
    """A logistic probe for each label of real pictures, yes or no or classes, fitted on their training split."""

    real: Source  # of real pictures
    name: str  # what messages call it
    encoder: zoo.View | None  # whose embeddings the probes read; None for the pixels
    resolution: int  # side of the generated pictures
    counts: dict[str, dict[str, int]] | None = None  # hits on real pictures that the probes did not learn

    def features(self) -> dict[str, Any]:
        """Label -> its `datasets` feature, of the real labels that a probe can learn."""
        from datasets import ClassLabel, Value

        features = self.real.label_features().items()
        return {name: f for name, f in features if isinstance(f, ClassLabel) or f == Value("bool")}

    def see(self, images: "Sequence[Image]") -> Seen:
        """What every probe predicts."""
        X = self._read(images)
        return {name: probe.predict(X) for name, probe in self._probes.items()}

    @cached_property
    def _probes(self) -> dict[str, Any]:
        """A probe for each label; its hits on the pictures that are not for training go into `counts`."""
        from datasets import ClassLabel

        table = self.real.scan()
        order = np.argsort([hash_unit(f"judge/{image_id}") for image_id in table.column(ID).to_pylist()])
        table = with_splits(table.take(np.sort(order[:REAL_ROWS])), 0)
        images = dict(enumerate(self.real.images(table.column("key").to_pylist())))
        kept = {i: image for i, image in images.items() if not isinstance(image, Exception)}
        table, X = table.take(list(kept)), self._read(list(kept.values()))
        train = np.array(table.column(SPLIT).to_pylist()) == "train"
        probes, self.counts = {}, {}
        for name, feature in self.features().items():
            y = table.column(name).to_numpy()
            if len(np.unique(y[train])) < 2 or train.all():
                raise UsageError(f"generated: label {name} of {self.name} has too few rows to learn")
            probes[name] = _probe().fit(X[train], y[train])
            truth, seen = y[~train], probes[name].predict(X[~train])
            classes = enumerate(feature.names) if isinstance(feature, ClassLabel) else [(True, None)]
            for value, said in classes:  # named as analyses name them
                self.counts[name if said is None else f"{name}={said}"] = _hits(truth == value, seen == value)
        return probes

    def _read(self, images: "Sequence[Image]") -> np.ndarray:
        """What the probes read of pictures: (n, d)."""
        if self._embedder is not None:
            return self._embedder.embed([to_rgb(image) for image in images])
        side = min(self.resolution, JUDGED_SIDE)
        return np.stack([signed(image, side).reshape(-1) for image in images])

    @cached_property
    def _embedder(self) -> "Encoder | None":
        from noisezoo.builder.models import Encoder

        if self.encoder is None:
            return None
        row = self.encoder
        if row.kind != "embedding":
            raise UsageError(f"generated: judge {row.name} is {row.about}: name an encoder")
        return Encoder.from_pretrained(row.location, family=row.family, revision=row.revision)


def _probe() -> Any:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = LogisticRegressionCV(
        Cs=np.logspace(-3, 1, 5), cv=3, l1_ratios=(0.0,), scoring="neg_log_loss", max_iter=500,
        use_legacy_attributes=False,
    )  # fmt: skip
    return make_pipeline(StandardScaler(), probe)


def _hits(truth: np.ndarray, seen: np.ndarray) -> dict[str, int]:
    """Real pictures that have the label and that do not, and how many of each the judge saw so."""
    return {"positives": int(truth.sum()), "hits": int((truth & seen).sum()),
            "negatives": int((~truth).sum()), "rejections": int((~truth & ~seen).sum())}  # fmt: skip
