# SPDX-License-Identifier: MIT
"""docs/collectors: every example can be read, and has options that exist.

The options are those that each tool documents, of the parts that the pages use.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml
from lxml import etree
from support.configurations import read

from sysmonlx.policy import GROUP_SOCKET, ROOT_SOCKET, SinkChoice

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "collectors"
PAGES = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEAD = '<Sysmon schemaversion="4.90"><EventFiltering/>'

#: Options by the way to them; "*" is a name of the user's own, "[]" an item of a list.
KNOWN = {
    "vector.md": """
        sources.*.type sources.*.include sources.*.read_from sources.*.max_line_bytes
        sources.*.mode sources.*.command sources.*.streaming.respawn_on_exit
        sources.*.streaming.respawn_interval_secs sources.*.maximum_buffer_size_bytes
        transforms.*.type transforms.*.inputs transforms.*.source
        sinks.*.type sinks.*.inputs sinks.*.uri sinks.*.encoding.codec
        sinks.*.framing.method""",
    "fluent-bit.md": """
        service.flush service.parsers_file
        pipeline.inputs[].name pipeline.inputs[].tag pipeline.inputs[].path
        pipeline.inputs[].parser pipeline.inputs[].db pipeline.inputs[].read_from_head
        pipeline.inputs[].buffer_max_size pipeline.inputs[].rotate_wait
        pipeline.outputs[].name pipeline.outputs[].match pipeline.outputs[].host
        pipeline.outputs[].port pipeline.outputs[].tls pipeline.outputs[].format""",
    "opentelemetry.md": """
        extensions.file_storage.directory
        receivers.filelog.include receivers.filelog.start_at receivers.filelog.storage
        receivers.filelog.max_log_size receivers.filelog.operators[].type
        receivers.filelog.operators[].timestamp.parse_from
        receivers.filelog.operators[].timestamp.layout_type
        receivers.filelog.operators[].timestamp.layout
        processors.batch exporters.otlphttp.endpoint
        service.extensions service.pipelines.logs.receivers
        service.pipelines.logs.processors service.pipelines.logs.exporters""",
    "filebeat.md": """
        filebeat.inputs[].type filebeat.inputs[].id filebeat.inputs[].paths
        filebeat.inputs[].index filebeat.inputs[].parsers[].ndjson.target
        filebeat.inputs[].parsers[].ndjson.overwrite_keys
        filebeat.inputs[].parsers[].ndjson.add_error_key
        setup.template.enabled output.elasticsearch.hosts
        output.elasticsearch.api_key""",
    "elastic.md": """
        [].ndjson.target [].ndjson.overwrite_keys [].ndjson.add_error_key""",
    "splunk.md": """
        sourcetype index disabled
        SHOULD_LINEMERGE LINE_BREAKER TRUNCATE KV_MODE TIME_PREFIX TIME_FORMAT
        MAX_TIMESTAMP_LOOKAHEAD TZ""",
}
#: Below these stand names that the reader chooses.
NAMED = {"sources", "transforms", "sinks"}
#: The element names of Wazuh's files that the page uses, with their attributes.
WAZUH = {
    **{"ossec_config": "", "localfile": "", "log_format": "", "location": ""},
    **{"label": "key", "group": "name", "rule": "id level", "decoded_as": ""},
    **{"field": "name", "description": "", "if_sid": ""},
}


def blocks(page: Path, *languages: str) -> list[str]:
    found = BLOCK.findall(page.read_text("utf-8"))
    return [text for language, text in found if language in languages]


def options(value: object, way: str = "") -> set[str]:
    """Return the ways to all values that are no tables."""
    if isinstance(value, dict):
        name = "*" if way in NAMED else ""
        found = (
            options(each, f"{way}.{name or key}".lstrip("."))
            for key, each in value.items()
        )
        return set().union(*found) if value else {way}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(options(each, f"{way}[]") for each in value))
    return {way}


def sinks(page: Path) -> list[SinkChoice]:
    """Return the sinks of a page's examples, as they are read."""
    found: list[SinkChoice] = []
    for text in blocks(page, "xml"):
        if text.startswith("<sx:Settings"):
            text = f"{HEAD}{text}</Sysmon>"
        elif "<Sysmon" not in text:
            continue
        policy, remarks = read(text)
        assert not remarks
        found += policy.settings.sinks
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_language_that_is_checked(page: Path) -> None:
    languages = {language for language, _ in BLOCK.findall(page.read_text("utf-8"))}
    assert languages <= {"xml", "yaml", "ini", "sh", "text"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_sink_of_an_example_is_one(page: Path) -> None:
    sinks(page)


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "splunk.md"])
def test_yaml_has_known_options_and_reads_what_is_written(name: str) -> None:
    page = FOLDER / name
    found = [yaml.safe_load(text) for text in blocks(page, "yaml")]
    assert set().union(*map(options, found)) == set(KNOWN[name].split())
    text = "".join(blocks(page, "yaml")) + page.read_text("utf-8")
    for sink in sinks(page):
        assert text.count(sink.place) > (sink.kind == "file")


def test_splunk_has_known_options() -> None:
    found: set[str] = set()
    for text in blocks(FOLDER / "splunk.md", "ini"):
        parser = configparser.RawConfigParser(delimiters=("=",))
        parser.optionxform = str  # type: ignore[method-assign,assignment]  # as its manual says
        parser.read_string(text)
        found |= {option for part in parser.sections() for option in parser[part]}
    assert found == set(KNOWN["splunk.md"].split())


def test_wazuh_has_known_elements() -> None:
    for text in blocks(FOLDER / "wazuh.md", "xml"):
        if "<sx:Sink" in text:
            continue
        for node in etree.fromstring(text).iter():
            assert node.tag in WAZUH
            assert set(node.keys()) <= set(WAZUH[str(node.tag)].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sockets_are_where_the_program_has_them(page: Path) -> None:
    for place in re.findall(r"/run/[\w/-]+", page.read_text("utf-8")):
        assert place in (ROOT_SOCKET, GROUP_SOCKET)


def test_every_page_is_in_the_list() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "README.md").read_text()))
    assert {page.name for page in PAGES} - {"README.md"} == listed
