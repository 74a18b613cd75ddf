"""Audit the published NoiseZoo

The authors publish NumPy files of noise. Import them as a dataset of our layout, check every byte, and ask
whether the noise is Gaussian: by random projections, as the paper does, and by what projections cannot see. The
import pairs row k with image k of CelebA; it reads ids and labels, not pictures. Give the folder of a download
in the place of the Hub id to work offline.
"""

from pathlib import Path

import noisezoo
from noisezoo.analysis import GaussianityResult, gaussianity
from noisezoo.builder import open_source, verify
from noisezoo.builder.dataset import PATTERNS, import_arrays
from noisezoo.hub import fetch


def main(
    place: str = "chentasker/NoiseZoo", images: str = "celeba", out: Path = Path("theirs"), split: str = "train"
) -> dict[str, GaussianityResult]:
    """View -> its tests."""
    local = Path(place)
    folder = local if local.is_dir() else fetch(place, None, None, PATTERNS)
    import_arrays(folder, open_source(images), out, name=images, split=split, origin=place)
    report = verify(out)
    print(f"{report.files} files checked, {len(report.findings)} faults")
    tests = {}
    for view in noisezoo.zoo.rows():
        if (out / view.name).is_dir():
            rows = noisezoo.load(out, views=[view.name])
            tests[view.name] = gaussianity(noisezoo.matrix(rows, view.name))
            for row in tests[view.name].rows:
                shares = f"accepted {row.acceptance:.3f}, Gaussian rows {row.null:.3f}"
                print(f"{view.name}: {row.family} {row.test}: {shares}")
    return tests


if __name__ == "__main__":
    main()
