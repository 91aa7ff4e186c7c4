"""Expressions: what they see, what is refused when they compile, and what no sender can do to them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import cel
import pytest

from relay.errors import ExpressionError
from relay.expressions import View, compile_program, compile_template, to_json
from relay.expressions.parse import form_value, json_value
from relay.model import Headers

BODY = {
    "action": "opened",
    "a": {"b": 2, "n": None, "l": [1, 2, {"z": 3}], "with-dash": True},
    "text": "héllo",
    "list": [3, 1, 2],
}
HEADERS = ((b"content-type", b"application/json"), (b"x-twice", b"first"), (b"x-twice", b"second"))
FORM = ((b"content-type", b"Application/X-WWW-Form-URLencoded; charset=utf-8"),)


def view(
    body: object = BODY, *, headers: Headers = HEADERS, query: bytes = b"", parse_limit: int = 1 << 20
) -> View:
    """Make the view of one GitHub event."""
    made = View(
        source="github",
        event_id="evt_1",
        received_at=1_700_000_000.5,
        method="POST",
        query=query,
        headers=headers,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        placeholders={"site": "berlin"},
        parse_limit=parse_limit,
    )
    made.type = "pull_request.opened"
    made.provider_id = "72d3162e"
    return made


def value(text: str, seen: View | None = None) -> Any:
    """Compile and evaluate."""
    return compile_program(text).evaluate(seen or view())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('event.type == "pull_request.opened"', True),
        ('event["provider_id"]', "72d3162e"),
        ("event.received_at", "2023-11-14T22:13:20.500000Z"),
        ('event.received_at > timestamp("2023-01-01T00:00:00Z")', True),
        ('event.received_at - duration("1h") < timestamp("2023-11-14T21:30:00Z")', True),
        ('event.received_at - timestamp("2023-11-14T22:13:00Z") == duration("20.5s")', True),
        ("event.received_at.getHours()", 22),
        ('string(event.received_at).startsWith("2023-11-14T")', True),
        ("type(event.received_at) == type(timestamp('2023-01-01T00:00:00Z'))", True),
        ('get(event, "received_at") == event.received_at', True),
        ('event.source + " at " + string(event.received_at)', "github at 2023-11-14T22:13:20.500+00:00"),
        ("event.source + event.id", "githubevt_1"),
        ('headers["x-twice"]', "first"),
        ('"x-none" in headers', False),
        ("path.site", "berlin"),
        ("method", "POST"),
        ("body.a.l[2].z", 3),
        ('body.a["with-dash"]', True),
        ("has(body.a.b) && !has(body.a.q)", True),
        ("body.a.n == null", True),
        ('body != null && body.action == "opened"', True),
        ('"action" in body && "b" in body.a && !("q" in body.a)', True),
        ("1 in body.list", True),
        ("body.list.exists(x, x > 2)", True),
        ("body.list.filter(x, x > 1).map(x, x * 2)", [6, 4]),
        ("size(body) > 3 ? body.action : body.text", "opened"),
        ("type(body.a.b) == int", True),
        ("raw.startsWith('{')", True),
        ("r'\\d}}' // body.nothing", "\\d}}"),
    ],
)
def test_an_expression_sees_the_event(text: str, expected: object) -> None:
    """Each name stands for what the design says, whichever way it is written."""
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('get(body, "a.b", 0)', 2),
        ('get(body, "a.q", 7)', 7),
        ('get(body, "a.b.c")', None),
        ('body.get("a.l.2.z", 0)', 3),
        ('get(body, "a." + "b", 0)', 2),
        ('get(body.a, "l.99999999999999", "none")', "none"),
        ('get(headers, "x-none", "")', ""),
        ('get(event, "type", "")', "pull_request.opened"),
        ('lower("ÄB") + upper("c")', "äbC"),
        ('"a,b".split(",")', ["a", "b"]),
        ('split("ab", "")', ["a", "b"]),
        ('replace("a-b-c", "-", "")', "abc"),
        ('sha256("abc")', "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ('sha256(b"abc")', "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ],
)
def test_the_functions_beyond_cel(text: str, expected: object) -> None:
    """The functions get lower upper split replace sha256 work, called either way."""
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("boddy.action", 0, "did you mean 'body'?"),
        ("true && zzz", 8, "there are body, event, headers"),
        ("event.typ == 'x'", 6, "did you mean 'type'?"),
        ('event["kind"]', 6, "event has no field 'kind'"),
        ('event.type.startWith("x")', 11, "did you mean 'startsWith'?"),
        ("lenght(body)", 0, "unknown function 'lenght'"),
        ('matches("a", "b")', 0, "written value.matches(…)"),
        ('"1".int()', 4, "written int(value)"),
        ("lower()", 0, "lower takes 1 arguments here, and has 0"),
        ('body.a.get("b", 1, 2)', 7, "get takes 1 or 2"),
        ("body.list.map(x)", 10, "map takes 2 or 3"),
        ('headers["X-GitHub-Event"] == "x"', 8, "did you mean 'x-github-event'?"),
        ('"X-Foo" in headers', 0, "did you mean 'x-foo'?"),
        ('get(headers, "X-Foo", "")', 13, "did you mean 'x-foo'?"),
        ("headers.Host", 8, "did you mean 'host'?"),
        ("path.sit", 5, "did you mean 'site'?"),
        ("body.list.exists(x, body.list.all(y, y == x))", 30, "a macro inside a macro"),
        ("[1].exists(body, body == 1)", 11, "is a name of Relay's"),
        ("[1].exists(x, x == 1) && x == 1", 25, "unknown name 'x'"),
        ('"a".matches("(")', 12, "regular expression"),
        ("Foo{a: 1}", 0, "unknown type 'Foo'"),
        (".body.a", 0, "did you mean 'body'?"),
        ("1 +", 3, "ends too soon"),
        ("  ", 0, "empty"),
        ("true &&\n  (false ||| true)", 19, "CEL writes ||"),
        ("true ~ false", 5, "token"),
        ("body.a = 1", 7, "CEL compares with =="),
        ("body.a === 1", 7, "CEL compares with =="),
        ("body.a <> 1", 7, "CEL writes != for"),
        ("body.n => 1", 7, "CEL writes >= for"),
        ("body.and == 1 and true", 14, "CEL writes && for and"),
        ("body.a OR body.b", 7, "CEL writes || for or"),
        ("not body.a", 0, "CEL writes ! for not"),
        ("body.a & body.b", 7, "CEL writes && for and"),
        ("body.a is null", 7, "CEL compares with =="),
        ("{{ body.a }}", 0, "without {{ }}"),
        ("body.a == None", 10, "did you mean 'null'?"),
        ("body.a == True", 10, "did you mean 'true'?"),
        ("body.a ? 1", 0, "? needs both its values"),
        ("(" * 500 + "1" + ")" * 500, 96, "nested too deeply"),
        ("1" * 9_000, 8_192, "at most"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(text: str, offset: int, message: str) -> None:
    """A mistake is found when the file loads, with its place and, where there is one, the nearest name."""
    with pytest.raises(ExpressionError) as refused:
        compile_program(text, placeholders={"site"})
    assert message in str(refused.value)
    assert refused.value.offset == offset


@pytest.mark.parametrize(
    "text",
    [
        '"body.typ headers" == "x"',
        "r'\\' == 'event.nothing'",
        '"""a "quoted" foo()""" == ""',
        "true // foo.bar(",
        "body.body.event.headers == 1",
        "[{'k': 1}].exists(e, e.k == 1) && [2].all(e, e > 1)",
        "path[method] == headers[method]",
        "[int, string].exists(t, t == type(body))",
    ],
)
def test_what_only_looks_like_a_mistake_compiles(text: str) -> None:
    """Strings, comments, fields and bound names are not taken for names of their own."""
    compile_program(text, placeholders=())


@pytest.mark.parametrize("body", [BODY, {}, {"a": 5, "list": {"0": 1}}, {"a": [1]}, [1, 2], "text", 7, None])
@pytest.mark.parametrize(
    "text",
    [
        "body",
        "body.a",
        "body.a.b",
        "body.a.l[1]",
        "body.a.l[7]",
        "body.list[0] == 3 && size(body.list) == 3",
        'body["a"].b == body.a["b"]',
        "has(body.a)",
        "has(body.a.b) && has(body.a.l)",
        "body == null",
        "body.a == null || body.a.b == 2",
        "body.a != null ? size(body.a) : 0",
        '"a" in body',
        '"b" in body.a',
        '"x" in body.a.l',
        "size(body.list)",
        "body.list.map(x, x + 1)",
        "(body).a.b",
        "!body == null",
        '"action" in body ? body.action : "none"',
        "body[body.action]",
        "body.list + [1] == null",
        "body.a == null == (body.a != null)",
        '"b" in body["" + "a"]',
        '"x" in body.list + ["x"]',
        '"" + "a" in body',
        'body["" + "a"].b + body.a.b',
    ],
)
def test_the_parts_that_are_handed_over_make_no_difference(text: str, body: object) -> None:
    """An expression gives on the named parts of a body what it gives on the whole."""
    try:
        expected = cel.evaluate(text, {"body": body})
    except Exception:  # noqa: BLE001 - whatever it is, it must be one of ours then
        with pytest.raises(ExpressionError):
            value(text, view(body))
    else:
        assert value(text, view(body)) == expected


def test_only_the_named_parts_of_a_body_are_handed_over() -> None:
    """A body too large to be handed over whole is no trouble to a program that names parts of it."""
    seen = view({"kind": "x", "first": [[1], [2]], "pad": [{"k": n} for n in range(50_000)]})
    assert value('body != null && has(body.pad) && body.kind == "x" && body.first[1][0] == 2', seen) is True
    with pytest.raises(ExpressionError, match="too large"):
        value("size(body)", seen)


def test_nothing_is_parsed_before_it_is_asked_for() -> None:
    """A program without `body` leaves the body alone."""
    seen = view(b"not json")
    assert value('event.type != "x" && method == "POST"', seen) is True
    assert seen.parse_error is None
    assert seen.parsed is None
    assert seen.parse_error == "invalid"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("body.a.c", "missing: body.a.c"),
        ("body.q.r.s", "missing: body.q"),
        ("!has(body.q) && body.a.r == 1", "missing: body.a.r"),
        ('headers["x-none"]', 'missing: headers["x-none"]'),
        ("headers[event.id]", "missing: 'evt_1'"),
        ("body.a.l[9]", "index out of bounds: 9"),
        ('"n" + body.a.b', "string + int (body.a.b is an integer)"),
        ("string(body.a.n)", "wrong type (body.a.n is null)"),
        ("body.text > 1", "wrong type (body.text is a text)"),
        ("lower(body.a.b)", "lower() takes text, not an integer"),
        ("get(body, body.a.b)", "get() takes its path as text"),
        ("split(body.text, body.a.n)", "split() takes text, not null"),
        ("replace(body.text, 1, 2)", "replace() takes text"),
        ("upper(null)", "upper() takes text"),
        ("sha256(body.list)", "sha256() takes text, not a list"),
        ("1 / 0", "division by zero"),
        ("1.0 / 0.0", "the result is inf"),
        ("int(body.text)", "invalid digit"),
    ],
)
def test_a_failure_says_what_was_missing_or_of_the_wrong_type(text: str, message: str) -> None:
    """The message tells an operator what to look for in the event."""
    with pytest.raises(ExpressionError) as failed:
        value(text)
    assert message in str(failed.value)


def test_a_failure_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The package prints what a Python function raises; so ours must not raise."""
    with pytest.raises(ExpressionError):
        value("lower(body.a)")
    assert capfd.readouterr() == ("", "")


