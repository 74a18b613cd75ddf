"""The `afhq` and `afhqv2` sources: faces of cats, dogs and wild animals (Choi et al., StarGAN v2, CVPR 2020)."""

from datasets import ClassLabel

from noisezoo.builder.sources.hub_dataset import load, with_ids
from noisezoo.builder.sources.imagefolder import read_folder
from noisezoo.builder.sources.rows import ImageRows, Part


class AFHQ(ImageRows):
    """The Hub's copy, one split of numbered rows; or a folder of Parquet files or of `train|test/cat|dog|wild`."""

    name = "afhq"
    license = "cc-by-nc-4.0"
    stratify = ("label",)
    wanted = {"label": ClassLabel(names=["cat", "dog", "wild"])}
    repo, revision = "huggan/AFHQ", "6983c553da3dcadd659953db9c925e7febeac88f"

    def read(self) -> dict[str, Part]:
        """The rows of the Parquet files, numbered; or the folder's pictures by their paths."""
        if self.path and not any(self.root.rglob("*.parquet")):
            return read_folder(self.root, self.name, drop_labels=False, drop_metadata=True)
        return with_ids(load(self.where, self.name, revision=self.revision))


class AFHQv2(AFHQ):
    """The same animals, resampled without aliasing and stored as PNG (version 2)."""

    name = "afhqv2"
    repo, revision = "huggan/AFHQv2", "f638548a7eccf134045249ed2ac708505bac6e2e"
