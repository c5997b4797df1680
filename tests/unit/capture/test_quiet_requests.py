# SPDX-License-Identifier: MIT
"""When the kernel is asked to look at requests that have no completion entry."""

from __future__ import annotations

import pytest

from sysmonlx.capture.quiet_requests import QuietRequests


class Kernel:
    """Variables of the programs, and a sweep that the test can have refused."""

    def __init__(self) -> None:
        self.values = {
            "requests_unproven": 0,
            "quiet_requests_begun": 0,
            "quiet_requests_left": 0,
        }
        self.sweeps = 0
        self.error: Exception | None = None

    def sweep(self) -> None:
        if self.error is not None:
            raise self.error
        self.sweeps += 1


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def made(kernel: Kernel) -> QuietRequests:
    return QuietRequests(kernel.values.__getitem__, kernel.sweep)


def test_results_that_are_not_known_are_losses(
    made: QuietRequests, kernel: Kernel
) -> None:
    before = made.losses()
    kernel.values["requests_unproven"] = 3
    assert [*made.losses().values()] == [3]
    assert [*before.values()] == [0]


def test_a_machine_without_such_requests_is_left_alone(
    made: QuietRequests, kernel: Kernel
) -> None:
    made.look()
    assert kernel.sweeps == 0


def test_there_is_one_look_after_each_request(
    made: QuietRequests, kernel: Kernel
) -> None:
    kernel.values["quiet_requests_begun"] = 5
    for _ in range(3):
        made.look()
    assert kernel.sweeps == 1


def test_looks_go_on_while_one_is_under_way(
    made: QuietRequests, kernel: Kernel
) -> None:
    kernel.values |= {"quiet_requests_begun": 5, "quiet_requests_left": 1}
    for _ in range(3):
        made.look()
    kernel.values["quiet_requests_left"] = 0
    made.look()
    assert kernel.sweeps == 3


@pytest.mark.parametrize("error", [OSError(12, "no"), KeyError("not loaded")])
def test_a_look_that_is_refused_is_made_later(
    made: QuietRequests, kernel: Kernel, error: Exception
) -> None:
    kernel.values["quiet_requests_begun"] = 5
    kernel.error = error
    made.look()
    kernel.error = None
    made.look()
    assert kernel.sweeps == 1


def test_what_cannot_be_proved_is_counted(made: QuietRequests, kernel: Kernel) -> None:
    kernel.values["requests_unproven"] = 7
    assert made.unproven == 7
