"""Where in a TOML text a value stands: held against tomllib, which knows the values but not their places."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.locate import locate, nearest

EXAMPLE = Path(__file__).resolve().parent.parent / "config.example.toml"


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Every table, key and element of what tomllib made of a text, with its value."""
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def test_every_kind_of_key_has_its_line() -> None:
    """Headers, dotted and quoted keys, inline tables, arrays over several lines, arrays of tables."""
    text = """\
top = 1                 # 1
a.b."c d" = 2           # 2
[a.e]
'q.r' = [               # 4
  1,                    # [ 5
  { x = "]" },          # 6

  [
    3.5, 1979-05-27 07:32:00,
  ],
]
text = \"\"\"
[no.table]
x = 1 \\\"\"\" # \"\"\"\"\"
[[list]]
k = 1
[list.sub]
[[list]]
[[list.deep]]
z = {}
[[list.deep]]
[late.inner]
[late]
"""
    assert tomllib.loads(text)["a"]["e"]["text"].endswith(' # ""')
    lines = locate(text)
    assert lines == {
        ("top",): 1,
        ("a",): 2,
        ("a", "b"): 2,
        ("a", "b", "c d"): 2,
        ("a", "e"): 3,
        ("a", "e", "q.r"): 4,
        ("a", "e", "q.r", 0): 5,
        ("a", "e", "q.r", 1): 6,
        ("a", "e", "q.r", 1, "x"): 6,
        ("a", "e", "q.r", 2): 8,
        ("a", "e", "q.r", 2, 0): 9,
        ("a", "e", "q.r", 2, 1): 9,
        ("a", "e", "text"): 12,
        ("list",): 15,
        ("list", 0): 15,
        ("list", 0, "k"): 16,
        ("list", 0, "sub"): 17,
        ("list", 1): 18,
        ("list", 1, "deep"): 19,
        ("list", 1, "deep", 0): 19,
        ("list", 1, "deep", 0, "z"): 20,
        ("list", 1, "deep", 1): 21,
        ("late",): 23,
        ("late", "inner"): 22,
    }


def test_what_is_not_there_is_where_it_would_be() -> None:
    """A missing key is told at its table, a missing table at nothing."""
    lines = locate("[a]\nb = 1\n[[c]]\n[[c]]\n")
    assert nearest(lines, ("a", "x", 3)) == 1
    assert nearest(lines, ("c", 1, "name")) == 4
    assert nearest(lines, ("d",)) == nearest(lines, ()) == 0


def test_the_example_is_found_whole() -> None:
    """Every value of a file that people write has its line, and its key is on it."""
    text = EXAMPLE.read_text()
    lines, rows = locate(text), text.splitlines()
    found = [path for path, _ in paths(tomllib.loads(text))]
    assert set(found) == set(lines)
    assert all(str(path[-1]) in rows[lines[path] - 1] for path in found if isinstance(path[-1], str))


class Writer:
    """A document in which every key and every scalar is unique, so that a line can be held against it."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.count = 0

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def key(self) -> str:
        self.count += 1
        name = self.draw(st.sampled_from(["{}", '"{}"', "'{}'", '"{} = [#"', "'{}.[x]'", '"{}\\n\\u00e9\\""', "{}-1"]))
        return name.format(f"k{self.count}k")

    def dotted(self) -> str:
        return self.draw(st.sampled_from([".", " . "])).join(self.key() for _ in range(self.draw(st.integers(1, 3))))

    def blank(self) -> str:
        return self.draw(st.sampled_from(["", " ", "\n", ' # [ \' """ {\n', "\n\n\t"]))

    def scalar(self) -> str:
        self.count += 1
        forms = ["{}", "-{}", "{}.25", "{}e5", '"v{}"', "'v{}'", '"v{} # [ \\" ] = "', '\'v{} {{ """ \\\'']
        forms += ['"""v{} \n[decoy]\nx = 1 "\\"" # \\""""""', "'''v{} ''[\n[[decoy]]\n'''", "1979-05-27 07:32:00.{}"]
        return self.draw(st.sampled_from(forms)).format(self.count + 10000)

    def value(self, depth: int) -> str:
        kind = self.draw(st.sampled_from(["scalar", "scalar", "array", "table"])) if depth else "scalar"
        if kind == "scalar":
            return self.scalar()
        items = range(self.draw(st.integers(0, 3)))
        if kind == "table":
            return "{ " + ", ".join(f"{self.dotted()} = {self.value(depth - 1)}" for _ in items) + " }"
        inner = f",{self.blank()}".join(self.blank() + self.value(depth - 1) + self.blank() for _ in items)
        return f"[{inner}{',' if items and self.chance() else ''}{self.blank()}]"

    def document(self) -> str:
        lines, arrays = [], []
        for _ in range(self.draw(st.integers(1, 4))):
            for _ in range(self.draw(st.integers(0, 3))):
                lines.append(f"{self.dotted()} = {self.value(3)}{self.draw(st.sampled_from(['', ' # = [', ' ']))}")
            head = self.dotted()
            if arrays and self.chance():
                head = self.draw(st.sampled_from(arrays))
                if self.chance():
                    head = f"{head}.{self.dotted()}"
                lines.append(f"[[{head}]]" if head in arrays or self.chance() else f"[{head}] # ]")
            elif self.chance():
                lines.append(f"[[ {head} ]]")
                arrays.append(head)
            else:
                lines.append(f"[{head}]")
        return self.draw(st.sampled_from(["\n", "\r\n"])).join(["", *lines, *([""] if self.chance() else [])])


@given(st.data())
def test_every_value_of_any_document_is_on_its_line(data: st.DataObject) -> None:
    """Whatever tomllib finds has a line, nothing else has, and the line holds the key, or an element's own text."""
    text = Writer(data).document()
    lines = locate(text)
    found = dict(paths(tomllib.loads(text)))
    assert set(lines) == set(found)
    rows = text.replace("\r\n", "\n").split("\n")
    for path, value in found.items():
        row, last = rows[lines[path] - 1], path[-1]
        if isinstance(last, str):
            assert last[: last.index("k", 1) + 1] in row
        elif isinstance(value, str):
            assert value.split()[0] in row
        elif isinstance(value, int):
            assert str(value) in row
        elif isinstance(value, dict):
            assert "{" in row or row.startswith("[[")


@given(st.text(alphabet="ab.=[]{},'\"#\\\n 1") | st.text())
def test_no_text_makes_the_locator_fall(text: str) -> None:
    """It is only asked about TOML, but it raises on nothing."""
    assert nearest(locate(text), ("a", 0, "b")) >= 0


@pytest.mark.parametrize(
    "text",
    ["a = " + "[\n" * 20_000 + "]" * 20_000, "[[" + ".".join("a" * 20_000) + "]]", ".".join("a" * 20_000) + "=1"],
)
def test_depth_is_no_matter(text: str) -> None:
    """A text may be nested deeper than Python calls; what is too deep for any key of ours is not told apart."""
    lines = locate(text)
    assert len(lines) < 100
    assert nearest(lines, ("a", *[0] * 15)) in (1, 16)