def test_a_message_holds_no_control_characters_of_a_senders() -> None:
    """What a sender wrote cannot start a line or colour a terminal."""
    with pytest.raises(ExpressionError) as failed:
        value("headers[body.k]", view({"k": "\x1b[31m\nfake line" + "x" * 9_000}))
    assert str(failed.value).isprintable()
    assert len(str(failed.value)) < 400


MIB = 1 << 20
HOSTILE = {
    "100,000 opening brackets": (b"[" * 100_000, "too_deep"),
    "7,000 deep": (b"[" * 7_000 + b"]" * 7_000, "too_deep"),
    "7,000 maps deep": (b'{"a":' * 7_000 + b"1" + b"}" * 7_000, "too_deep"),
    "201 deep": (b"[" * 201 + b"]" * 201, "too_deep"),
    "200 deep": (b"[" * 200 + b"]" * 200, None),
    "brackets in a string": (b'"' + b'[\\"' * 5_000 + b'"', None),
    "an open string of quotes": (b"[" * 300 + b'"' + b'\\"' * (MIB // 2 - 400), "too_deep"),
    "an open string at a backslash": (b'{"a": "' + b"[" * 300 + b"\\", "invalid"),
    "closed before it is opened": (b"]" * 300 + b"[" * 300, "invalid"),
    "a 5,000-digit number": (b'{"n": ' + b"9" * 5_000 + b"}", None),
    "bad UTF-8": (b'{"a": "\xff"}', "invalid"),
    "an encoded surrogate": (b'{"a": "\xed\xa0\x80"}', "invalid"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "invalid"),
    "lone surrogates": (b'{"\\ud800": ["\\uDfff", "\\ud83d\\ude00"]}', None),
    "not a number": (b'{"a": NaN}', "invalid"),
    "minus infinity": (b"[-Infinity]", "invalid"),
    "a number past every float": (b"[1e999]", None),
    "nothing": (b"", None),
    "NUL": (b"\x00" * 1_000, "invalid"),
    "half a million numbers": (b"[" + b"0," * (MIB // 2 - 2) + b"0]", None),
    "one byte too many": (b" " * (MIB + 1), "too_large"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_a_value_or_null(name: str) -> None:
    """No body makes parsing raise; where `body` is null, `parse_error` says why."""
    body, error = HOSTILE[name]
    seen = view(body)
    assert (seen.parsed is None) == (error is not None or not body)
    assert seen.parse_error == error


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("text", ["body", "body.a == 1", "raw", "body != null", 'get(body, "n.a", 1)'])
def test_a_hostile_body_gives_a_value_or_an_expression_error(name: str, text: str) -> None:
    """Whatever is posted, a program gives a value that UTF-8 can hold or raises our own error."""
    try:
        result = value(text, view(HOSTILE[name][0]))
    except ExpressionError:
        return
    assert to_json(result).encode()


def test_what_cel_cannot_hold_is_converted() -> None:
    """Integers past 64 bits come as text, lone surrogates as U+FFFD."""
    digits = "9" * 5_000
    big = f'{{"a": {digits}, "b": 9223372036854775808, "c": 9223372036854775807, "d": -1{"0" * 19}}}'
    assert value("[body.a, body.b, body.c, body.d]", view(big.encode())) == [
        digits,
        "9223372036854775808",
        9223372036854775807,
        "-10000000000000000000",
    ]
    assert value("body", view(b'{"\\udc00": "\\ud800x"}')) == {"\ufffd": "\ufffdx"}
    seen = view()
    seen.type = "a\ud800"
    assert value("event.type", seen) == "a\ufffd"
    assert value('headers["x"]', view(headers=((b"x", b"\xff"),))) == "\ufffd"


def test_a_form_is_a_map_of_first_values() -> None:
    """A form body is seen by the first of repeated names; blank values stay."""
    seen = view(b"a=1&a=2&b=%C3%A9+x&c&d=%ff", headers=FORM)
    assert value("body", seen) == {"a": "1", "b": "é x", "c": "", "d": "\ufffd"}
    crowded = view(b"a&" * 20_000, headers=FORM)
    assert (crowded.parsed, crowded.parse_error) == (None, "invalid")


def test_a_query_is_a_map_of_first_values() -> None:
    """A query is seen by the first of repeated names, and one of too many is an error of the expression."""
    assert value("query.a + query.b", view(query=b"a=1&a=2&b=")) == "1"
    with pytest.raises(ExpressionError, match="too many fields"):
        value("query.a", view(query=b"a&" * 20_000))


def test_raw_above_the_limit_is_refused() -> None:
    """A text too large to be parsed is not handed to CEL as text either."""
    with pytest.raises(ExpressionError, match="raw"):
        value('raw == "x"', view(b"x" * 2_000, parse_limit=1_000))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("body.list.exists(x, x == -1)", 100_000),
        ("body.list.map(x, x)", 2_000),
        ("body.list.filter(x, x > -1)", 2_000),
        ("body.list.exists(x, x in body.list.get('q', []))", 2_000),
        ("body.list.map(x, body.list)", 400),
        ('split(replace(raw, " ", ""), ",").filter(x, x != "")', 2_000),
        ('split(raw, ",")', 2_000),
    ],
)
def test_work_that_grows_with_what_is_posted_is_bounded(text: str, count: int) -> None:
    """CEL stops for nothing, so a list too long for what a macro does with it is refused beforehand."""
    assert value(text, view({"list": [1, 2]})) is not None
    with pytest.raises(ExpressionError, match=r"too large|too long|more than"):
        value(text, view({"list": list(range(count))}))


def test_a_macro_leaves_functions_less_room() -> None:
    """What functions make inside a program with a macro may be copied at every step, so it is bounded."""
    seen = view({"t": "a" * 10_000, "short": "a,b", "list": [0] * 20})
    text = 'replace(body.t, "a", "1234567890") != ""'
    assert value(text, seen) is True
    with pytest.raises(ExpressionError, match="too long"):
        value(text + " && [1].map(x, x) == [1]", seen)
    assert value("body.list.map(x, body.list)", seen)
    with pytest.raises(ExpressionError, match="too large for a macro"):
        value('split(body.short, ",").map(x, body.list)', seen)


def test_json_at_the_end_of_the_stack_is_no_exception() -> None:
    """Where little of Python's stack is left, a body that is not too deep may be null, and no more."""
    seen = view(b"[" * 200 + b"]" * 200)

    def descend(frames: int) -> None:
        if frames:
            descend(frames - 1)
        else:
            assert seen.parsed is None or seen.parse_error is None

    descend(sys.getrecursionlimit() - len(inspect.stack(0)) - 60)


def test_replace_cannot_fill_the_memory() -> None:
    """A megabyte in which every letter becomes a megabyte is refused before it is made."""
    with pytest.raises(ExpressionError, match="too long"):
        value('replace(body, "a", body)', view("a" * 1_000_000))


def test_maps_come_in_the_order_of_their_keys() -> None:
    """CEL gives maps in an order that changes; what is written must not."""
    text = '{"z": 1, "b": {"y": 1, "x": 2}, "a": 3}'
    assert {to_json(value(text)) for _ in range(20)} == {'{"a":3,"b":{"x":2,"y":1},"z":1}'}
    assert list(value('{2: "i", true: "b", "s": 0}')) == ["2", "s", "true"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('timestamp("2020-01-01T00:00:00Z")', "2020-01-01T00:00:00Z"),
        ('duration("90s")', "90s"),
        ('duration("1500ms")', "1.5s"),
        ('b"ab"', "YWI="),
        ("[1u, 2.5, null]", [1, 2.5, None]),
    ],
)
def test_results_are_what_json_has(text: str, expected: object) -> None:
    """Times, durations and bytes come in the JSON form of CEL's specification."""
    assert value(text) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ body.a.b }}", 2),
        ("{{body.a.n}}", None),
        ("{{ body.list }}", [3, 1, 2]),
        ("n: {{ body.a.n }}.", "n: ."),
        ("{{ body.a.b }} {{ true }} {{ 1.5 }} {{ body.list }}", "2 true 1.5 [3,1,2]"),
        ('{{ {"a": {"b": "}}"}}.a.b }}', "}}"),
        ("{{ '{{' }} and }}", "{{ and }}"),
        ("", ""),
        ("plain", "plain"),
        (
            {"{{ method }}": ["{{ body.action }}", {"n": 1, "t": True, "f": 1.5, "z": None}]},
            {"POST": ["opened", {"n": 1, "t": True, "f": 1.5, "z": None}]},
        ),
    ],
)
def test_templates_fill_their_holes(template: object, expected: object) -> None:
    """A lone hole keeps its type, null is empty inside text, structures are filled through and through."""
    assert compile_template(template).render(view()) == expected


