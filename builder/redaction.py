"""What may stand in no log: tokens and passwords, wherever a message, a URL or a field carries them."""

import os
import re
from collections.abc import Mapping
from io import TextIOBase
from typing import IO, Any

HIDDEN = "[hidden]"
NAMES = r"token|secret|passwd|password|credentials?|authorization|api[-_]?key|access[-_]?key|signature"
"""What a field, an argument of a URL or an environment variable is called that holds a secret."""
EQUALS = r"[\"']?\s*[=:]\s*[\"']?"
LEAST = 6
"""An environment variable's value that is shorter hides nothing: `1` stands in every other line."""
PATTERNS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), HIDDEN),  # a JSON Web Token
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(rf"(?i)([\w-]*(?:{NAMES})[\w-]*{EQUALS})(?!bearer|basic|\[)[^\s\"'&;,)}}]+"), rf"\1{HIDDEN}"),
)  # fmt: skip
"""What a secret looks like -> what is put in its place."""


def redact(value: Any) -> Any:
    """`value` with every secret hidden, in texts and in all that lists and mappings hold.

    A secret is what looks like one (a Hub token, an `Authorization` header, a URL's password or signature), the value
    of a field that is called so, or of an environment variable that is called so.
    """
    if isinstance(value, str):
        return _redact_text(value)
    if isinstance(value, Mapping):
        return {key: HIDDEN if _is_secret(key, each) else redact(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact(each) for each in value]
    return value


def _is_secret(name: Any, value: Any) -> bool:
    return isinstance(value, str) and re.search(rf"(?i)(?:^|[-_])(?:{NAMES})$", str(name)) is not None


def _redact_text(text: str) -> str:
    for name, value in os.environ.items():
        if len(value) >= LEAST and re.search(f"(?i){NAMES}", name) and not os.path.exists(value):
            text = text.replace(value, HIDDEN)
    for pattern, instead in PATTERNS:
        text = pattern.sub(instead, text)
    return text


class Redacted(TextIOBase):
    """A stream that hides secrets, line by line: put in `sys.stderr`'s place, it covers tracebacks too."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        """Pass whole lines on."""
        *lines, self._line = (self._line + text).split("\n")
        self._stream.writelines(_redact_text(line) + "\n" for line in lines)
        return len(text)

    def flush(self) -> None:
        """Pass on what is held of a line."""
        held, self._line = self._line, ""
        self._stream.write(_redact_text(held))
        self._stream.flush()

    def fileno(self) -> int:
        """The stream's own, for what writes past Python."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """As the stream's."""
        return self._stream.isatty()
