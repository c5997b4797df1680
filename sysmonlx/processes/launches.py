# SPDX-License-Identifier: MIT
r"""The pre-rendered line: values that many starts of a program share are made once.

Most programs are started again and again in the same way: by a shell's loop, by make,
by a service for each request. Event 1 has 23 values; of such starts only few differ.
This is how the others are found out, escaped and put into the line once for all of
them.

Example. In /src, user root, make starts

    /usr/bin/cc -c a.c      process 101, parent 100
    /usr/bin/cc -c b.c      process 102, parent 100

1. Both records are alike from the member `file_inode` up to the arguments: the same
   file, directory, terminal, session. These bytes, with user and flags, are the key by
   which `Launches` finds the `Launch`: all starts of one program in one way.
2. At the first of them the builder of event 1 (`enrich.process`) fills in
   `Launch.values`: Image, CurrentDirectory, User, LogonGuid and so on as texts. For
   each later one it copies that list and sets UtcTime, ProcessGuid, ProcessId and
   CommandLine, which each process has for itself (`schema.events.OWN_OF_PROCESS`).
3. The five values of the parent are in the list too, since the next start mostly has
   the same parent: `Launch.parent` is that of the last one. They are filled in again
   when another parent comes, or when the parent's user has changed.
4. The renderer must know which values it has printed already. The event therefore goes
   on with a `Shape`. The first event with a shape makes a template in which all values
   stand, escaped, but those that `Shape.own` picks (`output.templates.template_with`):

       <Data Name="ProcessId">|101|</Data> ... <Data Name="Image">/usr/bin/cc</Data> ...

   A line of any later event with the same shape object is one join of the template's
   pieces with the picked values. A shape is compared by identity: two launches never
   share one.
5. `common_shape` picks what each process has for itself and the five values of the
   parent. Where many starts in a row have one parent (`siblings` counts them), the
   launch gets another `shape`, in which the parent stands in the template too. That
   costs a template, which pays where the same parent comes again (a loop) and not
   where each process has another (a build whose compilers are all started by shells).

RuleName is picked too: the rules may give each event another. Hashes is not: all starts
of a launch run the same file, and an event has a shape only when `Launch.hashes` is
known. All launches are forgotten when a user may have another name (`Context.renew`).

How many are kept follows from use: those used within the last minute, up to a limit.
Beyond it those go first that have not been used for the longest time, and among those
of one second the ones that were used once. A thousand programs that are started by
turns stay, whatever else is started once.
"""

from __future__ import annotations

from collections.abc import Collection
from operator import itemgetter

from sysmonlx.capture.records import Layouts
from sysmonlx.event import Picker, Shape
from sysmonlx.kernel_text import (
    BLANKED,
    UNKNOWN,
    Texts,
    are_plain,
    args_text,
    is_plain,
    path_text,
)
from sysmonlx.schema.events import (
    OF_PARENT,
    OUR_OWN_OF_PROCESS,
    OWN_OF_PROCESS,
    PROCESS_CREATE,
)

#: Launches that are kept, and the bytes of their keys and of long texts of parents in
#: them. When there are more, an eighth is forgotten.
LIMIT, LIMIT_BYTES = 1280, 1 << 20
#: Rounds, of a second or more, after which a launch that was not used is forgotten; and
#: rounds after which they are looked through again.
_KEPT_ROUNDS, _LOOK_ROUNDS = 60, 16

_NAMES = [field.name for field in PROCESS_CREATE.fields]
_OWN = tuple(map(_NAMES.index, OWN_OF_PROCESS))
_OF_PARENT = tuple(map(_NAMES.index, OF_PARENT))

#: Of a launch that is not filled in yet: picks all values.
_NO_SHAPE = Shape(tuple, has_plain_rest=False)


class Launch:
    """All starts of one program in one way; the text at the top explains it.

    `image` is its path, `is_plain` whether that is `kernel_text.is_plain`. `hashes` is
    the text of Hashes once the pipeline knows it. All else is filled in by the builder
    of event 1; until then `values` is empty.

    * `cgroup_id`: the number of the control group in which they began.
    * `ours`: values of fields of ours, see `Launches.fit`; empty until they are made.
    * `has_long_values`: too long to be kept in a second form.
    * `parent`: the process that forked the last one; `parent_uid`: its user then. It is
      only asked whether it is the same object again.
    * `siblings`: how many starts in a row had this parent.
    * `has_plain_parent`: the values of the parent are plain, or stand in the template.
    * `long_args`: the parent's command line where it is long, else "". A template in
      which it stands, too, has `more_bytes` of it.
    * `is_sure`: no value of it is still being looked up.
    * `round`: when it was used last, and it had been used before; see `Launches.turn`.
    """

    __slots__ = (
        "cgroup_id",
        "common_shape",
        "has_long_values",
        "has_plain_parent",
        "hashes",
        "image",
        "is_plain",
        "is_sure",
        "long_args",
        "more_bytes",
        "ours",
        "parent",
        "parent_uid",
        "round",
        "shape",
        "siblings",
        "values",
    )

    def __init__(self, image: str, is_plain: bool, cgroup_id: int = 0) -> None:
        self.image = image
        self.is_plain = is_plain
        self.cgroup_id = cgroup_id
        self.values: list[str] = []
        self.ours: list[str] = []
        self.has_long_values = False
        self.hashes: str | None = None
        self.long_args = ""
        self.more_bytes = 0
        self.is_sure = True
        self.round = 0
        self.parent: object = None
        self.parent_uid = -1
        self.siblings = 0
        self.has_plain_parent = True
        self.common_shape = _NO_SHAPE
        self.shape = _NO_SHAPE


