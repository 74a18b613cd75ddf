"""Published NumPy files become a dataset of our layout, whose arrays are theirs; what is wrong with them is named."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

import noisezoo
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.import_arrays import NAMES, Nearest, import_arrays, note_nearest
from noisezoo.builder.dataset.import_latents import add_residuals
from noisezoo.builder.dataset.publish import publish
from noisezoo.builder.sources.source import Source, open_source
from noisezoo.errors import UsageError
from noisezoo.record import RECORD, read_record
from tests.builder.building import in_child
from tests.fresh import Fresh, module

ROWS, STEPS = 9, 10


class Some(Source):
    """The first drawn faces: `ROWS` of them are its split `train`, beside others of `validation` in between."""

    license = "cc0-1.0"

    def __init__(self) -> None:
        self.faces = open_source("faces")

    def scan(self) -> Any:
        import pyarrow as pa

        table = self.faces.scan().slice(0, 2 * ROWS - 1)
        splits = ["train" if k % 2 == 0 else "validation" for k in range(len(table))]
        return table.append_column("split", pa.array(splits))

    def label_features(self) -> Any:
        return self.faces.label_features()

    def content(self, key: str) -> bytes:
        return self.faces.content(key)

    def decode(self, content: bytes) -> Any:
        return self.faces.decode(content)


def released_inversion(pictures: np.ndarray, steps: int) -> np.ndarray:
    """The loop of the release as PAPER.md defines it, on the testbed's pixel model, in float64 but for the network.

    The state of the lowest timestep is the picture; each step asks the network in the state and at the time that it
    starts from, then moves to the next timestep: N - 1 calls for N timesteps, leading spacing.
    """
    import torch
    from diffusers import DDPMScheduler, UNet2DModel

    from noisezoo.zoo import TESTBED

    network = UNet2DModel.from_pretrained(TESTBED / "faces-ddpm" / "unet").eval()
    abar = DDPMScheduler.from_pretrained(TESTBED / "faces-ddpm" / "scheduler").alphas_cumprod.double()
    times = [k * (1000 // steps) for k in range(steps)]
    x = torch.from_numpy(pictures).double()
    with torch.inference_mode():
        for t, following in zip(times, times[1:], strict=False):
            v = network(x.float(), t).sample.double()  # the model predicts v = sqrt(abar) eps - sqrt(1 - abar) x0
            eps = abar[t].sqrt() * v + (1 - abar[t]).sqrt() * x
            clean = (x - (1 - abar[t]).sqrt() * eps) / abar[t].sqrt()
            x = abar[following].sqrt() * clean + (1 - abar[following]).sqrt() * eps
    return x.numpy().astype(np.float16)


@pytest.fixture(scope="module")
def ids() -> list[str]:
    table = Some().scan()
    return table.filter(pc.equal(table.column("split"), "train")).column("image_id").to_pylist()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the release's: noise by its own loop, and an encoder's float16 features, which are random."""
    folder = tmp_path_factory.mktemp("release") / "data"
    folder.mkdir()
    source = Some()
    table = source.scan()
    keys = table.filter(pc.equal(table.column("split"), "train")).column("key").to_pylist()
    pictures = np.stack([np.asarray(source.picture(key).convert("RGB"), np.float64) for key in keys])
    x = released_inversion(pictures.transpose(0, 3, 1, 2) / 127.5 - 1, STEPS)
    np.save(folder / "noises_faces-ddpm.npy", x.reshape(ROWS, -1))
    np.save(folder / "noises_vitB16.npy", np.random.default_rng(0).standard_normal((ROWS, 512)).astype(np.float16))
    return folder.parent


def imported(folder: Path, out: Path, **options: Any) -> Any:
    fields = {"name": "faces", "pca_dims": 16, "settings": {"num_inference_steps": STEPS, "dtype": "float32"}}
    return import_arrays(folder, options.pop("source", None) or Some(), out, **{**fields, **options})


