"""Your own model

Any folder that diffusers can save, or any encoder's, becomes a view by a row that is measured from it. Here a
copy of a model that ships stands for yours. The row brings its untrained twin along, and by hand the same model
inverts and regenerates.
"""

import shutil
from pathlib import Path

import noisezoo
from noisezoo.builder import Inverter, build_dataset, read_recipe
from noisezoo.builder.models import describe


def main(out: Path = Path("own-model"), images: int = 100) -> float:
    """How far the pictures are, by hand, from those that their noise brings back; of their own norm."""
    folder = out / "my-ddpm"
    if not folder.exists():
        shutil.copytree(str(noisezoo.zoo.get("faces-ddpm").folder), folder)
    row = describe("diffusers", folder)
    print(f"{row.name}: shape {row.shape}, {row.gflops:g} GFLOP a forward")
    fields = {"source": {"limit": images}, "rows": [row], "views": [row.name, f"{row.name}-untrained", "pixels"]}
    build_dataset(read_recipe("faces", fields), out / "dataset")

    import torch

    rows = noisezoo.load(out / "dataset", views=["pixels"])
    pictures = torch.tensor(noisezoo.matrix(rows, "pixels")[:4]).reshape(-1, 3, 32, 32)
    inverter = Inverter.from_pretrained(folder, num_inference_steps=9, scheme="fireflow", span=50)
    noise = inverter.invert(pictures)
    error = float((inverter.generate(noise) - pictures).norm() / pictures.norm())
    print(f"round trip: {error:.4f} of the pictures' norm")
    return error


if __name__ == "__main__":
    main()
