"""Codex's files: made and finished with one account, which later requests with the file go to."""

from __future__ import annotations

from proxy.affinity import file_key
from proxy.call import Call, canonical, whole_body
from proxy.dialects.files import check_file_request, checked_file_id, named_file
from proxy.errors import BadRequest
from proxy.forwarding import Forward, forward_call
from proxy.sinks import Ending, PassedOn
from proxy.turns import file_owner


class NewFile(PassedOn):
    """Answers when every process knows whose the file is: its next request may reach another one."""

    def __init__(self, call: Call) -> None:
        super().__init__(call.answer)
        self._call = call

    async def end(self, ending: Ending) -> None:
        file_id = named_file(self.body)
        if file_id is not None:
            running, account_id = self._call.runtime, self._call.record.account_id
            services = running.services
            services.affinity.served(file_key(file_id), account_id, services.clock(), moves=True)
            await running.share()
        await super().end(ending)


async def create_file(call: Call) -> None:
    """POST /backend-api/files: where to upload to. The client sends the bytes there by itself."""
    body = await whole_body(call)
    check_file_request(body)
    await forward_call(call, Forward("POST", "/files", body, holds="file_id"), NewFile(call))


async def finish_file(call: Call) -> None:
    """POST /backend-api/files/{file_id}/uploaded: asked until upstream has the file."""
    file_id = checked_file_id(canonical(call.scope["path"]).split("/")[-2])
    body = await whole_body(call)
    if body[:1] not in (b"", b"{"):
        raise BadRequest("The request body must be a JSON object.")
    owner = await file_owner(call, (file_id,))
    forward = Forward("POST", f"/files/{file_id}/uploaded", body)
    await forward_call(call, forward, PassedOn(call.answer), owner=owner)