def copied_with(theirs: Path, folder: Path, edit: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Their files with the noise changed."""
    folder.mkdir()
    for path in (theirs / "data").iterdir():
        values = np.load(path)
        np.save(folder / path.name, edit(values) if path.stem == "noises_faces-ddpm" else values)
    return folder


def test_every_row_pairs_with_the_image_of_its_place_in_the_split(theirs: Path, ids: list[str], tmp_path: Path) -> None:
    record = imported(theirs, tmp_path / "out", origin="them/noise")
    rows = noisezoo.load(tmp_path / "out", views=["faces-ddpm", "clip-vit-b16"])
    assert rows["image_id"][:] == ids and set(rows["split"]) == {"train"}
    for view, model in (("faces-ddpm", "faces-ddpm"), ("clip-vit-b16", "vitB16")):
        wanted = np.load(theirs / "data" / f"noises_{model}.npy").reshape(ROWS, -1)
        assert np.array_equal(noisezoo.matrix(rows, view, "float16"), wanted)
    assert verify(tmp_path / "out").ok
    assert json.loads(json.dumps(record.to_json())) == json.loads((tmp_path / "out" / RECORD).read_text())
    labels = Some().scan().to_pandas().set_index("image_id").loc[ids]
    order = np.arange(ROWS)
    np.random.RandomState(42).shuffle(order)  # as the release's code does
    assert {k for k, part in enumerate(rows["paper_split"][:]) if part == "train"} == set(order[:7])
    name = next(iter(Some().label_features()))
    assert rows[name][:] == labels[name].tolist()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "These arrays were not built here: they were imported from them/noise" in card
    assert "noises_vitB16.npy" in card and "Imported with" in card


def test_rows_of_the_release_s_own_loop_come_out_of_our_recomputation(theirs: Path, tmp_path: Path) -> None:
    imported(theirs, tmp_path / "out", views=["faces-ddpm"])
    report = verify(tmp_path / "out", recompute=ROWS, source=Some())
    (row,) = report.recomputed
    assert report.ok and row.rows == ROWS and row.worst < 2e-3, "float16's rounding, and no more"
    assert row.end == (STEPS - 1) * (1000 // STEPS)


def test_other_steps_than_they_were_made_with_are_told_apart(theirs: Path, tmp_path: Path) -> None:
    worst = {}
    for steps in (STEPS, 2 * STEPS):
        imported(theirs, tmp_path / "out", views=["faces-ddpm"],
                 settings={"num_inference_steps": steps, "dtype": "float32"})  # fmt: skip
        worst[steps] = verify(tmp_path / "out", recompute=ROWS, source=Some()).recomputed[0].worst
    assert worst[2 * STEPS] > 20 * worst[STEPS]


def test_swapped_rows_are_found_by_recomputation(theirs: Path, ids: list[str], tmp_path: Path) -> None:
    folder = copied_with(theirs, tmp_path / "in", lambda X: X[[0, 1, 3, 2, *range(4, ROWS)]])
    imported(folder, tmp_path / "out", views=["faces-ddpm"])
    assert verify(tmp_path / "out").ok
    report = verify(tmp_path / "out", recompute=ROWS, source=Some())
    assert [(finding.row, finding.image_id) for finding in report.findings] == [(2, ids[2]), (3, ids[3])]


def test_a_row_that_is_not_finite_is_refused_in_every_view_and_accounted_for(
    theirs: Path, ids: list[str], tmp_path: Path
) -> None:
    def harmed(X: np.ndarray) -> np.ndarray:
        X[4, 7], X[8, 0] = np.nan, np.inf
        return X

    record = imported(copied_with(theirs, tmp_path / "in", harmed), tmp_path / "out")
    (section,) = record.sections
    assert (section.scanned, section.rows, section.refused) == (ROWS, ROWS - 2, 2)
    rows = noisezoo.load(tmp_path / "out", views=["faces-ddpm", "clip-vit-b16"])
    assert rows["image_id"][:] == [image_id for k, image_id in enumerate(ids) if k not in (4, 8)]
    refusals = [json.loads(line) for line in (tmp_path / "out" / "refusals.jsonl").read_text().splitlines()]
    assert [(r["image_id"], r["stage"]) for r in refusals] == [(ids[4], "faces-ddpm"), (ids[8], "faces-ddpm")]
    assert all("noises_faces-ddpm.npy" in r["message"] for r in refusals)
    assert verify(tmp_path / "out").ok


def test_values_that_do_not_fit_in_float16_are_refused_and_not_made_infinite(theirs: Path, tmp_path: Path) -> None:
    def large(X: np.ndarray) -> np.ndarray:
        X = X.astype(np.float64)
        X[1, 1] = 1e6
        return X

    record = imported(copied_with(theirs, tmp_path / "in", large), tmp_path / "out", views=["faces-ddpm"])
    assert record.sections[0].refused == 1


def truncated(folder: Path) -> None:
    path = folder / "noises_faces-ddpm.npy"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    np.save(folder / "noises_faces-ddpm.npy", np.array([{"a": 1}] * ROWS, dtype=object), allow_pickle=True)


@pytest.mark.parametrize(("harm", "options", "message"), [
    (truncated, {}, "noises_faces-ddpm.npy cannot be read"),
    (pickled, {}, "noises_faces-ddpm.npy cannot be read"),
    (lambda f: (f / "noises_faces-ddpm.npy").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), {},
     "noises_faces-ddpm.npy cannot be read"),
    (lambda f: (f / "noises_faces-ddpm.npy").write_bytes(b""), {}, "noises_faces-ddpm.npy cannot be read"),
    (lambda f: np.save(f / "noises_faces-ddpm.npy", np.zeros((ROWS - 1, 3072), np.float16)), {},
     f"has {ROWS - 1} rows where split train of faces has {ROWS}"),
    (lambda f: np.save(f / "noises_faces-ddpm.npy", np.zeros((ROWS, 3000), np.float16)), {},
     "has rows of shape (3000,) where view faces-ddpm has (3, 32, 32)"),
    (lambda f: np.save(f / "noises_faces-ddpm.npy", np.zeros((ROWS, 4, 32, 32), np.float16)), {},
     "has rows of shape (4, 32, 32) where view faces-ddpm has (3, 32, 32)"),
    (lambda f: np.save(f / "noises_vitB16.npy", np.zeros((ROWS, 768), np.float16)), {},
     "has rows of shape (768,) where view clip-vit-b16 has (512,)"),
    (lambda f: np.save(f / "noises_faces-ddpm.npy", np.zeros((ROWS, 3072), np.int64)), {}, "no rows of real numbers"),
    (lambda f: np.save(f / "noises_faces-ddpm.npy", np.zeros(ROWS, np.float16)), {}, "no rows of real numbers"),
    (lambda f: np.save(f / "noises_swinT.npy", np.zeros((ROWS, 4), np.float16)), {},
     "no view is known by 'swinT': say which it is by --name swinT=VIEW"),
    (lambda f: np.save(f / "noises_ocB16.npy", np.load(f / "noises_vitB16.npy")), {"names": {"ocB16": "clip-vit-b16"}},
     "are both view clip-vit-b16"),
    (lambda f: None, {"views": ["sd15"]}, "has no file of view 'sd15'; it has: noises_"),
    (lambda f: None, {"split": "test"}, "has no split 'test'; it has: train, validation, or all"),
    (lambda f: None, {"split": "all"}, f"rows where split all of faces has {2 * ROWS - 1}"),
    (lambda f: [path.unlink() for path in f.iterdir()], {}, "has no files noises_*.npy"),
])  # fmt: skip
def test_what_is_wrong_with_the_files_is_one_line_before_anything_is_written(
    theirs: Path, tmp_path: Path, harm: Callable[[Path], object], options: dict[str, Any], message: str
) -> None:
    folder = copied_with(theirs, tmp_path / "in", lambda X: X)
    harm(folder)
    with pytest.raises(UsageError) as caught:
        imported(folder, tmp_path / "out", **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_source_without_splits_is_refused_with_the_mend_and_pairs_as_a_whole(theirs: Path, tmp_path: Path) -> None:
    class Unsplit(Some):
        def scan(self) -> Any:
            return super().scan().drop_columns(["split"]).slice(0, ROWS)

    with pytest.raises(UsageError, match="has no splits of its own: give --split all"):
        imported(theirs, tmp_path / "out", source=Unsplit())
    imported(theirs, tmp_path / "out", source=Unsplit(), split="all", views=["clip-vit-b16"])
    assert noisezoo.load(tmp_path / "out")["image_id"][:] == Unsplit().scan().column("image_id").to_pylist()


def test_both_spellings_of_the_release_s_names_are_the_same_views() -> None:
    for one, other in (("vitL14_oc", "ocL14"), ("vitB16_oc", "ocB16"), ("dinov3", "dino")):
        assert NAMES[one] == NAMES[other]
    assert all(noisezoo.zoo.get(view) for view in NAMES.values())


def test_a_folder_of_something_else_is_not_overwritten_and_an_earlier_import_is(
    theirs: Path, built: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(built, tmp_path / "built")
    with pytest.raises(UsageError, match="holds something else than an import"):
        imported(theirs, tmp_path / "built")
    imported(theirs, tmp_path / "out")
    first = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    imported(theirs, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == first


def test_a_killed_import_is_no_dataset_and_the_next_one_completes_it(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisezoo.builder.dataset import import_arrays as room  # noqa: F401 - the module must be loaded to be patched

    module = sys.modules["noisezoo.builder.dataset.import_arrays"]

    def killed() -> None:
        monkeypatch.setattr(module, "write_refusals", lambda *a: os.kill(os.getpid(), 9))
        imported(theirs, tmp_path / "out")

    whole = tmp_path / "whole" / "out"
    imported(theirs, whole)
    assert in_child(killed) == -9
    with pytest.raises(UsageError, match="is not a finished NoiseZoo folder"):
        noisezoo.load(tmp_path / "out")
    imported(theirs, tmp_path / "out")
    for path in (path for path in whole.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(whole)).read_bytes()


def test_imported_arrays_are_not_sent_on_unless_that_is_asked_for(theirs: Path, tmp_path: Path) -> None:
    from tests.builder.publishing import REPO, passes
    from tests.hub_server import TOKEN, HubServer, client

    imported(theirs, tmp_path / "out", origin="them/noise")
    with HubServer() as server, client(server):
        options = {"check": passes, "token": TOKEN, "endpoint": server.url, "sensitive": False}
        with pytest.raises(UsageError, match="was imported from them/noise; .*--redistribute"):
            publish(tmp_path / "out", REPO, **options)
        assert not server.repos
        publish(tmp_path / "out", REPO, redistribute=True, **options)
        assert "README.md" in server.repo(REPO).head.tree


def test_the_command_imports_from_the_hub_and_says_how_near_rows_come(tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    from tests.hub_server import TOKEN, HubServer, client

    faces = open_source("faces")
    pictures = []
    for k, key in enumerate(faces.scan().column("key").to_pylist()[:8]):
        path = tmp_path / "photos" / ("train" if k % 2 else "test") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        faces.picture(key).save(path)
        pictures += [] if k % 2 else [np.asarray(faces.picture(key).convert("RGB"), np.float64)]
    X = released_inversion(np.stack(pictures).transpose(0, 3, 1, 2) / 127.5 - 1, 5)
    np.save(tmp_path / "noises_faces-ddpm.npy", X)
    photos = f"imagefolder:{tmp_path / 'photos'}"
    command = ["import", "me/theirs", "--images", photos, "--split", "test", "--out",
               str(tmp_path / "out"), "--recompute", "3", "--steps", "5,10", "--latents"]  # fmt: skip
    with HubServer() as server, client(server):
        api = HfApi(endpoint=server.url, token=TOKEN)
        api.create_repo("me/theirs", repo_type="dataset")
        api.upload_file(path_or_fileobj=str(tmp_path / "noises_faces-ddpm.npy"), repo_id="me/theirs",
                        path_in_repo="data/noises_faces-ddpm.npy", repo_type="dataset")  # fmt: skip
        environment = server.environment(tmp_path / "home")
        run = Fresh(module("noisezoo"), *command, environment=environment)
        out, said = run.communicate()
        assert run.poll() == 0, said
        nearest, other = ([line for line in out.splitlines() if f"t = {t}" in line] for t in (800, 900))
        medians = [float(line.split("│")[5]) for line in (*nearest, *other)]
        assert medians[0] < 0.03 < 0.1 < medians[1], out
        record = read_record(tmp_path / "out")
        assert record is not None
        (section,) = record.sections
        told, (view, image, rest) = section.facts["faces-ddpm"], section.views
        assert (image["name"], rest["name"]) == ("pixels", "faces-ddpm-residual") == ("pixels", *section.view_names[2:])
        assert "faces-ddpm-residual: x_T - a z0, a = " in out
        assert (view["settings"], view["imported"]["nearest_steps"]) == ({"num_inference_steps": 5}, 5)
        assert told["x_T_time"] == 800 and told["x_T_a"] ** 2 + told["x_T_s"] ** 2 == pytest.approx(1)
        card = (tmp_path / "out" / "README.md").read_text()
        assert (
            f"| 5 | {view['imported']['median_difference']:.2g} of the norm, 3 rows |" in card and "t = 800: " in card
        )
        assert verify(tmp_path / "out", recompute=2, source=open_source(photos)).ok
        missing = ["import", "me/nothing", "--images", "faces", "--out", str(tmp_path / "no")]
        run = Fresh(module("noisezoo"), *missing, environment=environment)
        _, said = run.communicate()
        assert run.poll() == 2 and "me/nothing: it is no folder here, and the Hub does not have it" in said
    assert read_record(tmp_path / "out").sections[0].rows == 4  # type: ignore[union-attr]


def test_steps_that_come_nowhere_near_are_noted_and_the_end_stays_unknown(theirs: Path, tmp_path: Path) -> None:
    record = imported(theirs, tmp_path / "out", views=["faces-ddpm"])
    facts = {"x_T_time": 900.0, "x_T_a": 0.1, "x_T_s": 0.99}
    noted = note_nearest(tmp_path / "out", record, {"faces-ddpm": Nearest(150, 0.4, 3, facts)})
    (section,) = noted.sections
    assert section.facts == {} and "settings" not in section.views[0]
    assert section.views[0]["imported"]["nearest_steps"] == 150 and verify(tmp_path / "out").ok


def test_the_images_give_z0_and_what_is_known_of_the_end_of_x_t_gives_the_residual(
    theirs: Path, ids: list[str], tmp_path: Path
) -> None:
    """Of a latent model, whose z0 diffusers gives as well, and of a model of pixels, whose z0 is the picture."""
    import torch
    from diffusers import AutoencoderKL

    from noisezoo.zoo import TESTBED

    folder = copied_with(theirs, tmp_path / "in", lambda X: X)
    noise = np.random.default_rng(1).standard_normal((ROWS, 4, 8, 8)).astype(np.float16)
    np.save(folder / "noises_faces-ldm.npy", noise)
    record = imported(folder, tmp_path / "out", latents=True)
    facts = {"x_T_time": 900.0, "x_T_a": 0.25, "x_T_s": 0.97}
    nearest = {name: Nearest(STEPS, 0.01, ROWS, facts) for name in ("faces-ddpm", "faces-ldm")}
    record = add_residuals(tmp_path / "out", note_nearest(tmp_path / "out", record, nearest))

    source = Some()
    keys = [key for k, key in enumerate(source.scan().column("key").to_pylist()) if k % 2 == 0]
    pictures = np.stack([np.asarray(source.picture(key).convert("RGB"), np.float32) for key in keys]) / 127.5 - 1
    pictures = pictures.transpose(0, 3, 1, 2)
    vae = AutoencoderKL.from_pretrained(TESTBED / "faces-ldm" / "vae").eval()
    with torch.inference_mode():
        mode = vae.encode(torch.from_numpy(pictures)).latent_dist.mode().numpy()
    shift = vae.config.shift_factor or 0.0
    z0 = {"faces-ldm": (mode - shift) * vae.config.scaling_factor, "faces-ddpm": pictures}
    named = {"faces-ldm": "faces-vae", "faces-ddpm": "pixels"}
    rows = noisezoo.load(tmp_path / "out", views=record.sections[0].view_names)
    assert rows["image_id"][:] == ids
    for model, view in named.items():
        wanted = z0[model].reshape(ROWS, -1)
        stored = noisezoo.matrix(rows, view)
        np.testing.assert_allclose(stored, wanted, atol=2e-3 * np.abs(wanted).max())
        rest = noisezoo.matrix(rows, model) - np.float32(0.25) * stored
        np.testing.assert_array_equal(noisezoo.matrix(rows, f"{model}-residual", "float16"), rest.astype(np.float16))
    assert verify(tmp_path / "out").ok
    report = verify(tmp_path / "out", recompute=2, source=source)
    assert {row.config for row in report.recomputed if row.rows and not row.faults} >= {"faces-vae", "pixels"}
    theirs_alone = {view["name"] for view in record.sections[0].views if view.get("imported")}
    assert theirs_alone == {"faces-ddpm", "faces-ldm", "clip-vit-b16"}
    imported(folder, tmp_path / "out")  # an earlier import may be written over
    assert not (tmp_path / "out" / ".staged").exists()


def test_an_image_that_cannot_be_encoded_is_refused_in_every_view(theirs: Path, ids: list[str], tmp_path: Path) -> None:
    class Torn(Some):
        def content(self, key: str) -> bytes:
            if key == "4":  # the third of `train`
                raise OSError("the file is torn")
            return super().content(key)

    record = imported(theirs, tmp_path / "out", source=Torn(), latents=True)
    rows = noisezoo.load(tmp_path / "out", views=["faces-ddpm", "pixels", "clip-vit-b16"])
    assert rows["image_id"][:] == [image_id for image_id in ids if image_id != ids[2]]
    (refusal,) = [json.loads(line) for line in (tmp_path / "out" / "refusals.jsonl").read_text().splitlines()]
    assert (refusal["image_id"], refusal["stage"]) == (ids[2], "pixels") and "torn" in refusal["message"]
    assert record.sections[0].refused == 1 and verify(tmp_path / "out").ok
    unchanged = add_residuals(tmp_path / "out", record)
    assert unchanged.sections[0].view_names == record.sections[0].view_names, "the end of x_T is not known"


def test_an_import_killed_while_it_encodes_goes_on_with_the_images_that_are_left(theirs: Path, tmp_path: Path) -> None:
    class Read(Some):
        """Counts the pictures that are read, and is killed at the sixth."""

        deadly = True

        def content(self, key: str) -> bytes:
            (tmp_path / "read").open("a").write(f"{key}\n")
            if self.deadly and len((tmp_path / "read").read_text().split()) == 6:
                os.kill(os.getpid(), 9)
            return super().content(key)

    def encode(out: Path, source: Source) -> None:
        settings = {"num_inference_steps": STEPS, "dtype": "float32", "batch_size": 2}
        imported(theirs, out, source=source, latents=True, settings=settings)

    whole = tmp_path / "whole" / "out"
    encode(whole, Some())
    assert in_child(lambda: encode(tmp_path / "out", Read())) == -9
    source = Read()
    source.deadly = False
    before = len((tmp_path / "read").read_text().split())
    encode(tmp_path / "out", source)
    assert len((tmp_path / "read").read_text().split()) - before <= ROWS - 2, (
        "a batch that is written is not read again"
    )
    for path in (path for path in whole.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(whole)).read_bytes()
    assert not (tmp_path / "out" / ".staged").exists()
