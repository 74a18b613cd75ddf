"""Any timm image model: the pooled features that its classifier would read."""

from pathlib import Path

from noisezoo.builder.models.encoders import Encoder
from noisezoo.builder.models.files import Layout


class Timm(Encoder, name="timm", layout=Layout("config.json", "architecture"), package="timm"):
    """`config.json` with timm's `architecture`, and its weights."""

    def load(self, folder: Path, stored: frozenset[str], untrained_seed: int | None) -> None:
        """By timm's own factory, from `local-dir:`, without the classifier, and the config's evaluation transform."""
        import timm
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        self.model = timm.create_model(f"local-dir:{folder}", pretrained=untrained_seed is None, num_classes=0)
        settings = resolve_model_data_config(self.model)  # type: ignore[no-untyped-call]
        self.preprocess = create_transform(**settings, is_training=False)
