"""Writes what is generated: `python -m tests.documents`."""

from __future__ import annotations

from pathlib import Path

from tests.documents import command_table, configuration, lock, markdown, reference, roff

REPOSITORY = Path(__file__).parents[2]


def generated() -> dict[Path, str]:
    """Every generated file, by its path in the repository."""
    mcpctl, mcpd = reference.programs()
    return {
        Path("mcpctl/actions/completion/command_table.py"): command_table.text(mcpctl),
        Path("docs/reference/mcpctl.md"): markdown.page(mcpctl),
        Path("docs/reference/mcpd.md"): markdown.page(mcpd),
        Path("docs/reference/mcpctl.1"): roff.page(mcpctl),
        Path("docs/reference/mcpd.8"): roff.page(mcpd),
        Path("docs/configuration.md"): configuration.page(),
        Path("requirements-mcpctl.lock"): lock.page(),
    }


def main() -> None:
    for path, text in generated().items():
        where = REPOSITORY / path
        where.parent.mkdir(parents=True, exist_ok=True)
        if not where.exists() or where.read_text() != text:
            where.write_text(text)
            print(f"{path}: written")


if __name__ == "__main__":
    main()
