"""Logs: one file an attempt, lines that survive what kills their writer, units by name, and no secrets."""

import io
import json
import logging
import os
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noisezoo.builder.engine import log as logs
from noisezoo.builder.engine.log import Log, Tail, failures, library_warnings, parse
from noisezoo.builder.redaction import Redacted, redact
from noisezoo.errors import describe

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUv"
SECRET = "s3cr3t-Value"


def lines(log: Log) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.path.read_text().splitlines()]


def test_an_attempt_of_the_same_host_pid_and_instant_gets_a_log_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "datetime", SimpleNamespace(now=lambda *_: datetime(2026, 1, 1, tzinfo=UTC)))
    first, second, third = Log(tmp_path), Log(tmp_path), Log(tmp_path)
    first.write("unit", rows=1)
    second.write("unit", rows=2)
    assert len({first.path, second.path, third.path}) == len(list(tmp_path.iterdir())) == 3
    assert [line.get("rows") for line in lines(first)] == [None, 1]
    assert [line["attempt"] for line in (lines(log)[0] for log in (first, second))] == [first.attempt, second.attempt]


def test_the_first_line_says_who_writes_and_where_in_the_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PLACE", {"rank": "3", "requeues": "1"})
    log = Log(tmp_path)
    (start,) = lines(log)
    assert (start["event"], start["pid"], start["rank"], start["requeues"]) == ("start", os.getpid(), "3", "1")
    assert start["attempt"] == log.path.stem and start["host"]


def test_a_line_has_its_level_and_a_duration_that_no_clock_s_jump_disturbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path)
    monkeypatch.setattr(logs.time, "time", lambda: 0.0)  # back to 1970
    log.write("unit")
    log.write("incomplete")
    log.write("failed", message="no")
    _, *later = lines(log)
    assert [line["level"] for line in later] == ["info", "warning", "error"]
    assert all(0 <= line["elapsed"] < 60 and line["time"] == 0.0 for line in later)


def test_lines_name_the_unit_they_are_of_and_so_does_that_of_its_failure(tmp_path: Path) -> None:
    log = Log(tmp_path)
    with log.about(view="sd15", slice=7):
        log.write("unit")
    log.write("loaded")
    with pytest.raises(ZeroDivisionError), log.about(view="sd15", slice=8):
        _ = 1 / 0
    log.write("failed", message="division by zero")
    assert [(line.get("view"), line.get("slice")) for line in lines(log)[1:]] == [
        ("sd15", 7), (None, None), ("sd15", 8),
    ]  # fmt: skip


def test_a_log_is_read_whatever_its_writer_died_of(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write("failed", message="first")
    with log.path.open("ab") as stream:
        stream.write(b'{"time": 9999999999.0, "event": "fai\xff')
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "other.jsonl").write_text('[1]\n{"message": "neither time nor event"}\n\n')
    assert failures(tmp_path, since=0) == ["first"]
    assert failures(tmp_path / "none", since=0) == []


def test_a_full_disk_costs_its_line_alone_and_never_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(tmp_path)
    monkeypatch.setattr(Path, "open", lambda path, mode: _Torn(path))
    log.write("unit", slice=1)
    monkeypatch.undo()
    log.write("unit", slice=2)
    assert "No space left on device" in capsys.readouterr().err
    assert [event.get("slice") for event in parse(log.path.read_text())] == [None, 2]


class _Torn:
    """A file on a disk that fills up in the middle of a line."""

    def __init__(self, path: Path) -> None:
        self.stream = open(path, "a")  # noqa: SIM115 - closed on leaving

    def __enter__(self) -> "_Torn":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, text: str) -> None:
        self.stream.write(text[:20])
        raise OSError(28, "No space left on device")


def test_a_tail_gives_every_event_once_and_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "logs")
    assert list(tail.events()) == []
    log = Log(tmp_path / "logs")
    assert [event["event"] for _, event in tail.events()] == ["start"]
    line = json.dumps({"time": time.time(), "event": "unit"}) + "\n"
    for part in (line[:10], line[10:]):
        before = list(tail.events())
        with log.path.open("a") as stream:
            stream.write(part)
        assert before == []
    assert [(attempt, event["event"]) for attempt, event in tail.events()] == [(log.attempt, "unit")]
    assert list(tail.events()) == [] and list(tail.seen) == [log.attempt]


LEAKS = {
    "a Hub token": f"403 for token {TOKEN}: gated",
    "a header": f"headers {{'Authorization': 'Bearer {SECRET}', 'Accept': '*/*'}}",
    "a header in a line": f"Authorization: Basic {SECRET}",
    "a password in a URL": f"cannot reach https://me:{SECRET}@mirror.example/repo",
    "a signed URL": f"GET https://cdn.example/file?X-Amz-Signature={SECRET}&Expires=1",
    "a token in a URL": f"GET https://x.example/?access_token={SECRET}",
    "an argument": f"login(token='{SECRET}', endpoint=None)",
    "a mapping": f'{{"api_key": "{SECRET}"}}',
    "an environment variable's value": "connection of Xy-Zzy-12 refused",
}


@pytest.mark.parametrize("message", LEAKS.values(), ids=LEAKS.keys())
def test_a_secret_in_an_exception_reaches_no_log(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRROR_PASSWORD", "Xy-Zzy-12")
    log, stream = Log(tmp_path), io.StringIO()
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        log.write("failed", message=describe(error), context={"said": [str(error)], "token": SECRET})
        traceback.print_exc(file=Redacted(stream))
    for text in (log.path.read_text(), stream.getvalue()):
        assert "[hidden]" in text
        for secret in (SECRET, TOKEN, "Xy-Zzy-12"):
            assert secret not in text
    assert "RuntimeError" in stream.getvalue() and "raise RuntimeError" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    ["sd15 slice 3: 77 tokens where 64 fit", "tokenizer/vocab.json is missing", "https://host.example:443/a@b?c=d",
     "sha256 0123456789abcdef of part 000003.parquet", "scheme ddim has no option 'share'; it has: none"],
)  # fmt: skip
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redact(text) == text


def test_numbers_and_names_pass_redaction_unchanged() -> None:
    fields = {"slice": 3, "tokens": 77, "seconds": 1.5, "view": "sd15", "batch_size": {"encode": 32}, "prompt": None}
    assert redact(fields) == fields


@pytest.mark.parametrize("name", ["transformers.modeling_utils", "diffusers.models", "open_clip", "root"])
def test_what_a_library_only_logs_is_an_event_that_the_launch_shows_each_once(name: str, tmp_path: Path) -> None:
    log = Log(tmp_path)
    with library_warnings(log):
        for _ in range(2):
            logging.getLogger(name).warning("some weights were\nnewly initialized: %s", f"token={SECRET}")
        logging.getLogger(name).info("a detail")
    logging.getLogger(name).warning("after the work")
    assert failures(tmp_path, since=0, event="library") == [
        f"{name}: some weights were newly initialized: token=[hidden]"
    ]
    assert not failures(tmp_path, since=0)
