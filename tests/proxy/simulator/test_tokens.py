from __future__ import annotations

from proxy.simulator import claims_of, encrypted_content, encrypted_owner, unsigned_jwt


def test_encrypted_content_tells_who_made_it() -> None:
    assert encrypted_owner(encrypted_content("acct-A", "1")) == "acct-A"
    assert encrypted_owner("gAAAAAB…garbage") != "acct-A"
    assert encrypted_owner("garbage") is None


def test_claims_are_read_back() -> None:
    assert claims_of(unsigned_jwt({"exp": 5})) == {"exp": 5}
    assert claims_of("sk-none") == {}
