# SPDX-License-Identifier: MIT
"""Which act makes which event of a self-test; `act` says what an act is.

Adding an event: a function in the module of its family, and a line in `ACTIONS`; or a
reason in `NOT_TRIED`. Acts for events that this version does not report are left out.
"""

from __future__ import annotations

from sysmonlx.selftest import file_acts, network_acts, process_acts
from sysmonlx.selftest.act import Action

ACTIONS: tuple[Action, ...] = (
    Action(1, process_acts.run, runs=True),
    Action(2, file_acts.put_back),
    Action(3, network_acts.connect, name="TCP"),
    Action(3, network_acts.send, name="UDP"),
    Action(5, process_acts.end),
    Action(7, process_acts.map_library),
    Action(8, process_acts.write_memory),
    Action(9, file_acts.open_disk),
    Action(10, process_acts.read_memory),
    Action(11, file_acts.create),
    Action(15, file_acts.set_attribute),
    Action(17, file_acts.make_pipe),
    Action(18, file_acts.open_pipe),
    Action(22, network_acts.ask),
    Action(23, file_acts.delete),
    Action(25, process_acts.run_from_memory, runs=True),
    Action(
        25,
        process_acts.map_memory,
        name="memory",
        needs_setting="executable_memory",
    ),
    Action(26, file_acts.delete),
    Action(100, process_acts.load_program),
)

#: Events that a self-test does not make, and why.
NOT_TRIED: dict[int, str] = {
    4: "the service reports it when it starts and stops",
    6: "no kernel module is loaded for a test",
    16: "the service reports it when a configuration comes into force",
    255: "the service reports it when something is wrong",
}

#: Of an event that this version reports and that stands in neither table.
NO_ACTION = "this version has no test of it"
