"""Each way to connect, on a server that requires it; and each way to fail, in one line."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.child_process import Child
from infra.ports import free_port
from infra.servers import NatsServer, find_nats_server
from services.chassis.nats import connection
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.nats.nkeys import NkeyError, user_key, user_seed
from services.chassis.settings import Settings
from services.chassis.tasks import cancel_and_wait
from tests.chassis.keys import ACCOUNT, OPERATOR, USER, authority, credentials, identity

pytestmark = [pytest.mark.broker]
SECONDS = 60.0
SEVERAL_ATTEMPTS = 0.4
"""Seconds in which a connection that is refused at once is attempted several times."""
PASSWORD = "s3same/öffne@dich"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RETRY_SECONDS", SEVERAL_ATTEMPTS / 8)


@contextmanager
def demanding(folder: Path, config: str) -> Iterator[int]:
    """A nats-server with this configuration; its port."""
    port = free_port()
    file = folder / "server.conf"
    file.write_text(f'listen: "127.0.0.1:{port}"\n{config}')
    command = [str(find_nats_server()), "--config", str(file)]
    server = Child("nats-server", command, folder / "server.log")
    server.start()
    try:
        server.wait_until(lambda: "Server is ready" in server.written(), SECONDS)
        yield port
    finally:
        server.stop()


def connecting(**settings: object) -> Connection:
    return Connection(access_of(Settings.model_validate(settings), "test"), "test")


async def is_let_in(**settings: object) -> None:
    nc = connecting(**settings)
    async with asyncio.timeout(SECONDS):
        await nc.open()
    inbox = nc.new_inbox()
    heard = await nc.subscribe(inbox)
    await nc.publish(inbox, b"heard")
    assert (await heard.next_msg(timeout=SECONDS)).data == b"heard"
    await nc.shut_down(1)


@asynccontextmanager
async def kept_out(**settings: object) -> AsyncIterator[Connection]:
    nc = connecting(**settings)
    opening = asyncio.create_task(nc.open())
    try:
        async with asyncio.timeout(SECONDS):
            while not (nc.problem or "").partition(": ")[2]:
                assert not opening.done(), "it was let in"
                await asyncio.sleep(0.01)
        yield nc
        assert not opening.done()
    finally:
        await cancel_and_wait(opening)
        await nc.shut_down(0)


async def why_kept_out(caplog: pytest.LogCaptureFixture, **settings: object) -> str:
    """The one line of the log, which is also the text of /ready."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        async with kept_out(**settings) as nc:
            await asyncio.sleep(SEVERAL_ATTEMPTS)  # and still one line
            assert nc.problem is not None
            why = nc.problem.removeprefix("NATS is unavailable: ")
    assert [record.getMessage() for record in caplog.records] == [f"{why}; retrying"]
    assert not any(record.exc_info for record in caplog.records)
    assert PASSWORD not in caplog.text
    return why


@pytest.fixture
def with_password(nats: NatsServer, tmp_path: Path) -> Iterator[int]:  # noqa: ARG001
    users = f'authorization {{ users: [{{user: "ann", password: "{PASSWORD}"}}] }}'
    with demanding(tmp_path, users) as port:
        yield port


