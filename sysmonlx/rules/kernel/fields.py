# SPDX-License-Identifier: MIT
"""Which events the kernel filters, and which of their fields it answers.

Both follow from `schema.events`: an event says its name in `enum filter_event`, a field
how it is answered. The numbers of enumerators come from the BTF of the object.
"""

from __future__ import annotations

from collections.abc import Mapping

from sysmonlx.schema import events
from sysmonlx.schema.event_types import Answer

#: The name of each event in `enum filter_event`, by its id.
EVENTS = {event.id: event.kernel for event in events.EVENTS if event.kernel}

#: How the kernel answers for the fields of an event, by its id and their names.
FIELDS: Mapping[int, Mapping[str, Answer]] = {
    event_id: {
        field.name: field.kernel
        for field in events.EVENT_BY_ID[event_id].fields
        if field.kernel is not None
    }
    for event_id in EVENTS
}