def test_templates_as_text() -> None:
    """As text, a lone hole is written as JSON would, null as nothing."""
    seen = view()
    assert compile_template("{{ body.a.b == 2 }}").text(seen) == "true"
    assert compile_template("{{ body.a.n }}").text(seen) == ""
    assert compile_template({"k": "{{ body.text }}"}).text(seen) == '{"k":"héllo"}'


@pytest.mark.parametrize(
    ("template", "offset"),
    [
        ("Opened: {{ boddy.title }}", 11),
        ("{{ raw }} and {{ event.typ }}", 23),
        ("x {{ 'abc }}", 5),
        ("x {{ raw", 2),
        ("x {{ }}", 5),
        ({"k": ["ok", "-{{path.x}}"]}, 8),
    ],
)
def test_a_mistake_in_a_hole_has_its_place_in_the_text(template: object, offset: int) -> None:
    """The offset counts from the start of the text that has the hole."""
    with pytest.raises(ExpressionError) as refused:
        compile_template(template, placeholders=())
    assert refused.value.offset == offset


@pytest.mark.parametrize("template", [float("nan"), object()])
def test_a_template_holds_only_what_json_has(template: object) -> None:
    """A value that JSON does not have is refused when the file loads."""
    with pytest.raises(ExpressionError, match="JSON has"):
        compile_template(template)


