"""Chat templates of strangers: looked at, never run.

A chat template is a Jinja program that whoever talks to a model renders. transformers renders it in a
sandbox; other programs have been taken over by templates that reach through Python's objects
(`{{ x.__class__ }}`) or load files. Ours are refused if they hold anything of the kind.
"""

import json
from pathlib import Path
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tsumugu.errors import TsumuguError

_LOADING = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends)


class _Generation(Extension):
    """transformers' `{% generation %}`, which marks what the model says."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def refuse_hostile(template: str, name: str) -> None:
    """Return if a chat template has only what templates are for.

    Args:
        template: its text.
        name: of where it stands, for the message.

    Raises:
        TsumuguError: it reaches into Python, or loads other files, or is no template.
    """
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols", _Generation])
    try:
        tree = environment.parse(template)
    except TemplateSyntaxError as error:
        raise TsumuguError(f"{name}: the chat template is no Jinja template: {error}") from error
    for node in tree.find_all(nodes.Node):
        found = _hostile(node)
        if found:
            raise TsumuguError(
                f"{name}, line {node.lineno} of the chat template: it {found}, which no conversation needs "
                f"and which is how templates take over the program that renders them. Do not use it; "
                f"remove the template, or write your own"
            )


def refuse_hostile_templates(folder: Path) -> int:
    """Look at all templates of a directory; the number of them.

    Raises:
        TsumuguError: as `refuse_hostile`; or a file is damaged.
    """
    found = _templates(folder)
    for name, template in found:
        refuse_hostile(template, name)
    return len(found)


def _templates(folder: Path) -> list[tuple[str, str]]:
    """File and text of each."""
    found: list[tuple[str, str]] = []
    for path in sorted(folder.rglob("*.jinja")):
        try:
            found.append((path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise TsumuguError(f"{path.name} is damaged: {error}") from error
    for path in sorted(folder.glob("*.json")):
        if path.name not in ("tokenizer_config.json", "chat_template.json", "processor_config.json"):
            continue
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TsumuguError(f"{path.name} is damaged: {error}") from error
        given = settings.get("chat_template") if isinstance(settings, dict) else None
        found += [(path.name, text) for text in _texts(given)]
    return found


def _texts(given: Any) -> list[str]:
    """One template, or several with names."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, dict):
        return [text for value in given.values() for text in _texts(value)]
    if isinstance(given, list):
        return [text for one in given if isinstance(one, dict) for text in _texts(one.get("template"))]
    return []


def _hostile(node: nodes.Node) -> str | None:
    """What it does that it should not, in words."""
    if isinstance(node, _LOADING):
        return "loads another template"
    if isinstance(node, nodes.Filter) and node.name == "attr":
        return "looks attributes up by name (the filter attr)"
    name = None
    if isinstance(node, nodes.Getattr):
        name = node.attr
    elif isinstance(node, nodes.Const) and isinstance(node.value, str) and "__" in node.value:
        # "{0.__class__}".format(x), x["__class__"], "__glo" ~ "bals__"
        name = (
            node.value if any(sign in node.value for sign in ("__class", "__glo", "__import", "{")) else None
        )
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        name = node.arg.value if isinstance(node.arg.value, str) else None
    if isinstance(name, str) and (name.startswith("_") or "__" in name):
        return f"reaches for {name[:40]!r}"
    return None
