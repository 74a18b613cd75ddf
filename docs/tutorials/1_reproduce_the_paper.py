"""Reproduce the paper

Build a dataset as the paper's text does it (50 steps of DDIM, the empty prompt), run its own tests beside ours,
and read which of its claims hold. Drawn faces and models that ship with NoiseZoo stand in for CelebA and Stable
Diffusion, so that it runs on a laptop; for the paper's own images take the recipe `celeba-paper` and a GPU.
"""

from pathlib import Path

from noisezoo.analysis import Effort, Options, analyze
from noisezoo.builder import build_dataset, read_recipe

VIEWS = [
    "faces-ldm-uncond",
    "faces-ldm-uncond-untrained",
    "faces-clip",
    "faces-ssl",
    "pixels",
    "pixels-whitened",
    "random",
]
PAPER = {"scheme": "ddim", "num_inference_steps": 50, "span": None}


def main(out: Path = Path("reproduced"), images: int = 2000, effort: Effort | None = None) -> dict[str, str]:
    """Claim -> what it comes to."""
    recipe = read_recipe("faces", {"source": {"limit": images}, "views": VIEWS, "settings": PAPER})
    build_dataset(recipe, out)
    options = Options(paper=True, effort=effort or Effort())
    found = analyze(out, options, studies=["gaussianity", "probes", "paper", "stitching", "shared"])
    verdicts = {f"{row['claim']} ({row['view']})": row["verdict"] for row in found.results["scorecard"]}
    for claim, verdict in verdicts.items():
        print(f"{verdict}: {claim}")
    return verdicts


if __name__ == "__main__":
    main()
