"""Generate the pages of the site that restate code or files outside of docs/; a hook of MkDocs (mkdocs.yml).

Code is parsed, never imported, so that the site builds without PyTorch. The catalog schema, presets and decisions are
read from their files.
"""

import ast
import io
import json
import logging
import posixpath
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

logger = logging.getLogger("mkdocs.hooks.generate")

ROOT = Path(__file__).parents[1]
INCLUDED = {  # page of the site: the file that it shows
    "guide/operate.md": "deploy/README.md",
    "models.md": "stitchedit/weights/README.md",
    "third-party.md": "THIRD_PARTY.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
API = {  # page: what it says first, and the modules that it documents
    "flows": ("What a caller asks for, and the flows that run it.", ["flows/*.py", "flows/catalog/request.py"]),
    "tasks": ("One task per stage, and how every stage is run.", ["tasks/*.py", "tasks/runtime/stage.py"]),
    "stitchedit": (
        "The method: arrays in, arrays out.",
        ["stitchedit/*.py", "stitchedit/detect/*.py", "stitchedit/measure/*.py", "stitchedit/nets/generator.py"],
    ),
    "storage": (
        "Artifacts, the store and its backends, arrays and video files.",
        [
            "storage/*.py",
            "storage/backends/*.py",
            "storage/arrays/frame_array.py",
            "storage/video/info.py",
            "storage/video/source.py",
            "storage/video/writer.py",
            "storage/weights/*.py",
        ],
    ),
    "configs": ("Options of a run, and how they are loaded.", ["configs/schema.py", "configs/load.py"]),
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
DECISION = re.compile(r"(?<![\w/(])docs/decisions/(\d{4})(?![\w-])")
FENCE = re.compile(r"(^```.*?^```[^\n]*$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for uri, text in pages():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links between files of the repository links between pages of the site."""
    site = _Site(page.file.src_uri, files, config.repo_url)
    parts = FENCE.split(markdown)
    return "".join(part if number % 2 else site.linked(part) for number, part in enumerate(parts))


def pages() -> Iterator[tuple[str, str]]:
    """Every generated page: its place in the site, and its Markdown."""
    for uri, source in INCLUDED.items():
        yield uri, (ROOT / source).read_text(encoding="utf-8")
    yield "decisions/index.md", decisions_page()
    yield "reference/options.md", options_page()
    yield "reference/commands.md", commands_page()
    yield "reference/catalog.md", catalog_page()
    for package, (purpose, patterns) in API.items():
        yield f"reference/api/{package}.md", api_page(package, purpose, patterns)


@dataclass(frozen=True)
class _Site:
    """Where links of one page lead."""

    uri: str  # of the page
    files: Files
    repo_url: str | None

    def linked(self, text: str) -> str:
        """Text with its links, and its mentions of decisions, as links of the site."""
        text = LINK.sub(self._link, text)
        return DECISION.sub(self._decision, text)

    def _link(self, match: re.Match[str]) -> str:
        image, text, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        folder = posixpath.dirname(INCLUDED.get(self.uri, f"docs/{self.uri}"))
        place = posixpath.normpath(posixpath.join(folder, path))
        page = self._page_of(place)
        if page is not None:
            return f"{image}[{text}]({self._relative(page)}{f'#{anchor}' if anchor else ''})"
        if not (ROOT / place).exists():
            return match[0]  # MkDocs reports it
        if self.repo_url:
            return f"[{text}]({self.repo_url.rstrip('/')}/blob/main/{place})"
        return f"`{place}`" if text.strip("`") in place else f"{text} (`{place}`)"

    def _decision(self, match: re.Match[str]) -> str:
        named = next(iter(ROOT.glob(f"docs/decisions/{match[1]}-*.md")), None)
        return f"[decision {int(match[1])}]({self._relative(f'decisions/{named.name}')})" if named else match[0]

    def _page_of(self, place: str) -> str | None:
        """The page or image of the site that shows a file of the repository."""
        pages = {source: page for page, source in INCLUDED.items()}
        if place in pages:
            return pages[place]
        page = place.removeprefix("docs/")
        for candidate in (page, f"{page}/index.md"):
            if place.startswith("docs/") and self.files.get_file_from_path(candidate):
                return candidate
        return None

    def _relative(self, page: str) -> str:
        return posixpath.relpath(page, posixpath.dirname(self.uri) or ".")


def decisions_page() -> str:
    """A table of all decisions with their status."""
    lines = ["# Decisions", "", "Why it is as it is, one page for each decision.", ""]
    lines += ["| | decision | status |", "|---|---|---|"]
    for path in sorted((ROOT / "docs/decisions").glob("0*.md")):
        text = path.read_text(encoding="utf-8")
        number, _, title = text.partition("\n")[0].removeprefix("# ").partition(". ")
        status = re.search(r"^Status: (.+?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
        if status is None:
            logger.warning("%s has no line `Status: …`", path.relative_to(ROOT))
        words = " ".join(status[1].split()) if status else ""
        lines.append(f"| {number} | [{title}]({path.name}) | {words} |")
    return "\n".join(lines)


def api_page(package: str, purpose: str, patterns: list[str]) -> str:
    """Directives for mkdocstrings, one per module."""
    lines = [f"# {package}", "", purpose, ""]
    for pattern in patterns:
        paths = sorted(path for path in ROOT.glob(pattern) if path.name != "__init__.py")
        if not paths:
            logger.warning("docs/generate.py: no module is %s", pattern)
        for path in paths:
            name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
            lines += [
                f"## {name.partition('.')[2]}",
                "",
                f"::: {name}",
                "    options:",
                "      show_root_heading: false",
                "",
            ]
    return "\n".join(lines)


def options_page() -> str:
    """Every option with its default and comment, from the dataclasses of configs/schema.py."""
    lines = [
        "# Options", "",
        "`stitchedit edit CLIP --edit smile=+2 GROUP.NAME=VALUE` sets any of them; `stitchedit options` prints the "
        "values of a preset. An option marked *in no key* does not cause recomputing.", "",
    ]  # fmt: skip
    schema = Module.of("configs/schema.py")
    for group, annotation in _fields(schema.classes["RunConfig"]):
        module = schema.origin(ast.unparse(annotation.annotation))
        options = module.classes[ast.unparse(annotation.annotation)]
        unkeyed = _strings(options, "decide_nothing")
        lines += [
            f"## {group}",
            "",
            ast.get_docstring(module.tree) or "",
            "",
            "| option | default | |",
            "|---|---|---|",
        ]
        for name, field in _fields(options):
            notes = [module.comment(field)] + (["*in no key*"] if name in unkeyed else [])
            default = module.default(field.value)
            lines.append(f"| `{group}.{name}` | `{default}` | {_cell('; '.join(note for note in notes if note))} |")
        lines.append("")
    return "\n".join([*lines, "# Presets", "", *_presets()])


def _presets() -> Iterator[str]:
    for path in sorted((ROOT / "configs/presets").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        about = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
        yield from (f"## Preset {path.stem}", "", about, "")
        for group, values in (yaml.safe_load(text) or {}).items():
            yield from (f"* `{group}.{name}={json.dumps(value)}`" for name, value in values.items())
        yield ""


def catalog_page() -> str:
    """Fields of a catalog, from its JSON Schema."""
    schema = json.loads((ROOT / "deploy/catalog.schema.json").read_text(encoding="utf-8"))
    lines = ["# Catalog schema", "", "`stitchedit schema` prints it as JSON Schema (deploy/catalog.schema.json).", ""]
    definitions = {"Catalog": schema, **schema.get("$defs", {})}
    for name, definition in definitions.items():
        lines += [f"## {name}", "", definition.get("description", ""), ""]
        required = definition.get("required", [])
        lines += ["| field | type | default | |", "|---|---|---|---|"]
        for field, facts in definition.get("properties", {}).items():
            default = "required" if field in required else f"`{json.dumps(facts.get('default'))}`"
            examples = ", ".join(f"`{json.dumps(example)}`" for example in facts.get("examples", []))
            about = " ".join(filter(None, [facts.get("description", ""), f"Example: {examples}" if examples else ""]))
            lines.append(f"| `{field}` | {_type_of(facts)} | {_cell(default)} | {_cell(about)} |")
        lines.append("")
    return "\n".join(lines)


def _type_of(facts: Mapping[str, Any]) -> str:
    """A JSON Schema type in words, with a link to the definition it names."""
    if "$ref" in facts:
        name = facts["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in facts:
        return " or ".join(_type_of(one) for one in facts["anyOf"])
    if facts.get("type") == "array":
        return f"list of {_type_of(facts.get('items', {}))}"
    if "enum" in facts:
        return ", ".join(f"`{value}`" for value in facts["enum"])
    return f"{facts.get('type', 'any')}{' (' + facts['format'] + ')' if 'format' in facts else ''}"


def commands_page() -> str:
    """Every command with its arguments and options, from the functions that typer is given."""
    lines = ["# Command line", "", "`stitchedit COMMAND --help` says the same in a terminal.", ""]
    main = Module.of("flows/cli/main.py")
    for name, module in _commands(main):
        group = ROOT / f"flows/cli/{name}.py"
        lines += _command(f"stitchedit {name}", module.functions[name], module)
        if module is main and group.exists() and name in ("train", "directions"):
            inner = Module.of(f"flows/cli/{name}.py")
            for function, home in _commands(inner):
                lines += _command(
                    f"stitchedit {name} {function.removeprefix(f'{name}_')}", home.functions[function], home
                )
    return "\n".join(lines)


def _commands(module: "Module") -> Iterator[tuple[str, "Module"]]:
    """Functions that are made commands in `module`, in order, and where each is defined."""
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef):
            makers = [ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list]
            if {"app.command", "group"} & set(makers):
                yield node.name, module
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Call):
            maker, given = node.value.func, node.value.args
            if ast.unparse(maker.func) == "app.command" and given and isinstance(given[0], ast.Name):
                yield given[0].id, module.origin(given[0].id)


def _command(title: str, function: ast.FunctionDef, module: "Module") -> list[str]:
    about = ast.get_docstring(function) or ""
    lines = [f"## {title}", "", about, ""]
    rows = list(_parameters(function, module))
    return [*lines, "| | default | |", "|---|---|---|", *rows, ""] if rows else lines


def _parameters(function: ast.FunctionDef, module: "Module") -> Iterator[str]:
    defaults = [None] * (len(function.args.args) - len(function.args.defaults)) + list(function.args.defaults)
    for argument, default in zip(function.args.args, defaults, strict=True):
        annotated = module.annotation(argument.annotation)
        if annotated is None:
            continue
        kind, call = annotated
        flags = [
            value.value for value in call.args if isinstance(value, ast.Constant) and str(value.value).startswith("-")
        ]
        if ast.unparse(call.func).endswith("Argument"):
            name = argument.arg.upper()
        else:
            name = ", ".join(flags) or f"--{argument.arg.replace('_', '-')}"
            name += "" if kind == "bool" else f" {_keyword(call, 'metavar') or argument.arg.upper()}"
        value = module.default(default) if default is not None else "required"
        shown = "" if value in ("None", "False") else value if value == "required" else f"`{value}`"
        variable = _keyword(call, "envvar")
        about = _keyword(call, "help") + (f" Also `{variable}`." if variable else "")
        yield f"| `{name}` | {shown} | {_cell(about)} |"


def _keyword(call: ast.Call, name: str) -> str:
    """The text given as keyword `name`."""
    for keyword in call.keywords:
        if keyword.arg == name:
            try:
                return str(ast.literal_eval(keyword.value))
            except ValueError:
                return ast.unparse(keyword.value)
    return ""


@dataclass(frozen=True)
class Module:
    """One source file: its tree, comments and definitions."""

    path: str
    tree: ast.Module
    comments: Mapping[int, str]  # line -> text

    @staticmethod
    @cache
    def of(path: str) -> "Module":
        """The module at a path below the repository's root."""
        text = (ROOT / path).read_text(encoding="utf-8")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
        return Module(path, ast.parse(text), comments)

    @property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Classes by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """Functions by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    @property
    def constants(self) -> dict[str, ast.expr]:
        """Values assigned at the top level, by name."""
        return {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def origin(self, name: str) -> "Module":
        """The module that defines `name`, which this one imports or defines."""
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
                path = f"{node.module.replace('.', '/')}.py"
                return Module.of(path) if (ROOT / path).exists() else self
        return self

    def comment(self, node: ast.AST) -> str:
        """The comments on the lines of `node`."""
        first, last = node.lineno, node.end_lineno or node.lineno
        found = [self.comments[line] for line in range(first, last + 1) if line in self.comments]
        return " ".join(re.sub(r"^#\s*", "", comment) for comment in found if not comment.startswith("# noqa"))

    def default(self, value: ast.expr | None) -> str:
        """A default as it would be written, constants resolved."""
        if value is None:
            return "required"
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
            factory = next((word.value for word in value.keywords if word.arg == "default_factory"), None)
            return {"dict": "{}", "list": "[]", "tuple": "()"}.get(ast.unparse(factory) if factory else "", "…")
        if isinstance(value, ast.Name):
            constant = self.origin(value.id).constants.get(value.id)
            return self.default(constant) if constant is not None else value.id
        if isinstance(value, ast.Call) and len(value.args) == 1:
            return ast.literal_eval(value.args[0]) if isinstance(value.args[0], ast.Constant) else ast.unparse(value)
        return str(value.value) if isinstance(value, ast.Constant) else ast.unparse(value)

    def annotation(self, node: ast.expr | None) -> tuple[str, ast.Call] | None:
        """Type and `typer.Option` or `typer.Argument` of a parameter, through an alias if there is one."""
        if isinstance(node, ast.Name):
            home = self.origin(node.id)
            return home.annotation(home.constants.get(node.id))
        if (
            isinstance(node, ast.Subscript)
            and ast.unparse(node.value) == "Annotated"
            and isinstance(node.slice, ast.Tuple)
        ):
            kind, call = node.slice.elts[0], node.slice.elts[1]
            return (ast.unparse(kind), call) if isinstance(call, ast.Call) else None
        return None


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    """Fields of a dataclass, without class variables."""
    for one in node.body:
        if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name):
            continue
        if not ast.unparse(one.annotation).startswith("ClassVar"):
            yield one.target.id, one


def _strings(node: ast.ClassDef, name: str) -> set[str]:
    """All strings in the value of a class variable."""
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.target.id == name and one.value:
            return {part.value for part in ast.walk(one.value) if isinstance(part, ast.Constant)}
    return set()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*in no key*", "_in no key_")
