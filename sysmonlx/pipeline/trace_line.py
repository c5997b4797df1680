# SPDX-License-Identifier: MIT
"""The place where an error was raised, as one line that fits into an event."""

from __future__ import annotations

from collections.abc import Iterator

_FRAMES = 8
_TEXT_CHARACTERS = 200


def trace_line(error: BaseException) -> str:
    """Return "KeyError: 'x' (enrich/file.py:12 make < pipeline/flow.py:300 take)".

    The innermost function comes first. Files of this package stand with their place
    in it, others without their directories.
    """
    text = " ".join(str(error)[:_TEXT_CHARACTERS].split())
    places = [*_places(error)][-_FRAMES:]
    return f"{type(error).__name__}: {text} ({' < '.join(reversed(places))})"


def _places(error: BaseException) -> Iterator[str]:
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        file = _short(code.co_filename)
        yield f"{file}:{step.tb_lineno} {code.co_name}"
        step = step.tb_next


def _short(path: str) -> str:
    _, is_ours, name = path.rpartition("/sysmonlx/")
    return name if is_ours else path.rpartition("/")[2]