def parses(work: Callable[[], object]) -> int:
    """How often a body was parsed while `work` was done."""
    count = 0

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code in {json_value.__code__, form_value.__code__}

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_a_body_is_parsed_once_however_many_ask() -> None:
    """Routes, keys and holes share one parse of an event."""
    seen = view()
    programs = [compile_program("body.action"), compile_program("has(body.a)")]
    template = compile_template({"x": "{{ body.text }}", "y": "{{ body.list }}"})

    def work() -> None:
        for program in programs:
            program.evaluate(seen)
        template.render(seen)

    assert parses(work) == 1


def test_a_body_is_not_parsed_where_nothing_needs_it() -> None:
    """What looks at headers, type, path and raw bytes costs no parse."""
    seen = view()
    text = 'event.type != "" && headers["x-twice"] == "first" && path.site == "berlin" && raw != ""'
    assert parses(lambda: compile_program(text).evaluate(seen)) == 0


def test_the_inputs_of_a_program_are_what_it_names() -> None:
    """`explain` shows the values that decided; a missing one is None."""
    program = compile_program('body.a.b == 1 && body.gone == 2 && "x-none" in headers')
    assert dict(program.inputs(view())) == {"body.a.b": 2, "body.gone": None, 'headers["x-none"]': None}


def test_the_time_of_receipt_is_text_to_people_and_receivers() -> None:
    """ISO 8601, in text, in JSON and among the inputs; compared with a number, it says what it is."""
    at = "2023-11-14T22:13:20.500000Z"
    template = {"text": "at {{ event.received_at }}", "alone": "{{ event.received_at }}"}
    assert compile_template(template).render(view()) == {"text": f"at {at}", "alone": at}
    assert compile_program("event.received_at == body").inputs(view())[0] == ("event.received_at", at)
    whole = dict(compile_program("event == body").inputs(view()))["event"]
    assert isinstance(whole, dict)
    assert whole["received_at"] == at
    with pytest.raises(ExpressionError, match=r"event\.received_at is a timestamp"):
        value("event.received_at > 1700000000")


def test_the_library_comes_without_its_command_line() -> None:
    """A terminal's toolkit in every process would cost 0.4 s and 27 MB."""
    loaded = "'prompt_toolkit' in sys.modules or 'cel.cli' in sys.modules"
    program = f"import sys, relay.expressions; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
