"""The RPCs of podman's secrets. A value goes to podman and nowhere else."""

from __future__ import annotations

from mcpd.changes import secrets
from mcpd.changes.node import Node
from mcpd.changes.secrets import SecretView
from mcpd.errors import InvalidRequestError
from mcpd.model import Caller
from mcpd.rpc.methods import Method
from protos import grammar
from protos.mcp import v1 as wire
from protos.parts import MAX_SECRET_BYTES


class SecretMethods:
    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def methods(self) -> dict[str, Method]:
        return {"ListSecrets": self.list_secrets, "SetSecret": self.set_secret, "RemoveSecret": self.remove_secret}

    async def list_secrets(self, request: wire.ListSecretsRequest, caller: Caller) -> wire.ListSecretsResponse:
        name = _name(request.name) if request.name else ""
        found = await secrets.views(self._node, name)
        return wire.ListSecretsResponse(node=self._node.name, secrets=[_info(each) for each in found])

    async def set_secret(self, request: wire.SetSecretRequest, caller: Caller) -> wire.SetSecretResponse:
        try:
            name = grammar.settable_secret(request.name)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from None
        # Not kept with the request for as long as the call lasts.
        value, request.value = request.value, b""
        if not value:
            raise InvalidRequestError(f"the value of {name} is empty, which podman does not take")
        if len(value) > MAX_SECRET_BYTES:
            raise InvalidRequestError(
                f"the value of {name} has {len(value)} bytes; podman takes {MAX_SECRET_BYTES} at most"
            )
        replaced, outdated = await secrets.assign(self._node, name, value, must_be_new=request.must_be_new)
        return wire.SetSecretResponse(replaced=replaced, used_by=list(outdated))

    async def remove_secret(self, request: wire.RemoveSecretRequest, caller: Caller) -> wire.RemoveSecretResponse:
        await secrets.remove(self._node, _name(request.name))
        return wire.RemoveSecretResponse()


def _name(text: str) -> str:
    """Raises InvalidRequestError."""
    try:
        return grammar.secret(text)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None


def _info(view: SecretView) -> wire.SecretInfo:
    return wire.SecretInfo(
        name=view.secret.name,
        created_at=view.secret.created_at,
        updated_at=view.secret.set_at,
        driver=view.secret.driver,
        used_by=list(view.used_by),
        outdated=list(view.outdated),
    )
