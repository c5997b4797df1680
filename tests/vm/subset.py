# SPDX-License-Identifier: MIT
"""Which tests run under other kernels: a pytest plugin, used as `-p vm.subset`.

A test that takes half a second takes ten in a guest, so these are one or two of each
kind of event, and those that lean on what differs between kernels.
"""

from __future__ import annotations

import pytest

#: What the names of the chosen tests begin with, by file.
CHOSEN = {
    "tests/vm/test_programs.py": ("test_",),
    "tests/vm/test_rules_in_kernel.py": ("test_",),
    "tests/vm/test_connecting.py": ("test_",),
    "tests/kernel/service/test_second_start.py": ("test_second_start_",),
    "tests/kernel/events/process/test_process_events.py": (
        "test_program_is_reported_as_proc_says[posix_spawn]",
        "test_program_is_reported_as_proc_says[exec_from_thread]",
        "test_paths_lead_to_the_root_of_the_mount_namespace[bind_mounted_file",
        "test_image_and_folder_are_the_real_ones[memfd",
        "test_parent_is_who_forked_though_it_has_ended",
        "test_parent_is_the_program_that_forked",
    ),
    "tests/kernel/events/process/test_process_fields.py": (
        "test_terminal_is_in_the_logon_guid",
    ),
    "tests/kernel/events/process/test_terminal_kind.py": ("test_",),
    "tests/kernel/events/process/test_process_identity.py": (
        "test_parent_older_than_the_daemon_is_known",
        "test_guid_is_the_same_whichever_way_it_is_learnt",
    ),
    "tests/kernel/events/file/test_file_events.py": (
        "test_creation[/tmp-create-",
        "test_creation[/tmp-create_deep",
        "test_creation[/tmp-create_by_openat2",
        "test_creation[/tmp-link_unnamed",
        "test_creation[/tmp-rename-",
        "test_removal_is_both_events[/tmp-unlink-",
        "test_removal_is_both_events[/tmp-mount_namespace",
        "test_calls_of_the_32_bit_interface_are_seen[/tmp",
        "test_a_path_rewritten_by_another_thread_is_not_believed[/tmp",
        "test_a_block_device_is_raw_access[/tmp",
    ),
    "tests/kernel/events/file/test_quiet_requests.py": (
        "test_requests_without_entries[batch]",
        "test_requests_without_entries[deferred]",
        "test_requests_without_entries[in_worker]",
    ),
    "tests/kernel/events/dns/test_dns_events.py": (
        "test_each_question_is_one_event[ways_to_send]",
        "test_each_question_is_one_event[by_tcp_in_pieces]",
        "test_hosts_are_named_where_no_rule_asks_for_the_questions",
        "test_books_close_and_say_what_was_left_out",
    ),
    "tests/kernel/events/access/test_access_events.py": (
        "test_access[attach-",
        "test_access[copy_from-",
        "test_access[take_descriptor-",
        "test_access[read_memory-",
    ),
    "tests/kernel/events/library/test_library_events.py": (
        "test_each_way_is_one_event[executable",
        "test_each_way_is_one_event[through_the_loader",
        "test_what_is_like_it_but_is_none[",
    ),
    "tests/kernel/events/attribute/test_attribute_events.py": (
        "test_each_way_is_one_event[by_",
        "test_each_way_is_one_event[capability]",
        "test_each_way_is_one_event[in_overlay]",
        "test_what_is_like_it_but_is_none[",
    ),
    "tests/kernel/events/stamp/test_stamp_events.py": (
        "test_each_way_is_one_event_with_both_times[by_",
        "test_usual_work_is_none[touched]",
        "test_usual_work_is_none[unpacked]",
    ),
    "tests/kernel/events/module/test_module_events.py": ("test_",),
    "tests/kernel/events/pipe/test_pipe_events.py": (
        "test_each_is_reported_once_by_its_true_name[",
        "test_what_is_like_it_is_none[",
        "test_descriptor_that_is_swapped_in_the_call_hides_nothing[",
        "test_name_that_is_rewritten_is_true_where_names_of_files_are",
        "test_books_close_and_tell_what_could_not_be_seen",
    ),
    "tests/kernel/events/injection/test_injection_events.py": (
        "test_each_way_is_one_event_with_true_values[copy_",
        "test_each_way_is_one_event_with_true_values[open_for_",
        "test_each_way_is_one_event_with_true_values[poke_",
        "test_each_way_is_one_event_with_true_values[set_",
        "test_what_is_like_it_but_writes_nothing_there[",
    ),
    "tests/kernel/events/tampering/test_tampering_events.py": (
        "test_what_no_file_system_keeps[",
        "test_what_is_like_it_but_is_none[",
    ),
    "tests/kernel/events/tampering/test_executable_memory.py": (
        "test_each_way_is_told_once[anonymous]",
        "test_each_way_is_told_once[made_executable]",
        "test_each_way_is_told_once[shared_memory]",
        "test_each_way_is_told_once[stack_of_program]",
        "test_what_is_like_it_but_is_none[",
    ),
    "tests/kernel/events/tampering/test_mass_change.py": (
        "test_an_encryptor_is_told_once_by_its_100th_file[encryptor]",
        "test_an_encryptor_is_told_once_by_its_100th_file[shredder]",
        "test_usual_work_is_none[replaced_as_rsync_does]",
    ),
    "tests/kernel/events/bpf/test_bpf_events.py": ("test_a_loaded_program[load-",),
    "tests/kernel/events/network/test_network_events.py": (
        "test_each_connection_is_reported_once[tcp_accept4]",
        "test_each_connection_is_reported_once[tcp_ipv6]",
        "test_each_connection_is_reported_once[tcp_reset_before_accept]",
        "test_each_connection_is_reported_once[udp_ipv4]",
        "test_each_connection_is_reported_once[udp_ipv6]",
        "test_each_connection_is_reported_once[udp_connected]",
        "test_each_connection_is_reported_once[udp_several_peers]",
    ),
    "tests/kernel/events/network/test_udp_recent.py": ("test_a_slot_",),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the chosen tests; every choice must stand for at least one."""
    starts = [f"{file}::{name}" for file, names in CHOSEN.items() for name in names]
    unknown = [
        start
        for start in starts
        if not any(item.nodeid.startswith(start) for item in items)
    ]
    if unknown:
        raise pytest.UsageError(f"no such tests: {', '.join(unknown)}")
    items[:] = [item for item in items if item.nodeid.startswith(tuple(starts))]
