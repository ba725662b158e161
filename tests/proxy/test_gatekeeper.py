from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexproxy.locality import Facts
from proxy.access import Access, AccessRules, AccessView, WrongKey
from proxy.errors import AccessDenied, Busy
from proxy.gatekeeper import Gatekeeper
from proxy.keys import KeyView, key_hash, presented_key
from tests.proxy.fakes import NOW, Clock
from tests.proxy.test_access import networks

KEY = "sk-cp-good"
WRONG = {"authorization": "Bearer sk-cp-wrong"}
RIGHT = {"x-api-key": KEY}
STRANGER = Facts("203.0.113.9", "proxy.lan")


def gatekeeper(*listed: str) -> tuple[Gatekeeper, Clock]:
    clock = Clock()
    keeper = Gatekeeper(AccessRules(), clock)
    keeper.take(AccessView(networks(*listed), keys={key_hash(KEY): KeyView(7)}))
    return keeper, clock


def test_it_works() -> None:
    keeper, _ = gatekeeper()
    assert keeper.admit(STRANGER, RIGHT, "/v1/models").key_id == 7
    assert keeper.admit(Facts("127.0.0.1", "localhost"), {}, "/v1/models") == Access()


def test_the_ninth_wrong_key_within_a_minute_has_to_wait() -> None:
    keeper, clock = gatekeeper()
    for _ in range(8):
        with pytest.raises(WrongKey):
            keeper.admit(STRANGER, WRONG, "/v1/models")
        clock.now += 5
    with pytest.raises(Busy) as caught:
        keeper.admit(STRANGER, WRONG, "/v1/models")
    assert (caught.value.status, caught.value.headers) == (429, ((b"retry-after", b"20"),))
    clock.now += 20
    with pytest.raises(WrongKey):
        keeper.admit(STRANGER, WRONG, "/v1/models")


def test_who_has_a_right_key_does_not_wait_for_others_at_the_same_address() -> None:
    keeper, _ = gatekeeper()
    for _ in range(9):
        with pytest.raises(AccessDenied if _ < 8 else Busy):
            keeper.admit(STRANGER, WRONG, "/v1/models")
    assert keeper.admit(STRANGER, RIGHT, "/v1/models").key_id == 7


def test_a_missing_key_is_no_wrong_one() -> None:
    keeper, _ = gatekeeper()
    for _ in range(20):
        with pytest.raises(AccessDenied):
            keeper.admit(STRANGER, {}, "/v1/models")


def test_whom_the_firewall_refused_is_told_once() -> None:
    keeper, _ = gatekeeper("198.51.100.10")
    for path in ("/v1/models", "/v1/responses"):
        with pytest.raises(AccessDenied):
            keeper.admit(STRANGER, RIGHT, path)
    with pytest.raises(AccessDenied):
        keeper.check_address(Facts(None), "/v1/usage")
    refused = keeper.take_refused()
    assert sorted(refused) == ["203.0.113.9", "unknown"]
    assert (refused["203.0.113.9"].count, refused["203.0.113.9"].path) == (2, "/v1/responses")
    assert refused["203.0.113.9"].last_at == NOW
    assert keeper.take_refused() == {}


header_text = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=60)
credentials = st.one_of(
    header_text,
    header_text.map(lambda text: f"Bearer {text}"),
    header_text.map(lambda text: f"Bearer sk-cp-{text}"),
    st.sampled_from(
        ["Bearer", "Bearer ", f"Bearer {KEY}x", f"bearer {KEY}", f"Basic {KEY}", f"Bearer {KEY},{KEY}"]
    ),
)
facts = st.builds(
    Facts,
    peer=st.one_of(st.none(), header_text, st.ip_addresses().map(str)),
    host=header_text,
    forwarded=st.booleans(),
    forwarded_for=st.lists(st.one_of(header_text, st.ip_addresses().map(str)), max_size=4).map(tuple),
    origin=st.one_of(st.none(), header_text),
    sec_fetch_site=st.one_of(st.none(), header_text),
)


@given(
    facts=facts, authorization=credentials, api_key=header_text, required=st.booleans(), listed=st.booleans()
)
def test_whatever_comes_is_let_in_or_refused(
    facts: Facts, authorization: str, api_key: str, required: bool, listed: bool
) -> None:
    keeper, _ = gatekeeper()
    firewall = networks("198.51.100.10") if listed else ()
    keeper.take(AccessView(firewall, required, keys={key_hash(KEY): KeyView(7)}))
    headers = {"authorization": authorization, "x-api-key": api_key}
    try:
        access = keeper.admit(facts, headers, "/v1/models")
    except (AccessDenied, Busy) as refused:
        assert refused.status in (401, 403, 429)
        assert KEY not in str(refused.error())
        return
    assert access.key_id in ((7,) if required else (7, None))
    assert access.key_id is None or KEY in (presented_key(headers),)
