"""Access to models on the Hub, against a loopback server that answers as the Hub does."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants

from noisezoo.builder.models.files import check_access, commit_of, is_path, resolve
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.zoo import View
from tests.builder.models import save_unconditional

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIPELINE = (
    "model_index.json", "README.md", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.bin", "unet/modeling.py", "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors", "vae_1_0/diffusion_pytorch_model.safetensors",
    "text_encoder_2/model-00001-of-00002.safetensors",
    "text_encoder_2/model.safetensors.index.json", "text_encoder_2/model.fp16-00001-of-00002.safetensors",
    "tokenizer/merges.txt", "tokenizer/vocab.json", "tokenizer_3/spiece.model", "scheduler/scheduler_config.json",
    "safety_checker/model.safetensors", "v1-5-pruned.safetensors", "pipeline.py",
)  # fmt: skip
REPOSITORIES: dict[str, tuple[str, ...]] = {
    "me/pipeline": PIPELINE,
    "me/flat": ("model_index.json", "config.json", "scheduler_config.json", "diffusion_pytorch_model.bin"),
    "me/clip": ("open_clip_config.json", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
                "merges.txt", "vocab.json", "tokenizer_config.json", "model.safetensors", "config.json", "training.py"),
    "me/pickles": ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin",
                   "unet/openvino_model.bin", "unet/diffusion_pytorch_model.fp16.bin", "vae/config.json",
                   "vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.bin",
                   "vae_decoder/model.bin"),
    "me/sd35": ("model_index.json", "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors",
                "text_encoder/config.json", "text_encoder/model.safetensors", "text_encoders/t5xxl_fp16.safetensors",
                "text_encoders/clip_g.safetensors", "tokenizer/vocab.json", "sd3.5_medium.safetensors"),
    "me/half": ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors"),
    "me/sharded": ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors.index.json",
                   "unet/diffusion_pytorch_model-00001-of-00001.safetensors",
                   "unet/diffusion_pytorch_model.bin.index.json", "unet/diffusion_pytorch_model-00001-of-00002.bin"),
    "me/vit-pickled": ("config.json", "preprocessor_config.json", "pytorch_model.bin"),
    "me/timm": ("config.json", "model.safetensors", "pytorch_model.bin", "model.fp16.safetensors"),
    "me/vit": ("config.json", "preprocessor_config.json", "model-00001-of-00001.safetensors", "modeling_vit.py",
               "model.safetensors.index.json", "pytorch_model.bin", "tf_model.h5"),
}  # fmt: skip
NETWORKS = ("unet", "vae", "text_encoder_2", "safety_checker")
CONTENTS: dict[str, Any] = {
    "model_index.json": {**dict.fromkeys(NETWORKS, ["diffusers", "Any"]), "tokenizer": ["transformers", "Any"],
                         "tokenizer_3": ["transformers", "Any"], "scheduler": ["diffusers", "Any"],
                         "text_encoder": [None, None]},
    "model.safetensors.index.json": {"weight_map": {"a": "model-00001-of-00002.safetensors"}},
}  # fmt: skip
SHARDS = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00001.safetensors"}}
CONTENTS["me/sharded/unet/diffusion_pytorch_model.safetensors.index.json"] = SHARDS
CONTENTS["me/sharded/model_index.json"] = {"unet": ["diffusers", "Any"]}
CONTENTS["me/half/model_index.json"] = {"unet": ["diffusers", "Any"]}
CONTENTS["me/pickles/model_index.json"] = {"unet": ["diffusers", "Any"], "vae": ["diffusers", "Any"]}
CONTENTS["me/sd35/model_index.json"] = {
    "transformer": ["diffusers", "Any"],
    "text_encoder": ["transformers", "Any"],
    "tokenizer": ["transformers", "Any"],
    "text_encoder_3": [None, None],
}
CONTENTS["me/flat/model_index.json"] = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "Any"]}
CONTENTS["me/vit/model.safetensors.index.json"] = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
"""What those files hold that say which others are needed."""
ROW = View("mine", "noise", "diffusers", "me/pipeline", 64, (4, 8, 8), "MIT", 1.0, "a test's")


GATES = {
    "me/closed": (401, "Access to model me/closed is restricted. You must have access to it and be authenticated to "
                       "access it. Please log in."),
    "me/asked": (403, "Your request to access model me/asked is awaiting a review from the repo authors."),
    "me/denied": (403, "Your request to access model me/denied has been rejected by the repo's authors."),
}  # fmt: skip
"""Repository -> how the Hub refuses it."""


class Hub(BaseHTTPRequestHandler):
    """Repositories of one-byte files; `me/gated` is gated, any other is not there."""

    asked: list[str] = []

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "/me/" in self.path:
            self.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0].removeprefix("/api/models/").lstrip("/")
        owner, name, action, revision, *rest = [*path.split("/"), "", ""]
        repo, file = f"{owner}/{name}", "/".join(part for part in rest if part)
        if repo == "me/gated":
            self.answer(403, error="GatedRepo")
        elif repo in GATES:
            status, message = GATES[repo]
            self.answer(status, error="GatedRepo", **{"X-Error-Message": message})
        elif repo not in REPOSITORIES:
            self.answer(404, error="RepoNotFound")
        elif revision not in ("main", COMMIT):
            self.answer(404, error="RevisionNotFound")
        elif action == "revision":
            self.answer(200, json.dumps({"id": repo, "sha": COMMIT, "siblings": []}).encode())
        elif action == "tree":
            entries = [
                {"type": "file", "path": p, "size": 1, "oid": f"{repo}/{p}".encode().hex()} for p in REPOSITORIES[repo]
            ]
            self.answer(200, json.dumps(entries).encode())
        elif file in REPOSITORIES[repo]:
            content = CONTENTS.get(f"{repo}/{file}", CONTENTS.get(Path(file).name, 1))
            self.answer(200, json.dumps(content).encode(), ETag=f'"{f"{repo}/{file}".encode().hex()}"')
        else:
            self.answer(404, error="EntryNotFound")

    def answer(self, status: int, body: bytes = b"", error: str = "", **headers: str) -> None:
        self.send_response(status)
        named = {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **headers}
        for key, value in ({**named, "X-Error-Code": error} if error else named).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Client:
    """Calls of `noisezoo.builder.models.files` with the loopback server for the Hub and an empty cache."""

    def __init__(self, endpoint: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        self.endpoint, self.monkeypatch = endpoint, monkeypatch
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def call(self, function: Callable[..., Any], row: View | str, *, offline: bool = False, **options: Any) -> Any:
        Hub.asked.clear()
        self.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        return function(row, **options)

    def refusal(self, function: Callable[..., Any], row: View | str, **options: Any) -> str:
        with pytest.raises(NoiseZooError) as caught:
            self.call(function, row, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    def files(self, repo: str, **options: Any) -> set[str]:
        folder = self.call(resolve, repo, **options)
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def client(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    return Client(endpoint, monkeypatch, tmp_path / "hub")


def test_a_gated_model_is_refused_before_any_download_with_the_way_to_access(client: Client) -> None:
    message = client.refusal(check_access, replace(ROW, repo="me/gated", gated=True))
    assert message == (
        f"view mine: me/gated is gated: accept its licence at {client.endpoint}/me/gated and run `hf auth login`, "
        "or give a local folder: --folder mine=PATH"
    )
    assert Hub.asked == ["HEAD /me/gated/resolve/main/model_index.json"]


@pytest.mark.parametrize(
    ("repo", "message"),
    [("me/closed", "you are not logged in: run `hf auth login`, then accept its licence at"),
     ("me/asked", "your request awaits its authors' review: run this again once"),
     ("me/denied", "its authors rejected your request")],
)  # fmt: skip
def test_a_gated_model_says_what_stands_in_the_way(repo: str, message: str, client: Client) -> None:
    said = client.refusal(check_access, replace(ROW, repo=repo, gated=True))
    assert message in said and f"{client.endpoint}/{repo}" in said and "--folder mine=PATH" in said


def test_a_model_that_is_not_there_is_refused_before_any_download(client: Client) -> None:
    message = client.refusal(check_access, replace(ROW, repo="me/nothing"))
    assert (
        "me/nothing: it is no folder here, and the Hub does not have it" in message and "--folder mine=PATH" in message
    )
    assert [line.split()[0] for line in Hub.asked] == ["HEAD"]


def test_a_revision_that_is_not_there_is_refused_by_name(client: Client) -> None:
    assert "me/pipeline at revision 'v9': it is no folder here, and the Hub does not have it" in client.refusal(
        check_access, replace(ROW, revision="v9")
    )


def test_a_repository_of_another_family_is_refused_by_the_file_it_lacks(client: Client) -> None:
    message = client.refusal(check_access, replace(ROW, repo="me/clip"))
    assert "me/clip is no diffusers model: it has no model_index.json" in message


def test_a_model_that_can_be_had_passes_at_the_cost_of_one_request(client: Client) -> None:
    assert client.call(check_access, ROW) is None
    assert Hub.asked == ["HEAD /me/pipeline/resolve/main/model_index.json"]


def test_resolving_refuses_a_gated_model_too(client: Client) -> None:
    assert "me/gated is gated: accept its licence" in client.refusal(resolve, "me/gated")


def test_a_pipeline_brings_its_components_once_and_no_code_pickles_or_single_file_checkpoints(client: Client) -> None:
    assert client.files("me/pipeline") == {
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors", "text_encoder_2/model-00001-of-00002.safetensors",
        "text_encoder_2/model.safetensors.index.json", "tokenizer/merges.txt", "tokenizer/vocab.json",
        "tokenizer_3/spiece.model", "scheduler/scheduler_config.json",
    }  # fmt: skip


def test_text_towers_stay_on_the_hub_until_a_prompt_is_to_be_encoded(client: Client) -> None:
    without, whole = client.files("me/pipeline", texts=False), client.files("me/pipeline")
    assert whole - without == {
        "text_encoder_2/model-00001-of-00002.safetensors", "text_encoder_2/model.safetensors.index.json"
    }  # fmt: skip
    assert not without - whole


def test_a_vae_view_brings_the_autoencoder_alone(client: Client) -> None:
    assert client.files("me/pipeline", family="vae") == {
        "model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("repo", "family", "expected"),
    [
        ("me/clip", "open_clip", {"open_clip_config.json", "open_clip_pytorch_model.safetensors", "merges.txt",
                                  "vocab.json", "tokenizer_config.json"}),
        ("me/timm", "timm", {"config.json", "model.safetensors"}),
        ("me/vit", "transformers", {"config.json", "preprocessor_config.json", "model-00001-of-00001.safetensors",
                                    "model.safetensors.index.json"}),
    ],
)  # fmt: skip
def test_an_encoder_brings_what_its_library_reads(client: Client, repo: str, family: str, expected: set[str]) -> None:
    assert client.files(repo, family=family) == expected


def test_pickles_come_only_where_the_row_says_so(client: Client) -> None:
    message = client.refusal(resolve, "me/flat")
    assert "me/flat holds no weights in safetensors" in message and "`pickled: true`" in message
    assert client.files("me/flat", pickled=True) == set(REPOSITORIES["me/flat"])


def test_one_format_of_each_component_is_fetched_and_nothing_that_is_not_read(client: Client) -> None:
    """Pickles come where there is nothing else, and OpenVINO's, half-precision and other tools' copies never."""
    assert client.files("me/pickles", pickled=True) == {
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin", "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }  # fmt: skip
    assert client.files("me/sd35") == {
        "model_index.json", "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/vocab.json",
    }  # fmt: skip


def test_shards_of_safetensors_beside_an_index_of_pickles_are_a_whole_model(client: Client) -> None:
    wanted = {
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors.index.json",
        "unet/diffusion_pytorch_model-00001-of-00001.safetensors",
    }  # fmt: skip
    assert client.files("me/sharded") == wanted
    assert client.call(check_access, replace(ROW, repo="me/sharded"), offline=True) is None


@pytest.mark.parametrize("pickled", [False, True])
def test_the_mend_for_weights_that_cannot_be_read_is_one_that_helps(client: Client, pickled: bool) -> None:
    half = client.refusal(resolve, "me/half", pickled=pickled)
    assert "rename unet/diffusion_pytorch_model.fp16.safetensors to unet/diffusion_pytorch_model.safetensors" in half
    encoder = client.refusal(resolve, "me/vit-pickled", family="transformers", pickled=pickled)
    for message in (half, encoder):
        assert "`pickled" not in message
    assert "convert pytorch_model.bin to safetensors" in encoder


def test_a_branch_is_told_as_the_commit_it_stands_at_and_a_pin_costs_no_request(client: Client) -> None:
    assert client.call(commit_of, ROW) == COMMIT
    assert len(Hub.asked) == 1
    assert client.call(commit_of, replace(ROW, revision="f" * 40)) == "f" * 40
    assert Hub.asked == []


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_a_snapshot_in_the_cache_is_enough_offline(client: Client, revision: str | None) -> None:
    row = replace(ROW, revision=revision)
    online = client.call(resolve, row.repo, revision=revision)
    assert client.call(check_access, row, offline=True) is None
    assert client.call(commit_of, row, offline=True) == COMMIT
    assert client.call(resolve, row.repo, revision=revision, offline=True) == online
    assert Hub.asked == []


def test_a_pinned_model_that_is_whole_in_the_cache_costs_no_request(client: Client) -> None:
    folder = client.call(resolve, ROW.repo, revision=COMMIT)
    assert client.call(resolve, ROW.repo, revision=COMMIT) == folder
    assert Hub.asked == []
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert client.call(resolve, ROW.repo, revision=COMMIT) == folder
    assert any("unet/diffusion_pytorch_model.safetensors" in line for line in Hub.asked), "what is missing is fetched"


def test_a_snapshot_with_a_weight_missing_is_not_enough_offline(client: Client) -> None:
    folder = client.call(resolve, ROW.repo)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "the cache on this machine lacks it" in client.refusal(check_access, ROW, offline=True)


def test_a_snapshot_of_the_autoencoder_is_not_enough_for_the_model(client: Client) -> None:
    client.call(resolve, ROW.repo, family="vae")
    assert client.call(check_access, replace(ROW, family="vae", kind="control"), offline=True) is None
    assert "the cache on this machine lacks it" in client.refusal(check_access, ROW, offline=True)


def test_a_hub_that_does_not_answer_is_told_as_out_of_reach(client: Client) -> None:
    client.monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}"
    )
    assert "me/pipeline: the Hub cannot be reached" in client.refusal(check_access, ROW)
    assert "when online" in client.refusal(commit_of, ROW)


def test_offline_without_a_snapshot_the_refusal_names_folder_and_network(client: Client) -> None:
    message = client.refusal(check_access, ROW, offline=True)
    assert "me/pipeline: it is no folder here, and offline the cache on this machine lacks it" in message
    assert "HF_HUB_OFFLINE" in message and "--folder mine=PATH" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [("/a/b", True), ("./a", True), ("../a", True), ("~/a", True), (".", True), ("me/model", False), ("model", False),
     ("testbed:faces-ddpm", False), ("", False)],
)  # fmt: skip
def test_a_path_is_told_from_a_hub_id_by_its_first_characters(text: str, expected: bool) -> None:
    assert is_path(text) is expected


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    row = replace(ROW, repo=str(tmp_path))
    assert resolve(tmp_path) == resolve(str(tmp_path)) == row.folder == tmp_path
    with pytest.raises(UsageError, match="is no diffusers model: it has no model_index.json"):
        check_access(row)
    save_unconditional(tmp_path)
    check_access(row)
    assert commit_of(row) is None


def test_a_local_folder_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(UsageError, match="there is no model folder .*nowhere"):
        resolve(str(missing))
    with pytest.raises(UsageError, match="view mine: its model folder .*nowhere is missing: give another by --folder"):
        check_access(replace(ROW, repo=str(missing)))
    with pytest.raises(UsageError, match="its model folder .*nowhere is missing: reinstall noisezoo"):
        check_access(replace(ROW, repo="testbed:nowhere"))


def test_a_shipped_model_and_a_view_without_a_model_need_no_access() -> None:
    check_access(replace(ROW, repo="testbed:faces-ddpm"))
    check_access(replace(ROW, repo="", family="pixels", kind="control"))
    assert commit_of(replace(ROW, repo="testbed:faces-ddpm")) is None
    assert commit_of(replace(ROW, repo="", family="pixels", kind="control")) is None


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown family 'onnx'; choose one of: diffusers, vae, open_clip"):
        resolve("me/pipeline", family="onnx")


def test_a_relative_folder_that_exists_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("model") == Path("model")
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(UsageError, match="no folder here"):
        resolve("model")
