"""Secrets (tokens, passwords) are hidden in every log, wherever a message, a URL or a field carries them."""

import os
import re
from collections.abc import Mapping
from io import TextIOBase
from typing import IO, Any

HIDDEN = "[hidden]"
NAMES = r"token|secret|passwd|password|credentials?|authorization|api[-_]?key|access[-_]?key|signature"
"""Names of fields, of a URL's arguments and of environment variables whose values are secrets."""
EQUALS = r"[\"']?\s*[=:]\s*[\"']?"
LEAST = 6
"""A shorter value of an environment variable is not hidden: `1` is in every other line."""
PATTERNS = {
    r"\bhf_[A-Za-z0-9]{8,}": HIDDEN,
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b": HIDDEN,
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*": HIDDEN,  # a JSON Web Token
    r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)": HIDDEN,
    r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}": rf"\1 {HIDDEN}",
    rf"(?i)([\w-]*(?:{NAMES})[\w-]*{EQUALS})(?!bearer|basic|\[)[^\s\"'&;,)}}]+": rf"\1{HIDDEN}",
}
"""What a secret looks like -> what is put in its place."""


def redact(value: Any) -> Any:
    """`value` with every secret hidden, in texts and in all that lists and mappings hold.

    A secret is what looks like one (a Hub token, an `Authorization` header, a URL's password or signature), and the
    value of a field or of an environment variable with such a name.
    """
    if isinstance(value, str):
        for name, secret in os.environ.items():
            if len(secret) >= LEAST and re.search(f"(?i){NAMES}", name) and not os.path.exists(secret):
                value = value.replace(secret, HIDDEN)
        for pattern, instead in PATTERNS.items():
            value = re.sub(pattern, instead, value)
        return value
    if isinstance(value, Mapping):
        secrets = re.compile(rf"(?i)(?:^|[-_])(?:{NAMES})$")
        return {
            key: HIDDEN if isinstance(each, str) and secrets.search(str(key)) else redact(each)
            for key, each in value.items()
        }
    return [redact(each) for each in value] if isinstance(value, list | tuple) else value


class Redacted(TextIOBase):
    """A stream that hides secrets, line by line: put in `sys.stderr`'s place, it covers tracebacks too."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._line = stream, ""
        self.fileno, self.isatty = stream.fileno, stream.isatty  # type: ignore[method-assign]

    def write(self, text: str) -> int:
        """Pass whole lines on."""
        *lines, self._line = (self._line + text).split("\n")
        self._stream.writelines(redact(line) + "\n" for line in lines)
        return len(text)

    def flush(self) -> None:
        """Pass on what is held of a line."""
        held, self._line = self._line, ""
        self._stream.write(redact(held))
        self._stream.flush()
