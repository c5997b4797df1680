# SPDX-License-Identifier: MIT
"""Each module has its test, at the place where one looks for it.

The test of `sysmonlx/PACKAGE/MODULE.py` is `tests/unit/PACKAGE/test_MODULE.py`. More of
one module lies beside it, as `test_MODULE_WORD.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
TESTS = REPOSITORY / "tests"

#: Modules without a test file of their own, by the file that tests them: they are parts
#: of one mechanism, or only the running kernel shows what they do. Without `.py`.
TESTED_BY = {
    "kernel/service/test_second_start": "bpf/cached_object capture/loader",
    "kernel/service/test_loading_aside": "capture/loading",
    "kernel/hostile/test_tampering": "bpf/object bpf/object_info capture/kernel_filter",
    "kernel/loss/test_budget_live": "capture/floods",
    "kernel/loss/test_ring_reserve": "capture/counters",
    "kernel/loss/test_ring_shares": "capture/sensor",
    "kernel/service/test_command_line": "cli/changes cli/commands cli/exit_status"
    " cli/given cli/questions",
    "kernel/service/test_self_test_live": "cli/self_testing selftest/run selftest/scene"
    " selftest/stage selftest/file_acts selftest/network_acts selftest/process_acts",
    "unit/selftest/test_actions": "selftest/act",
    "unit/cli/test_live": "cli/live_forms cli/live_options cli/live_world cli/outlet"
    " cli/showers cli/tty",
    "kernel/service/test_watching": "cli/watching",
    "kernel/service/test_life": "service/exit_status service/signals service/spawn",
    "kernel/service/test_life_aside": "service/daemon service/own_events",
    "kernel/service/test_reload_whole": "service/reload service/requests",
    "kernel/hostile/test_hanging_args": "service/census",
    "kernel/hostile/test_hostile_files": "service/metrics",
    "unit/bpf/test_program_cache": "bpf/cache_file bpf/held_programs bpf/refusal",
    "unit/config/test_reader": "config/xml_text config/findings config/lint"
    " config/condition_hints",
    "unit/config/sigma/test_reader_rules": "config/sigma/correlations"
    " config/sigma/detection config/sigma/documents config/sigma/heads"
    " config/sigma/notes config/sigma/remarks"
    " config/sigma/sources config/sigma/values",
    "unit/sigma_tool/test_trying": "config/sigma/files sigma_tool/listing"
    " sigma_tool/__main__",
    "unit/config/test_option_elements": "config/own_settings",
    "unit/enrich/test_registry": "enrich/access enrich/bpf enrich/builder"
    " enrich/context",
    "unit/hashing/test_hasher": "hashing/file_reading",
    "unit/hashing/test_lanes": "hashing/finished hashing/lane hashing/worker",
    "unit/host/test_aside": "host/lane host/patience",
    "unit/host/test_paths": "host/inode host/namespace_holders",
    "unit/output/sinks/test_sinks": "output/sinks/base"
    " output/sinks/file output/sinks/stdout output/sinks/streams output/sinks/syslog",
    "unit/output/sinks/test_unix_socket": "output/sinks/listener output/sinks/readers",
    "unit/output/sinks/test_rotating_file": "output/sinks/set_aside",
    "unit/output/test_ecs": "output/ecs_members output/forms schema/ecs",
    "unit/output/test_render": "output/templates",
    "unit/pipeline/test_books": "pipeline/account pipeline/trace_line",
    "unit/processes/test_process": "processes/identity",
    "unit/rules/test_compiler": "rules/clauses rules/conditions rules/explain"
    " rules/python_source rules/text_index rules/verdicts",
    "unit/rules/kernel/test_automaton": "rules/kernel/bits rules/kernel/compiler"
    " rules/kernel/fields rules/kernel/literals",
    "unit/rules/sigma/test_judge": "rules/sigma/forms rules/sigma/guards"
    " rules/sigma/questions rules/sigma/source",
    "unit/rules/sigma/test_names": "rules/sigma/techniques",
    "unit/rules/sigma/test_pack": "rules/sigma/distrust",
    "unit/rules/sigma/test_correlator": "rules/sigma/groups",
    "unit/rules/sigma/test_linking": "rules/sigma/steps",
    "unit/cli/test_sigma_report": "rules/sigma/explain",
    "unit/schema/test_events": "schema/common_fields schema/conditions"
    " schema/event_types schema/field_values schema/options",
    "unit/schema/test_versions": "schema/__main__ schema/xsd",
    "unit/service/test_compilation": "capture/kernel_form",
    "unit/service/test_control": "service/messages",
    "unit/service/test_prometheus": "service/snapshot service/statistics",
    "unit/service/test_situation": "service/line_limits",
    "unit/service/test_foreground": "service/configuration",
    "unit/viewer/test_carriers": "viewer/event_text viewer/read",
    "unit/viewer/test_forms": "viewer/__main__ viewer/fields viewer/main"
    " viewer/select viewer/sources viewer/sysmon_form",
    "unit/viewer/test_rows": "viewer/bodies viewer/signs",
    "unit/viewer/test_words": "viewer/kinship",
    "unit/viewer/test_console": "viewer/choice viewer/keys viewer/screen"
    " viewer/scroller viewer/status",
    "unit/viewer/test_tree": "viewer/rules_found viewer/story viewer/timeline"
    " viewer/tree_text viewer/verify viewer/what",
}

#: Modules with nothing to test.
NOTHING_TO_TEST = {
    "__main__": "two lines that call cli.main",
    "errors": "exceptions, raised by the tests of each module",
    "event": "data without behaviour",
    "finding": "data without behaviour",
}

#: Tests in tests/unit that stand for more than a module.
OF_MORE_THAN_A_MODULE = {
    "output/sinks/test_sinks": "one promise of all sinks, shown of each",
    "output/test_golden": "each event as it is written, through all stages",
}


def _names(top: Path, pattern: str) -> set[str]:
    return {
        path.relative_to(top).with_suffix("").as_posix()
        for path in top.rglob(pattern)
        if path.name != "__init__.py"
    }


MODULES = _names(REPOSITORY / "sysmonlx", "*.py")
UNIT_TESTS = _names(TESTS / "unit", "test_*.py")
TESTED_ELSEWHERE = {each for names in TESTED_BY.values() for each in names.split()}


def _test_of(module: str) -> str:
    package, _, name = module.rpartition("/")
    return f"{package}/test_{name}".lstrip("/")


def _stands_for_a_module(test: str) -> bool:
    """Tell whether a test is of a module of its package, or of more of such a one."""
    return any(
        test == _test_of(module) or test.startswith(f"{_test_of(module)}_")
        for module in MODULES
    )


def test_each_module_has_a_test() -> None:
    without = {
        module
        for module in MODULES - TESTED_ELSEWHERE - NOTHING_TO_TEST.keys()
        if not any(
            test == _test_of(module) or test.startswith(f"{_test_of(module)}_")
            for test in UNIT_TESTS
        )
    }
    assert not without, "write a test, or name the one that tests it in TESTED_BY"


def test_each_unit_test_stands_for_a_module() -> None:
    strangers = {
        test
        for test in UNIT_TESTS - OF_MORE_THAN_A_MODULE.keys()
        if not test.startswith("project/") and not _stands_for_a_module(test)
    }
    assert not strangers, "name it after the module that it tests"


@pytest.mark.parametrize("test", sorted(TESTED_BY))
def test_exceptions_are_of_today(test: str) -> None:
    assert (TESTS / f"{test}.py").exists()
    modules = set(TESTED_BY[test].split())
    assert modules <= MODULES, "no such module"
    assert not {each for each in modules if _test_of(each) in UNIT_TESTS}, (
        "it has a test of its own: take it out of TESTED_BY"
    )


def test_no_other_exception_is_needless() -> None:
    assert MODULES.issuperset(NOTHING_TO_TEST)
    assert UNIT_TESTS.issuperset(OF_MORE_THAN_A_MODULE)