#: Of a process whose start was not seen, or has been reported.
NO_LAUNCH = Launch(UNKNOWN, True)


def pickers(appended: Collection[str]) -> tuple[Picker, Picker]:
    """Return pickers of the values of event 1 in which processes of one launch differ.

    The second one is for processes that have one parent, too. `appended` are the
    fields of ours that event 1 has.
    """
    fields = PROCESS_CREATE.with_appended(appended).fields
    ours = [at for at, each in enumerate(fields) if each.name in OUR_OWN_OF_PROCESS]
    return itemgetter(*_OWN, *_OF_PARENT, *ours), itemgetter(*_OWN, *ours)


class Launches:
    """The launches seen lately, by the bytes that their records have in common."""

    def __init__(self, layouts: Layouts, texts: Texts) -> None:
        self._known: dict[tuple[int, int, bytes], Launch] = {}
        self._size_bytes = 0
        self._long_args: dict[int, str] = {}  # by the identity of the object
        self._round = 0
        self._has_unsure = False
        self.made = 0
        """How often a launch was none of those that are kept."""
        self._texts = texts
        create = layouts.by_name["process_create"]
        self._read = create.reader("flags", "image", "cgroup_id")
        self._begin = create.offset("file_inode")
        self._cuts_image = layouts.flags["IMAGE_TRUNCATED"]
        self._cuts_args = layouts.flags["ARGS_TRUNCATED"]
        self.own_of_process, self.own_of_sibling = pickers(())

    def fit(self, appended: Collection[str]) -> None:
        """Forget all launches; from now on events 1 have these fields of ours, too.

        Those of them that all starts of a launch share stand in `Launch.ours`.
        """
        self.own_of_process, self.own_of_sibling = pickers(appended)
        self.clear()

    def of(
        self, uid: int, flags: int, data: bytes, args_at: int
    ) -> tuple[Launch, str, bool]:
        """Return the launch that a process_create record is of, and its command line.

        `args_at` is where the arguments begin, the last string of the record. The third
        value says whether the command line is `kernel_text.is_plain`.
        """
        key = uid, flags, data[self._begin : args_at]
        launch = self._known.get(key)
        if launch is None:
            launch = self._new(key, data)
        else:
            launch.round = self._round
        line = data[args_at:-1].translate(BLANKED)
        if not line or data[-1] or 0 in line or flags & self._cuts_args:
            return launch, *self.args_text(flags, data[args_at:])
        return launch, line.decode(), True

    def _new(self, key: tuple[int, int, bytes], data: bytes) -> Launch:
        self.made += 1
        self._size_bytes += len(key[2])
        if len(self._known) >= LIMIT or self._size_bytes > LIMIT_BYTES:
            self._make_room()
        image_flags, image, cgroup_id = self._read(data)
        launch = Launch(*self.image_text(image_flags, image), cgroup_id)
        launch.round = self._round - 1  # behind those that were used again
        self._known[key] = launch
        return launch

    def _make_room(self) -> None:
        """Forget those that were not used for the longest time."""
        newest_first = reversed(self._known.items())
        by_use = sorted(newest_first, key=lambda each: -each[1].round)
        kept, size_bytes = {}, 0
        for key, launch in by_use[: LIMIT * 7 // 8]:
            size_bytes += len(key[2])
            if size_bytes > LIMIT_BYTES * 7 // 8:
                break
            kept[key] = launch
        self._keep(kept)

    def _keep(self, kept: dict[tuple[int, int, bytes], Launch]) -> None:
        launches = kept.values()
        self._known = kept
        self._long_args = {id(each.long_args): each.long_args for each in launches}
        self._size_bytes = (
            sum(len(key[2]) for key in kept)
            + sum(each.more_bytes for each in launches)
            + sum(map(len, self._long_args.values()))
        )

    def charge(self, launch: Launch, args: str) -> None:
        """Count the long command line of a launch's parent, once for all its launches.

        Where that is too much, all launches are forgotten. "": it is not long.
        """
        launch.long_args, launch.more_bytes = args, 0
        if args and id(args) not in self._long_args:
            self._long_args[id(args)] = args
            self._count(len(args))

    def charge_template(self, launch: Launch) -> None:
        """Count the long command line that stands in a template of the launch, too."""
        launch.more_bytes = len(launch.long_args)
        self._count(launch.more_bytes)

    def _count(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        if self._size_bytes > LIMIT_BYTES:
            self.clear()

    def doubt(self, launch: Launch) -> None:
        """Forget a launch soon: something in it is still being looked up."""
        launch.is_sure = False
        self._has_unsure = True

    def turn(self) -> None:
        """Forget what was not used for long, and what was doubted.

        To be called every second or so while programs are started.
        """
        self._round += 1
        if self._has_unsure or self._round % _LOOK_ROUNDS == 0:
            self._has_unsure = False
            due = self._round - _KEPT_ROUNDS
            kept = (
                (key, launch)
                for key, launch in self._known.items()
                if launch.is_sure and launch.round >= due
            )
            self._keep(dict(kept))

    def __len__(self) -> int:
        return len(self._known)

    def clear(self) -> None:
        """Forget all launches: names and arguments in them may have changed."""
        self._keep({})

    def image_text(self, flags: int, image: bytes) -> tuple[str, bool]:
        """Return the path of a record as text, and whether it is plain."""
        if flags & self._cuts_image:
            return path_text(image, True), is_plain(image)
        return self._texts[image]

    def args_text(self, flags: int, args: bytes) -> tuple[str, bool]:
        """Return the command line of a record, and whether it is plain."""
        return args_text(args, bool(flags & self._cuts_args)), are_plain(args)
