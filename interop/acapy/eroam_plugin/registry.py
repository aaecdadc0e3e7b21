"""Resolves and registers AnonCreds objects over HTTP, at what `eroam registry serve` serves.

Schemas, credential definitions and registry definitions never change once published: they are cached. Status lists and
whatever was not found are asked for each time.
"""

import asyncio
import os
import re
from collections import OrderedDict
from typing import Any, Optional, Pattern, Sequence

import aiohttp
from acapy_agent.anoncreds.base import (
    AnonCredsObjectNotFound,
    AnonCredsRegistrationError,
    AnonCredsResolutionError,
    BaseAnonCredsRegistrar,
    BaseAnonCredsResolver,
)
from acapy_agent.anoncreds.models.credential_definition import (
    CredDef,
    CredDefResult,
    CredDefState,
    GetCredDefResult,
)
from acapy_agent.anoncreds.models.revocation import (
    GetRevListResult,
    GetRevRegDefResult,
    RevList,
    RevListResult,
    RevListState,
    RevRegDef,
    RevRegDefResult,
    RevRegDefState,
)
from acapy_agent.anoncreds.models.schema import (
    AnonCredsSchema,
    GetSchemaResult,
    SchemaResult,
    SchemaState,
)
from acapy_agent.anoncreds.models.schema_info import AnonCredsSchemaInfo
from acapy_agent.config.injection_context import InjectionContext
from acapy_agent.core.error import BaseError
from acapy_agent.core.profile import Profile

URL_VARIABLE = "EROAM_REGISTRY_URL"
SECRET_VARIABLE = "EROAM_REGISTRY_SECRET"
URL_DEFAULT = "http://127.0.0.1:8080"
# Something is published when its block is final.
TIMEOUT_SECONDS = 60
CACHED_OBJECTS_MAX = 1024
IDENTIFIERS = re.compile(r"^did:eroam:[0-9a-f]{16}:[0-9a-f]{32}(/anoncreds/v1/[^\s#?]+)?$")


