"""A path finds its source, or none, in a time that does not grow with the number of sources."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import config
from relay.config import Source
from relay.errors import RequestRefused
from relay.web.ingress import SourceTable


@pytest.fixture(scope="module")
def source_at(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Source]:
    """Makes a source that listens on a path."""
    file = tmp_path_factory.mktemp("sources") / "relay.yaml"
    known: dict[str, Source] = {}

    def made(template: str) -> Source:
        if template not in known:
            file.write_text(f'sources: {{in: {{verify: none, path: "{template}"}}}}')
            known[template] = config.load(file, {}).sources["in"]
        return known[template]

    return made


def apart(sources: Iterable[Source]) -> list[Source]:
    """Of sources whose paths overlap, which the file's check refuses, the first."""
    taken: list[Source] = []
    for source in sources:
        if not any(source.path.overlaps(one.path) for one in taken):
            taken.append(source)
    return taken


def table(sources: Iterable[Source]) -> SourceTable:
    """The table of these sources."""
    return SourceTable({str(number): source for number, source in enumerate(sources)})


def found(sources: SourceTable, path: str) -> tuple[str, dict[str, str]] | None:
    """The template of the source that a path finds, and what its placeholders caught; None for 404."""
    try:
        source, caught = sources.find(path)
    except RequestRefused:
        return None
    return source.path.template, dict(caught)


SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y}"])
TEMPLATES = st.lists(SEGMENTS, min_size=1, max_size=4, unique=True).map(lambda made: "/" + "/".join(made))
PATHS = st.lists(st.sampled_from(["a", "b", "c", "", ".", "..", "{x}", "\x00", "é"]), max_size=5)


@given(st.lists(TEMPLATES, max_size=12), PATHS)
def test_a_path_finds_the_one_source_that_matches_it(
    source_at: Callable[[str], Source], templates: list[str], segments: list[str]
) -> None:
    """Whatever the sources and the path, the table finds what asking each source finds."""
    sources = apart(map(source_at, templates))
    path = "/" + "/".join(segments)
    asked = [(one.path.template, caught) for one in sources if (caught := one.path.match(path)) is not None]
    match = found(table(sources), path)
    assert asked == ([] if match is None else [match])


@contextmanager
def counting() -> Iterator[list[int]]:
    """Count the calls of functions, Python's own included."""
    calls = [0]

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        calls[0] += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("template", ["/s{}", "/s{}/{{x}}", "/{{x}}/s{}", "/a/{{x}}/s{}/{{y}}"])
@pytest.mark.parametrize("path", ["/no", "/no/such", "/a/b/no/d", "/a/b/s0/d/e", "//" * 50])
def test_an_unknown_path_costs_the_same_with_many_sources(
    source_at: Callable[[str], Source], template: str, path: str
) -> None:
    """Two hundred sources of one kind take as many calls as one; some more where garbage is collected."""

    def steps(number: int) -> int:
        sources = table(source_at(template.format(one)) for one in range(number))
        with counting() as calls:
            assert found(sources, path) is None
        return calls[0]

    assert steps(200) < steps(1) + 50
