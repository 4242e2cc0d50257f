"""From the database to the `Configuration` of the fleet: everything resolved, nothing left to look up.

One proxy that cannot be resolved (a missing `env:` or `file:`, a policy that no longer exists, a damaged pack) becomes
`broken` with its reason and leaves all others untouched. One that does not serve yet and whose rules are being compiled
stands in `compiling`; for the rules of one that serves the builder waits, so that it goes on serving.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from app import clock
from app.access.models import ApiKey
from app.access.repository import ApiKeyRepository
from app.canaries.repository import CanaryRepository
from app.canaries.service import watched
from app.database.engine import Database
from app.fleet import aws_credentials, credentials, launch_environment
from app.fleet.assignments import PROXY_TYPES, Assignments, Plan
from app.fleet.models import Proxy
from app.fleet.repository import ProxyRepository
from app.fleet.rulesets import Rulesets, RulesetUnavailable
from app.fleet.snapshot import Configuration
from app.fleet.validation import is_reference
from app.launch.commands import NOT_LISTED, allowing
from app.launch.models import LaunchProgram
from app.launch.repository import LaunchRepository
from app.policies.global_policies import GlobalPolicyRepository
from app.policies.library import PolicyLibrary
from app.policies.tag_policies import TagPolicyRepository
from app.scanner.blocking import blocked_tools, closed
from app.security.vault import Undecryptable, Vault
from app.tools.control import NOTHING, controls
from app.upstream_proxy import UpstreamProxies
from proxies.contract import (
    APIKey,
    Assignment,
    DecisionService,
    Limits,
    ListenerTLS,
    Masking,
    MCPControl,
    MCPSettings,
    ProxyConfig,
    ProxyType,
    RulesetSource,
    StdioServer,
    UpstreamAuth,
)
from rules.policy import ContextFirewall

logger = logging.getLogger(__name__)

SEALED_TABLE = "proxies"
SEALED_COLUMN = "upstream_auth_secret"
SEALED_SESSION_COLUMN = "upstream_auth_session_secret"
COMPILING = "Rules are being compiled."
"""The reason of a proxy, and of the refusals of a key, whose rules are not there yet."""


class Unresolvable(Exception):
    """A proxy cannot be served as configured; the message is the reason that operators see."""


class ConfigurationBuilder:
    """Builds configurations, anew each time that the fleet asks."""

    def __init__(
        self,
        *,
        database: Database,
        library: PolicyLibrary,
        vault: Vault,
        rulesets: Rulesets,
        data_directory: Path,
        environ: Mapping[str, str],
        limits: Mapping[ProxyType, Limits],
        upstream_proxies: UpstreamProxies,
        serves: Callable[[str], bool],
        context_firewall: ContextFirewall | None = None,
        decision_service: DecisionService | None = None,
    ) -> None:
        self._database = database
        self._library = library
        self._vault = vault
        self._rulesets = rulesets
        self._data_directory = data_directory
        self._environ = environ
        self._serves = serves
        self._upstream_proxies = upstream_proxies
        self._context_firewall = context_firewall
        self._decision_service = decision_service
        self._limits = limits

    async def load(self) -> Configuration:
        """The configuration as it is committed now."""
        async with self._database.reader() as session:
            rows = [proxy for proxy in await ProxyRepository(session).all() if proxy.enabled]
            keys = await ApiKeyRepository(session).usable(clock.utcnow())
            canaries = list(await CanaryRepository(session).all())
            global_names = await GlobalPolicyRepository(session).names()
            by_tag = await TagPolicyRepository(session).by_tag()
            programs = await LaunchRepository(session).all()
            is_mcp_served = any(proxy.type == "mcp" for proxy in rows)
            mcp_controls = await controls(session) if is_mcp_served else {}
            refused_tools = await blocked_tools(session) if is_mcp_served else {}
        assignments = Assignments(self._library, global_names, by_tag)
        of_proxies = [
            assignments.of_proxy(proxy.policy_names, cast(ProxyType, proxy.type), proxy.tags) for proxy in rows
        ]
        of_keys = [assignments.of_key(key.policy_names) for key in keys]
        proxies: list[ProxyConfig] = []
        rulesets: dict[str, RulesetSource] = {}
        broken: dict[str, str] = {}
        compiling: set[str] = set()
        for proxy, (plan, level) in zip(rows, of_proxies, strict=True):
            digest, credential, server = "", UpstreamAuth(), None
            try:
                if proxy.transport == "stdio":
                    server = await asyncio.to_thread(self._server, proxy, programs)
                credential = await asyncio.to_thread(self._credential, proxy)
                ruleset = await self._ruleset(plan, must_wait=self._serves(proxy.id))
                if ruleset is None:
                    compiling.add(proxy.id)
                else:
                    digest, rulesets[ruleset.digest] = ruleset.digest, ruleset
            except (Unresolvable, RulesetUnavailable) as error:
                logger.warning("Proxy %s cannot be served: %s", proxy.id, error)
                broken[proxy.id] = str(error)
            control = closed(mcp_controls.get(proxy.id, NOTHING), refused_tools.get(proxy.id, frozenset()))
            mcp = _mcp(proxy, control, server) if proxy.type == "mcp" else None
            proxies.append(self._proxy(proxy, plan, level, digest, credential, mcp))
        api_keys: list[APIKey] = []
        for key, plans in zip(keys, of_keys, strict=True):
            opened = _opened_by(key, rows)
            assigned = await self._assigned(plans, rulesets, opened)
            api_keys.append(_key(key, assigned))
            for type, assignment in assigned.items():
                if assignment.problem == COMPILING:
                    # Its calls would be refused: no proxy begins to serve before everybody is served.
                    compiling |= opened[type] - broken.keys()
        self._rulesets.keep_only(rulesets)
        return Configuration(
            proxies=tuple(proxies),
            api_keys=tuple(api_keys),
            rulesets=tuple(rulesets.values()),
            policies=assignments.applied,
            canaries=watched(canaries, self._vault),
            auto_start=frozenset(proxy.id for proxy in rows if proxy.auto_start),
            broken=broken,
            compiling=dict.fromkeys(compiling, COMPILING),
        )

    async def _ruleset(self, plan: Plan, *, must_wait: bool) -> RulesetSource | None:
        """None while it is being compiled and nobody must wait for it."""
        if plan.problem:
            raise RulesetUnavailable(plan.problem)
        if must_wait:
            return await self._rulesets.of_packs(plan.packs)
        return await self._rulesets.at_hand(plan.packs)

    async def _assigned(
        self,
        plans: Mapping[ProxyType, Plan],
        rulesets: dict[str, RulesetSource],
        opened: Mapping[ProxyType, set[str]],
    ) -> dict[ProxyType, Assignment]:
        """The assignments of one key; what cannot be had is told to the workers, which refuse the calls of the key."""
        assigned: dict[ProxyType, Assignment] = {}
        for type, plan in plans.items():
            try:
                source = await self._ruleset(plan, must_wait=any(map(self._serves, opened[type])))
                if source is None:
                    assigned[type] = Assignment(plan.policy_names, "", COMPILING)
                    continue
                rulesets[source.digest] = source
                assigned[type] = Assignment(plan.policy_names, source.digest)
            except RulesetUnavailable as error:
                logger.warning("The policies of a key cannot be put in force: %s", error)
                assigned[type] = Assignment(plan.policy_names, "", str(error))
        return assigned

    def _proxy(
        self,
        proxy: Proxy,
        plan: Plan,
        level: Literal["proxy", "global"],
        ruleset_digest: str,
        credential: UpstreamAuth,
        mcp: MCPSettings | None,
    ) -> ProxyConfig:
        return ProxyConfig(
            id=proxy.id,
            name=proxy.name,
            type=proxy.type,  # type: ignore[arg-type]  # Checked when it was saved.
            target_url=proxy.target_url,
            host=proxy.host,
            port=proxy.port,
            ruleset=ruleset_digest,
            enforcement="log_only" if proxy.enforcement == "log_only" else "enforce",
            require_auth=proxy.require_auth,
            capture=proxy.capture,  # type: ignore[arg-type]  # Checked when it was saved.
            upstream_auth=credential,
            allowed_hosts=tuple(proxy.allowed_hosts),
            allowed_origins=tuple(proxy.allowed_origins),
            tls=ListenerTLS(proxy.tls_cert_path, proxy.tls_key_path) if proxy.tls_cert_path else None,
            upstream_ca_path=proxy.upstream_ca_path,
            upstream_client_cert_path=proxy.upstream_client_cert_path,
            upstream_client_key_path=proxy.upstream_client_key_path,
            upstream_proxy=self._upstream_proxies.for_target(proxy.target_url),
            context=self._context_firewall if proxy.type == "llm" else None,
            decisions=self._decision_service if proxy.type == "llm" else None,
            limits=self._limits[cast(ProxyType, proxy.type)],
            masking=Masking(key=self._vault.masking_key),
            policy_names=plan.policy_names,
            policy_level=level,
            mcp=mcp,
        )

    def _server(self, proxy: Proxy, programs: Sequence[LaunchProgram]) -> StdioServer:
        """The server that a proxy starts; the list of programs is asked again, because it may have changed (ADM-16)."""
        entry = allowing(programs, proxy.launch_command)
        if entry is None:
            raise Unresolvable(NOT_LISTED)
        try:
            variables = launch_environment.resolve(
                launch_environment.opened(proxy, self._vault),
                environ=self._environ,
                data_directory=self._data_directory,
            )
        except launch_environment.EnvironmentUnavailable as error:
            raise Unresolvable(str(error)) from error
        return StdioServer(
            argv=tuple(proxy.launch_command),
            environment=variables,
            working_directory=proxy.launch_directory,
            process=proxy.launch_process,  # type: ignore[arg-type]  # Checked when it was saved.
            max_memory_mb=entry.max_memory_mb,
            max_cpu_seconds=entry.max_cpu_seconds,
            run_as=entry.run_as,
        )

    def _credential(self, proxy: Proxy) -> UpstreamAuth:
        if proxy.upstream_auth_type == "none":
            return UpstreamAuth()
        value = self._secret(proxy, proxy.upstream_auth_reference, proxy.upstream_auth_secret, SEALED_COLUMN)
        if value is None:
            raise Unresolvable("The upstream credential is missing. Enter it again.")
        if proxy.upstream_auth_type == aws_credentials.TYPE:
            return self._aws_credential(proxy, value)
        return UpstreamAuth(
            type=proxy.upstream_auth_type,  # type: ignore[arg-type]  # Checked when it was saved.
            name=proxy.upstream_auth_name,
            value=value,
        )

    def _aws_credential(self, proxy: Proxy, secret_access_key: str) -> UpstreamAuth:
        id = proxy.upstream_auth_access_key_id
        if is_reference(id):
            id = self._secret(proxy, id, None, SEALED_COLUMN) or ""
            if problem := aws_credentials.access_key_id_problem(id):
                raise Unresolvable(
                    f"The upstream credential {proxy.upstream_auth_access_key_id} cannot be used. {problem}"
                )
        region = proxy.upstream_auth_region or aws_credentials.region_of(proxy.target_url)
        if not region:
            raise Unresolvable("The region of the upstream is missing: requests are signed for one. Enter it.")
        session, sealed = proxy.upstream_auth_session_reference, proxy.upstream_auth_session_secret
        return UpstreamAuth(
            type="aws",
            value=secret_access_key,
            region=region,
            access_key_id=id,
            session_token=self._secret(proxy, session, sealed, SEALED_SESSION_COLUMN) or "",
        )

    def _secret(self, proxy: Proxy, reference: str | None, sealed: str | None, column: str) -> str | None:
        """What a reference points to or a column holds; None for neither."""
        try:
            if reference is not None:
                return credentials.resolve(reference, environ=self._environ, data_directory=self._data_directory)
            if sealed is not None:
                return self._vault.decrypt(sealed, table=SEALED_TABLE, row=proxy.id, column=column)
        except credentials.CredentialUnavailable as error:
            raise Unresolvable(str(error)) from error
        except Undecryptable as error:
            raise Unresolvable("The stored upstream credential cannot be decrypted. Enter it again.") from error
        return None


def _mcp(proxy: Proxy, control: MCPControl, server: StdioServer | None) -> MCPSettings:
    return MCPSettings(
        transport=proxy.transport,  # type: ignore[arg-type]  # Checked when it was saved.
        stdio=server,
        era="bridge" if proxy.era == "bridge" else "same",
        refuse_downgrade=proxy.refuse_downgrade,
        egress_hosts=tuple(proxy.egress_hosts),
        denied_calls="result" if proxy.denied_calls == "result" else "error",
        control=control,
    )


def _opened_by(key: ApiKey, rows: Sequence[Proxy]) -> dict[ProxyType, set[str]]:
    """The ids of the proxies that a key opens, by type."""
    return {
        type: {row.id for row in rows if row.type == type and (key.proxy_ids is None or row.id in key.proxy_ids)}
        for type in PROXY_TYPES
    }


def _key(key: ApiKey, assignments: dict[ProxyType, Assignment]) -> APIKey:
    return APIKey(
        id=key.id,
        name=key.name,
        digest=key.digest,
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
        proxy_ids=None if key.proxy_ids is None else tuple(key.proxy_ids),
        assignments=assignments,
    )
