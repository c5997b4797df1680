# SPDX-License-Identifier: MIT
"""A pipeline with a hasher that answers when the test says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.enrichment import SECOND, Paths, encode, make_context, named

from sysmonlx.capture.records import Layouts
from sysmonlx.event import Held
from sysmonlx.host.file_identity import FileId
from sysmonlx.output.dispatch import Output
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules

HASHES, HASHES_SHOWN = 17, 2


class Hasher:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.known: dict[FileId, str] = {}
        self.asked: list[tuple[Held, FileId]] = []
        self.done: list[tuple[Held, FileId, str]] = []
        self.error: Exception | None = None
        self.accepts = True
        self.expected: list[tuple[FileId, int]] = []
        self.let_go = 0

    has_work = True

    def expect(self, file: FileId, tgid: int, path: bytes, namespace: int) -> None:
        self.expected.append((file, tgid))

    def unexpect(self) -> None:
        self.let_go += 1

    def cached(self, file_id: FileId) -> str | None:
        return self.known.get(file_id) if self.has_work else "-"

    def request(
        self,
        file_id: FileId,
        tgid: int,
        path: bytes,
        mnt_ns: int,
        token: Held,
        uid: int,
    ) -> bool:
        self.asked.append((token, file_id))
        return self.accepts

    def answer(self, number: int, text: str) -> None:
        self.done.append((*self.asked[number], text))

    def results(self) -> list[tuple[Held, FileId, str]]:
        done, self.done = self.done, []
        return done

    def take_error(self) -> Exception | None:
        error, self.error = self.error, None
        return error


class Bench:
    """A pipeline, what it emits, and what it told the kernel."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.events: list[tuple[int, str, str]] = []
        self.times: list[str] = []
        self.rules: list[str] = []
        self.marked: list[int] = []
        self.hasher = Hasher()
        hasher: Any = self.hasher
        self.paths = Paths()
        self.context = make_context(layouts, paths=self.paths)
        self.output = Output(RecordIds(None), self._watch)
        table = self.context.processes
        self.pipeline = Pipeline(
            layouts, table, self.context, self.output, hasher, self._mark
        )
        self.use()

    def _watch(self, event_id: int, values: Sequence[str]) -> None:
        assert all(isinstance(value, str) for value in values)
        image = named(event_id, list(values))["Image"]
        self.rules.append(values[0])
        self.times.append(values[1])
        self.events.append((event_id, image, values[HASHES] if event_id == 1 else ""))

    def _mark(self, file: bytes) -> None:
        self.marked.append(int.from_bytes(file[:8], "little"))

    def use(self, *elements: Element) -> None:
        self.pipeline.use_rules(compile_rules(Ruleset("4.90", elements)))

    def exec(self, tgid: int, image: str, exec_id: int = 1, inode: int = 5) -> None:
        self.put(
            "process_create",
            tgid,
            exec_id,
            image=image.encode(),
            args=b"program\0",
            file_inode=inode,
        )

    def exit(self, tgid: int, exec_id: int = 1, second: int = 2) -> None:
        self.put("process_terminate", tgid, exec_id, second)

    def file(self, tgid: int, path: bytes, second: int = 2, **more: Any) -> None:
        self.put("file_create", tgid, 1, second, path=path, **more)

    def put(
        self, name: str, tgid: int, exec_id: int, second: int = 2, **more: Any
    ) -> None:
        who = {"tgid": tgid, "exec_id": exec_id, "start_boot_ns": SECOND}
        data = encode(self.layouts, name, boot_ns=second * SECOND, **who, **more)
        self.pipeline.take([data])


def element(tag: str, event_id: int, onmatch: str, *items: Filter) -> Element:
    return Element(tag, (event_id,), onmatch, "or", items, bound_id=event_id)


def include(tag: str, event_id: int, *filters: Filter) -> Element:
    return element(tag, event_id, "include", *filters)


def file_id(inode: int) -> FileId:
    return FileId(0, inode, 0, 0, 0)


ALL_FILES = element("FileCreate", 11, "exclude")
AT_3_S = Filter("UtcTime", "begin with", "1970-01-01 00:00:03", "then")