class EroamRegistry(BaseAnonCredsResolver, BaseAnonCredsRegistrar):
    """The registry of one eroam network."""

    def __init__(self, url: str, secret: Optional[str] = None):
        """Take the address of the registry, and the secret if this agent publishes."""
        self._url = url.rstrip("/")
        self._secret = secret
        self._session: Optional[aiohttp.ClientSession] = None
        self._objects: OrderedDict[str, dict] = OrderedDict()

    @classmethod
    def from_environment(cls) -> "EroamRegistry":
        """Read address and secret from the environment."""
        return cls(os.environ.get(URL_VARIABLE, URL_DEFAULT), os.environ.get(SECRET_VARIABLE))

    @property
    def supported_identifiers_regex(self) -> Pattern:
        """Which identifiers are of this method."""
        return IDENTIFIERS

    async def setup(self, context: InjectionContext) -> None:
        """Nothing: the session begins with the first request."""

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session

    async def _send(
        self, failure: type[BaseError], method: str, path: str, **request: Any
    ) -> tuple[int, Any]:
        """Give status and JSON of an answer; raise `failure` if there is none."""
        try:
            async with self._client().request(
                method, self._url + path, allow_redirects=False, **request
            ) as response:
                return response.status, await response.json()
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise failure(f"no answer from the registry at {self._url}: {reason}") from error

    async def _get(self, path: str, **query: str) -> dict:
        status, answer = await self._send(AnonCredsResolutionError, "GET", path, params=query)
        if status == 200:
            return answer
        reason = f"{query.get('id')}: {_reason(answer)}"
        if status in (400, 404):
            raise AnonCredsObjectNotFound(reason, {"error": "notFound", "message": reason})
        raise AnonCredsResolutionError(f"{reason} (status {status})")

    async def _object(self, object_id: str) -> dict:
        known = self._objects.get(object_id)
        if known is None:
            known = await self._get("/registry/v1/object", id=object_id)
            self._objects[object_id] = known
            if len(self._objects) > CACHED_OBJECTS_MAX:
                self._objects.popitem(last=False)
        return known

    async def _publish(self, kind: str, value: dict) -> tuple[str, dict]:
        """Give the id and the value as published."""
        if not self._secret:
            raise AnonCredsRegistrationError(f"to publish, set {SECRET_VARIABLE}")
        status, answer = await self._send(
            AnonCredsRegistrationError,
            "POST",
            "/registry/v1/publish",
            json={"kind": kind, "value": value},
            headers={"Authorization": f"Bearer {self._secret}"},
        )
        if status != 200:
            raise AnonCredsRegistrationError(f"{kind}: {_reason(answer)} (status {status})")
        return answer["id"], answer["value"]

    async def get_schema(self, profile: Profile, schema_id: str) -> GetSchemaResult:
        """Get a schema."""
        schema = AnonCredsSchema.deserialize(await self._object(schema_id))
        return GetSchemaResult(
            schema=schema, schema_id=schema_id, resolution_metadata={}, schema_metadata={}
        )

    async def get_schema_info_by_id(
        self, profile: Profile, schema_id: str
    ) -> AnonCredsSchemaInfo:
        """Get who made a schema, its name and its version."""
        schema = AnonCredsSchema.deserialize(await self._object(schema_id))
        return AnonCredsSchemaInfo(schema.issuer_id, schema.name, schema.version)

    async def get_credential_definition(
        self, profile: Profile, credential_definition_id: str
    ) -> GetCredDefResult:
        """Get a credential definition."""
        value = await self._object(credential_definition_id)
        return GetCredDefResult(
            credential_definition_id=credential_definition_id,
            credential_definition=CredDef.deserialize(value),
            resolution_metadata={},
            credential_definition_metadata={},
        )

    async def get_revocation_registry_definition(
        self, profile: Profile, revocation_registry_id: str
    ) -> GetRevRegDefResult:
        """Get the definition of a revocation registry."""
        value = await self._object(revocation_registry_id)
        return GetRevRegDefResult(
            revocation_registry=RevRegDef.deserialize(value),
            revocation_registry_id=revocation_registry_id,
            resolution_metadata={},
            revocation_registry_metadata={},
        )

    async def get_revocation_list(
        self,
        profile: Profile,
        revocation_registry_id: str,
        timestamp_from: Optional[int] = 0,
        timestamp_to: Optional[int] = None,
    ) -> GetRevListResult:
        """Get the newest status list, or the one that held at `timestamp_to`."""
        query = {} if timestamp_to is None else {"at": str(int(timestamp_to))}
        value = await self._get("/registry/v1/status-list", id=revocation_registry_id, **query)
        return GetRevListResult(
            revocation_list=RevList.deserialize(value),
            resolution_metadata={},
            revocation_registry_metadata={},
        )

    async def register_schema(
        self, profile: Profile, schema: AnonCredsSchema, options: Optional[dict] = None
    ) -> SchemaResult:
        """Publish a schema."""
        schema_id, _ = await self._publish("schema", schema.serialize())
        state = SchemaState(
            state=SchemaState.STATE_FINISHED, schema_id=schema_id, schema=schema
        )
        return SchemaResult(
            job_id=None, schema_state=state, registration_metadata={}, schema_metadata={}
        )

    async def register_credential_definition(
        self,
        profile: Profile,
        schema: GetSchemaResult,
        credential_definition: CredDef,
        options: Optional[dict] = None,
    ) -> CredDefResult:
        """Publish a credential definition."""
        definition_id, _ = await self._publish(
            "credential-definition", credential_definition.serialize()
        )
        state = CredDefState(
            state=CredDefState.STATE_FINISHED,
            credential_definition_id=definition_id,
            credential_definition=credential_definition,
        )
        return CredDefResult(
            job_id=None,
            credential_definition_state=state,
            registration_metadata={},
            credential_definition_metadata={},
        )

    async def register_revocation_registry_definition(
        self,
        profile: Profile,
        revocation_registry_definition: RevRegDef,
        options: Optional[dict] = None,
    ) -> RevRegDefResult:
        """Publish the definition of a revocation registry."""
        registry_id, _ = await self._publish(
            "revocation-registry", revocation_registry_definition.serialize()
        )
        state = RevRegDefState(
            state=RevRegDefState.STATE_FINISHED,
            revocation_registry_definition_id=registry_id,
            revocation_registry_definition=revocation_registry_definition,
        )
        return RevRegDefResult(
            job_id=None,
            revocation_registry_definition_state=state,
            registration_metadata={},
            revocation_registry_definition_metadata={},
        )

    async def register_revocation_list(
        self,
        profile: Profile,
        rev_reg_def: RevRegDef,
        rev_list: RevList,
        options: Optional[dict] = None,
    ) -> RevListResult:
        """Publish the first status list of a registry."""
        return await self._publish_list(rev_list)

    async def update_revocation_list(
        self,
        profile: Profile,
        rev_reg_def: RevRegDef,
        prev_list: RevList,
        curr_list: RevList,
        revoked: Sequence[int],
        options: Optional[dict] = None,
    ) -> RevListResult:
        """Publish the next status list; the registry finds out what changed."""
        return await self._publish_list(curr_list)

    async def _publish_list(self, rev_list: RevList) -> RevListResult:
        value = rev_list.serialize()
        # The ledger's time counts, not the agent's.
        value.pop("timestamp", None)
        _, published = await self._publish("status-list", value)
        rev_list.timestamp = published["timestamp"]
        state = RevListState(state=RevListState.STATE_FINISHED, revocation_list=rev_list)
        return RevListResult(
            job_id=None,
            revocation_list_state=state,
            registration_metadata={},
            revocation_list_metadata={},
        )


def _reason(answer: Any) -> str:
    """What an answer says went wrong."""
    return str(answer.get("error", answer)) if isinstance(answer, dict) else str(answer)
