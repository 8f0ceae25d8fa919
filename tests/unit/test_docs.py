"""The documents say what is so: what is generated is current, what they type exists, what they link to is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

import msgspec
import pytest

import mcpctl.config
import mcpd.config.settings
from protos import spec, validation
from tests.documents import blocks, configuration, reference
from tests.documents.__main__ import REPOSITORY, generated

DOCUMENTS = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])
PAGES = [*(REPOSITORY / f"{name}.md" for name in ("SECURITY", "ARCHITECTURE", "CONTRIBUTING")), *DOCUMENTS]
GENERATED = generated()
PROGRAMS = {each.name: each for each in reference.programs()}
WRITTEN = [path for path in DOCUMENTS if path.relative_to(REPOSITORY) not in GENERATED]

_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_what_is_generated_is_current(path: Path) -> None:
    kept = REPOSITORY / path
    assert kept.exists(), "run `python -m tests.documents`"
    assert kept.read_text() == GENERATED[path], f"{path} is not what is generated; run `python -m tests.documents`"


@pytest.mark.parametrize("page", ["mcpctl.1", "mcpd.8"])
def test_the_manual_pages_are_what_man_expects(page: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed, so the manual pages were not linted (apt-get install mandoc)")
    path = REPOSITORY / "docs/reference" / page
    done = subprocess.run(["mandoc", "-Tlint", str(path)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_command_that_a_document_types_exists(path: Path) -> None:
    typed = list(blocks.commands(path))
    wrong = [f"{each}: {said}" for each in typed if (said := blocks.problem(each, PROGRAMS))]
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mcpctl deplyo web", "no command deplyo"),
        ("mcpctl node lst", "no command node lst"),
        ("mcpctl node", "node needs a command behind it"),
        ("mcpctl undeploy", "undeploy needs more arguments"),
        ("mcpctl undeploy web more", "undeploy takes 1 arguments, not 2"),
        ("mcpctl deploy web --frce", "deploy has no option --frce"),
        ("echo x | mcpd restore", "restore needs more arguments"),
        ("runuser -u mcp -- mcpd snapshot --kep 3", "snapshot has no option --kep"),
        ("mcpctl alerts silence web --for 2h --reason x || mcpctl deploy web --image x", ""),
        ("mcpctl deploy --help", ""),
        ("mcpctl jobs", ""),
        ("mcpctl jobs shop/report --runs 10", ""),
        ("mcpctl jobs --rnus 10", "jobs list has no option --rnus"),
        ("man mcpctl nonsense", ""),
    ],
)
def test_what_does_not_exist_is_found(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "document.md"
    path.write_text(f"# Title\n\n```sh\n{line}\n```\n")
    found = [problem for each in blocks.commands(path) if (problem := blocks.problem(each, PROGRAMS))]
    assert found == ([said] if said else [])


def test_commands_in_the_text_are_looked_at_as_well(tmp_path: Path) -> None:
    path = tmp_path / "document.md"
    path.write_text(
        "Say `mcpctl nonsense` or `mcpctl deploy` or `mcpd token add|list`, and\n`mcpd check --nonsense`.\n"
    )
    found = [blocks.problem(each, PROGRAMS) for each in blocks.commands(path)]
    assert found == ["no command nonsense", "", "", "check has no option --nonsense"]


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_to_something(path: Path) -> None:
    missing = []
    for target in (match["target"] for match in _LINK.finditer(path.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        where = path.parent / file if file else path
        if not where.exists() or (anchor and where.suffix == ".md" and anchor not in anchors(where)):
            missing.append(target)
    assert missing == []


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", WRITTEN, ids=named)
def test_blocks_are_run_or_say_why_not(path: Path) -> None:
    languages = {each.language for each in blocks.blocks(path)}
    assert languages <= {"sh", "console", "toml", "json", "yaml", "text", "mermaid", "promql", ""}
    for each in blocks.blocks(path):
        assert each.language == "sh" or not each.reason


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_toml_in_documents_is_toml(path: Path) -> None:
    for each in blocks.blocks(path):
        if each.language == "toml":
            tomllib.loads(each.text)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "docs/images").glob("*.svg")), ids=named)
def test_a_picture_is_small_shown_and_asks_nobody(path: Path) -> None:
    text = path.read_text()
    assert len(text.encode()) < 60_000
    assert re.findall(r"https?://(?!www\.w3\.org/)\S+", text) == []
    assert f"docs/images/{path.name}" in (REPOSITORY / "README.md").read_text()


# -- the reference of the files


@pytest.mark.parametrize("document", configuration.DOCUMENTS, ids=lambda each: each.title)
def test_the_example_is_right(document: configuration.Document) -> None:
    data = tomllib.loads(document.example)
    examined: tuple[Any, Any] = validation.examine(data, document.type)
    if document.type is spec.Service:
        examined = spec.examine_service(data)
    assert examined[1] == []


def structs(root: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    found = [root]
    for field in msgspec.structs.fields(root):
        inner = configuration.table_of(field.type)
        if inner is not None:
            found += structs(inner)
    return found


@pytest.mark.parametrize(
    "struct",
    [each for root in (spec.Service, mcpctl.config.Config, mcpd.config.settings.Config) for each in structs(root)],
    ids=lambda each: f"{each.__module__}.{each.__name__}",
)
def test_every_key_has_its_meaning_in_its_types_docstring(struct: type[msgspec.Struct]) -> None:
    told = configuration.documented(struct)
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    untold = [name for name, field in fields.items() if name not in told and not configuration.table_of(field.type)]
    assert untold == []
    assert set(told) <= set(fields)


def test_the_definition_with_every_key_has_every_key() -> None:
    found = tomllib.loads(configuration.EVERY_KEY.read_text())
    service, problems = spec.examine_service(found)
    assert problems == []
    assert service
    missing = set(_keys_of(spec.Service, "")) - set(_keys_in(found, spec.Service, ""))
    assert missing == set()


def _keys_of(struct: type[msgspec.Struct], path: str) -> Iterator[str]:
    """The path of every key, those of tables included."""
    for field in msgspec.structs.fields(struct):
        yield f"{path}{field.encode_name}"
        if inner := configuration.table_of(field.type):
            yield from _keys_of(inner, f"{path}{field.encode_name}.")


def _keys_in(value: Any, struct: type[msgspec.Struct], path: str) -> Iterator[str]:
    for field in msgspec.structs.fields(struct):
        if field.encode_name not in value:
            continue
        yield f"{path}{field.encode_name}"
        if inner := configuration.table_of(field.type):
            for each in _tables_in(value[field.encode_name], is_of_names=get_origin(field.type) is Mapping):
                yield from _keys_in(each, inner, f"{path}{field.encode_name}.")


def _tables_in(value: Any, *, is_of_names: bool) -> list[Any]:
    several = value if isinstance(value, list) else list(value.values()) if is_of_names else [value]
    return [each for each in several if isinstance(each, dict)]


def test_every_finding_of_the_audit_has_its_code_and_its_test() -> None:
    text = (REPOSITORY / "docs/audit.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| [ES]\d ", line)]
    assert [row[2:4] for row in rows] == [*(f"E{number}" for number in range(1, 9)), *(f"S{n}" for n in range(1, 7))]
    for row in rows:
        met, shown = row.strip("| ").split(" | ")[1:]
        assert _LINK.search(met), f"no link to the code: {row}"
        assert "](../tests/" in shown, f"no link to a test: {row}"