async def test_a_user_and_password_are_taken_from_the_url_the_settings_or_a_file(
    with_password: int, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    host = f"127.0.0.1:{with_password}"
    await is_let_in(nats_url=f"nats://ann:s3same%2F%C3%B6ffne%40dich@{host}")
    await is_let_in(nats_url=f"nats://{host}", nats_user="ann", nats_password=PASSWORD)
    await is_let_in(nats_url=f"nats://{host}", nats_user="ann", nats_password_file=file)


async def test_a_wrong_password_is_reported_with_its_setting(
    with_password: int, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    server = f"nats://127.0.0.1:{with_password}"
    file = tmp_path / "password"
    file.write_text(PASSWORD + "!")
    why = await why_kept_out(caplog, nats_url=server)
    assert why == (
        f"NATS_URL {server}: authorization violation; no user, nkey or credentials file is set"
    )
    wrong = f"nats://ann:{PASSWORD[:6]}@127.0.0.1:{with_password}"
    refused = f"{server} rejects them: authorization violation"
    assert await why_kept_out(caplog, nats_url=wrong) == f"NATS_URL: {refused}"
    why = await why_kept_out(caplog, nats_url=server, nats_user="ann", nats_password_file=file)
    assert why == f"NATS_USER and NATS_PASSWORD_FILE: {refused}"


async def test_a_password_corrected_in_its_file_works_without_a_restart(
    with_password: int, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    server = f"nats://127.0.0.1:{with_password}"
    nc = connecting(nats_url=server, nats_user="ann", nats_password_file=file)
    opening = asyncio.create_task(nc.open())
    async with asyncio.timeout(SECONDS):
        while "no such file" not in (nc.problem or ""):  # noqa: ASYNC110  # of no event
            await asyncio.sleep(0.01)
        file.write_text(PASSWORD)
        await opening
    await nc.shut_down(1)


async def test_a_user_limited_to_its_own_inbox_gets_responses(
    nats: NatsServer,  # noqa: ARG001
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    own = '["_INBOX_test.>"]'
    users = f'{{user: "ann", password: "x", permissions: {{publish: {own}, subscribe: {own}}}}}'
    with demanding(tmp_path, f"authorization {{ users: [{users}] }}") as port:
        server = f"nats://ann:x@127.0.0.1:{port}"
        await is_let_in(nats_url=server)
        nc = connecting(nats_url=server, nats_inbox_prefix="_INBOX_other")
        await nc.open()
        async with asyncio.timeout(SECONDS):
            while "permissions violation" not in caplog.text:  # noqa: ASYNC110  # of no event
                await asyncio.sleep(0.01)
        await nc.shut_down(1)


async def test_a_token_is_taken_from_the_url(nats: NatsServer, tmp_path: Path) -> None:  # noqa: ARG001
    with demanding(tmp_path, 'authorization { token: "sesame" }') as port:
        await is_let_in(nats_url=f"nats://sesame@127.0.0.1:{port}")


async def test_a_user_connects_with_an_nkey(
    nats: NatsServer,  # noqa: ARG001
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    user, stranger, seed = identity(USER), identity(USER), tmp_path / "user.nk"
    with demanding(tmp_path, f"authorization {{ users: [{{nkey: {user.public}}}] }}") as port:
        server = f"nats://127.0.0.1:{port}"
        seed.write_text(user_seed(user.secret) + "\n")
        await is_let_in(nats_url=server, nats_nkey_seed_file=seed)
        seed.write_text(user_seed(stranger.secret))
        why = await why_kept_out(caplog, nats_url=server, nats_nkey_seed_file=seed)
        assert why == f"NATS_NKEY_SEED_FILE: {server} rejects them: authorization violation"
        right = user_seed(user.secret)
        wrong_sum = right[:-1] + ("E" if right.endswith("A") else "A")
        for content in ("", "SUnonsense", wrong_sum, "öl"):
            seed.write_text(content)
            why = await why_kept_out(caplog, nats_url=server, nats_nkey_seed_file=seed)
            assert why.startswith(f"NATS_NKEY_SEED_FILE {seed}: not an nkey seed")
        why = await why_kept_out(caplog, nats_url=server, nats_nkey_seed_file=tmp_path / "none")
        assert why == f"NATS_NKEY_SEED_FILE {tmp_path / 'none'}: no such file or directory"


async def test_a_user_connects_with_a_credentials_file(
    nats: NatsServer,  # noqa: ARG001
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    operator, account, user = identity(OPERATOR), identity(ACCOUNT), identity(USER)
    limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1}
    of_account = operator.says(account, type="account", limits={**limits, "leaf": -1})
    of_user = account.says(user, type="user", subs=-1, data=-1, payload=-1)
    config = (
        f"operator: {operator.says(operator, type='operator')}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {account.public}: {of_account} }}\n"
    )
    file = tmp_path / "user.creds"
    with demanding(tmp_path, config) as port:
        server = f"nats://127.0.0.1:{port}"
        file.write_text(credentials(of_user, user))
        await is_let_in(nats_url=server, nats_credentials_file=file)
        file.write_text(credentials(of_user, identity(USER)))
        why = await why_kept_out(caplog, nats_url=server, nats_credentials_file=file)
        assert why == f"NATS_CREDENTIALS_FILE: {server} rejects them: authorization violation"
        file.write_text("nothing of it")
        why = await why_kept_out(caplog, nats_url=server, nats_credentials_file=file)
        assert why == f"NATS_CREDENTIALS_FILE {file}: there is no NATS USER JWT in it"


async def test_tls_uses_the_configured_authority_and_certificate(
    nats: NatsServer,  # noqa: ARG001
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    ours, other = authority(tmp_path, "ours"), authority(tmp_path, "other")
    (cert, key, _), (mine, mine_key, _) = ours.issue("server"), ours.issue("client")
    (odd, odd_key, _) = other.issue("odd")
    tls = f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{ours.ca}", verify: true }}'
    with demanding(tmp_path, tls) as port:
        server = f"nats://127.0.0.1:{port}"
        files = {"nats_ca_file": ours.ca, "nats_cert_file": mine, "nats_key_file": mine_key}
        await is_let_in(nats_url=server, **files)
        await is_let_in(nats_url=f"tls://127.0.0.1:{port}", **files)
        why = await why_kept_out(caplog, nats_url=server, **{**files, "nats_ca_file": other.ca})
        assert why.startswith(f"NATS_CA_FILE {other.ca}: certificate of {server}: ")
        why = await why_kept_out(caplog, nats_url=server)
        assert why.startswith(f"NATS_CA_FILE (not set): certificate of {server}: ")
        why = await why_kept_out(caplog, nats_url=server, nats_ca_file=ours.ca)
        assert why.startswith(f"NATS_CERT_FILE (not set): {server} ended TLS: ")
        strange = {**files, "nats_cert_file": odd, "nats_key_file": odd_key}
        why = await why_kept_out(caplog, nats_url=server, **strange)
        assert why.startswith(f"NATS_CERT_FILE {odd}: {server} ended TLS: ")
        why = await why_kept_out(caplog, nats_url=server, **{**files, "nats_key_file": odd_key})
        assert why.startswith(f"NATS_CERT_FILE {mine}: no certificate and key in PEM")
        for setting in files:
            gone = {**files, setting: tmp_path / "gone"}
            why = await why_kept_out(caplog, nats_url=server, **gone)
            assert why == f"{setting.upper()} {tmp_path / 'gone'}: no such file or directory"


async def test_nothing_is_sent_unencrypted_where_tls_is_required(
    with_password: int, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    ca = authority(tmp_path, "ours").ca
    user = {"nats_user": "ann", "nats_password": PASSWORD}
    plain = f"127.0.0.1:{with_password}"
    why = await why_kept_out(caplog, nats_url=f"tls://{plain}", **user)
    assert why == f"NATS_URL: tls://{plain} offers no TLS, which the settings require"
    why = await why_kept_out(caplog, nats_url=f"nats://{plain}", nats_ca_file=ca, **user)
    assert why == f"NATS_CA_FILE: nats://{plain} offers no TLS, which the settings require"


async def test_a_server_that_is_unreachable_unknown_or_silent_is_reported_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dead = f"nats://127.0.0.1:{free_port()}"
    why = await why_kept_out(caplog, nats_url=dead)
    assert why == f"NATS_URL {dead}: connection refused"
    why = await why_kept_out(caplog, nats_url="nats://no.such.host.invalid")
    assert why.startswith("NATS_URL nats://no.such.host.invalid:4222: unknown host")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = f"nats://127.0.0.1:{mute.getsockname()[1]}"
        why = await why_kept_out(caplog, nats_url=server)
        assert why == f"NATS_URL {server}: no answer within 2 s"


async def test_each_failing_server_of_several_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    dead = [f"nats://127.0.0.1:{free_port()}" for _ in range(3)]
    with caplog.at_level(logging.INFO):
        async with kept_out(nats_url=",".join(dead)):
            await asyncio.sleep(SEVERAL_ATTEMPTS)
    said = sorted(record.getMessage() for record in caplog.records)
    assert said == sorted(f"NATS_URL {one}: connection refused; retrying" for one in dead)


async def test_a_discovered_server_gets_the_same_credentials(
    nats: NatsServer,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    user = f'authorization {{ users: [{{user: "ann", password: "{PASSWORD}"}}] }}\n'
    routes = [free_port(), free_port()]
    folders = [tmp_path / "a", tmp_path / "b"]
    configs = [
        user + f'server_name: s{n}\ncluster {{ name: c, listen: "127.0.0.1:{routes[n]}", '
        f'routes: ["nats://127.0.0.1:{routes[1 - n]}"] }}'
        for n in range(2)
    ]
    for folder in folders:
        folder.mkdir()
    with demanding(folders[0], configs[0]) as first, demanding(folders[1], configs[1]) as second:
        nc = connecting(
            nats_url=f"nats://127.0.0.1:{first}", nats_user="ann", nats_password=PASSWORD
        )
        await nc.open()
        async with asyncio.timeout(SECONDS):
            while len(nc.servers) < 2:  # noqa: ASYNC110  # of no event
                await asyncio.sleep(0.05)
            while nc.connected_url is None or nc.connected_url.port != second:
                await nc.force_reconnect()
                await asyncio.sleep(0.3)
        await nc.shut_down(1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"nats_url": ""}, "NATS_URL"),
        ({"nats_url": "http://a"}, "NATS_URL"),
        ({"nats_url": "nats://a:b:c"}, "NATS_URL"),
        ({"nats_url": "nats://a:1, ws://b"}, "NATS_URL"),
        ({"nats_url": "nats://ann:sesame@a,nats://bob:sesame@b"}, "same user"),
        ({"nats_user": "ann"}, "NATS_USER"),
        ({"nats_password": "sesame"}, "NATS_USER"),
        ({"nats_user": "a", "nats_password": "sesame", "nats_password_file": "f"}, "NATS_PASSWORD"),
        ({"nats_nkey_seed_file": "f", "nats_credentials_file": "g"}, "NATS_NKEY_SEED_FILE and"),
        ({"nats_url": "nats://ann:sesame@a", "nats_nkey_seed_file": "f"}, "NATS_URL and"),
        ({"nats_cert_file": "f"}, "NATS_KEY_FILE"),
    ],
)
def test_contradicting_settings_are_rejected_by_name(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError, match=named) as refused:
        Settings.model_validate(settings)
    assert "sesame" not in str(refused.value)


def test_an_empty_variable_is_unset() -> None:
    empty = {name: "" for name in Settings.model_fields if name.startswith("nats_")}
    assert access_of(Settings.model_validate({**empty, "nats_url": "nats://a"}), "x") == access_of(
        Settings(nats_url="nats://a"), "x"
    )


def test_a_seed_is_read_back_and_an_invalid_one_is_rejected() -> None:
    """The pair is from the documentation of nkeys."""
    seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
    public = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
    assert user_key(seed).public == public
    secret = os.urandom(32)
    assert user_key(user_seed(secret)).sign("n") == user_key(f" {user_seed(secret)}\n").sign("n")
    with pytest.raises(NkeyError):
        user_key(public)
