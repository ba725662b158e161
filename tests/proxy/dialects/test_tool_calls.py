from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.tool_calls import ToolCalls

ARGS = "response.function_call_arguments"


def fed(*events: dict[str, Any]) -> ToolCalls:
    calls = ToolCalls()
    for event in events:
        calls.feed(event)
    return calls


def texts(calls: ToolCalls) -> list[str]:
    return [call["function"]["arguments"] for call in calls.whole()]


def genuine(place: int, arguments: list[str], call_id: str = "call_1") -> list[dict[str, Any]]:
    """What upstream sends for one call."""
    item = {"type": "function_call", "id": f"fc_{place}", "call_id": call_id, "name": "get_weather"}
    at = {"output_index": place, "item_id": f"fc_{place}"}
    whole = "".join(arguments)
    return [
        {"type": "response.output_item.added", "output_index": place, "item": item | {"arguments": ""}},
        *({"type": f"{ARGS}.delta", "delta": part} | at for part in arguments),
        {"type": f"{ARGS}.done", "arguments": whole} | at,
        {"type": "response.output_item.done", "output_index": place, "item": item | {"arguments": whole}},
    ]


def test_arguments_that_are_told_three_times_are_kept_once() -> None:
    calls = fed(*genuine(0, ['{"city":', '"Oslo"}']))
    assert calls.whole() == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
        }
    ]


def test_the_fragments_of_a_call_have_its_id_and_name_once() -> None:
    calls = ToolCalls()
    deltas = [fragment.delta() for event in genuine(0, ["{", "}"]) for fragment in calls.feed(event)] + [
        fragment.delta() for fragment in calls.finish()
    ]
    assert deltas == [
        {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": ""},
        },
        {"index": 0, "function": {"arguments": "{"}},
        {"index": 0, "function": {"arguments": "}"}},
    ]


def test_arguments_that_only_the_finished_item_tells_are_kept() -> None:
    added, *_, done = genuine(0, ["{}"])
    assert texts(fed(added, done)) == ["{}"]


def test_a_finished_item_adds_what_is_missing() -> None:
    added, first, _, *rest = genuine(0, ['{"a":', "1}"])
    assert texts(fed(added, first, *rest)) == ['{"a":1}']


def test_a_list_of_calls_is_taken_apart() -> None:
    listed = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": "[]"}},
    ]
    calls = fed({"type": "response.tool_calls.delta", "tool_calls": listed})
    assert [(call["id"], call["function"]["name"]) for call in calls.whole()] == [("a", "f"), ("b", "g")]
    assert texts(calls) == ["{}", "[]"]


def test_calls_are_in_the_order_of_the_indexes_that_upstream_gives() -> None:
    calls = fed(
        {"type": f"{ARGS}.delta", "index": 1, "call_id": "b", "name": "g", "delta": "[]"},
        {"type": f"{ARGS}.delta", "index": 0, "call_id": "a", "name": "f", "delta": "{}"},
    )
    assert [call["id"] for call in calls.whole()] == ["a", "b"]


def test_an_index_of_its_own_makes_a_call_though_the_place_is_another_s() -> None:
    said = [(0, "a", "{"), (1, "b", "["), (0, "a", "}"), (1, "b", "]")]
    calls = fed(
        *(
            {"type": f"{ARGS}.delta", "index": index, "output_index": 0, "call_id": call_id, "delta": text}
            for index, call_id, text in said
        )
    )
    assert [(call["id"], call["function"]["arguments"]) for call in calls.whole()] == [
        ("a", "{}"),
        ("b", "[]"),
    ]


def test_an_index_that_comes_later_is_that_of_the_call_at_its_place() -> None:
    added, *_ = genuine(0, [])
    delta = {"type": f"{ARGS}.delta", "index": 3, "output_index": 0, "delta": "{}"}
    assert texts(fed(added, delta)) == ["{}"]


def test_a_fragment_without_a_name_belongs_to_the_last_call() -> None:
    calls = fed(
        {"type": f"{ARGS}.delta", "name": "f", "delta": "{"},
        {"type": f"{ARGS}.delta", "delta": "}"},
    )
    assert texts(calls) == ["{}"]


def test_a_call_that_upstream_gives_no_id_can_be_answered() -> None:
    assert fed({"type": f"{ARGS}.delta", "name": "f", "delta": "{}"}).whole()[0]["id"] == "call_0"


def test_other_items_are_no_calls() -> None:
    kinds = ("message", "reasoning", "web_search_call", "image_generation_call")
    items = [{"type": kind, "id": "x", "name": "f", "arguments": "{}"} for kind in kinds]
    calls = fed(*({"type": "response.output_item.done", "output_index": 0, "item": item} for item in items))
    assert not calls


def test_a_custom_tool_s_input_is_no_function_s_arguments() -> None:
    item = {"type": "custom_tool_call", "id": "ct_1", "call_id": "c1", "name": "patch"}
    calls = fed(
        {"type": "response.output_item.added", "output_index": 0, "item": item | {"input": ""}},
        {
            "type": "response.custom_tool_call_input.delta",
            "output_index": 0,
            "item_id": "ct_1",
            "delta": "**",
        },
        {"type": "response.output_item.done", "output_index": 0, "item": item | {"input": "***"}},
    )
    assert calls.whole() == [{"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "***"}}]


@given(st.data())
def test_any_interleaving_keeps_each_call_s_arguments(data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.lists(st.text(max_size=4), max_size=4), min_size=1, max_size=4))
    waiting = [genuine(place + 1, part, f"call_{place}") for place, part in enumerate(parts)]
    events: list[dict[str, Any]] = []
    seen: list[int] = []
    while any(waiting):
        place = data.draw(st.sampled_from([place for place, queue in enumerate(waiting) if queue]))
        seen += [place] if place not in seen else []
        events.append(waiting[place].pop(0))
    calls = ToolCalls()
    streamed = dict.fromkeys(range(len(parts)), "")
    for event in events:
        for fragment in calls.feed(event):
            delta = fragment.delta()
            streamed[delta["index"]] += delta["function"]["arguments"]
    expected = ["".join(parts[place]) for place in seen]
    assert texts(calls) == expected
    assert [call["id"] for call in calls.whole()] == [f"call_{place}" for place in seen]
    assert list(streamed.values()) == expected
