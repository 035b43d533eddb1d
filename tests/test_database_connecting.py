"""What an operator reads when the imaging database lets nobody in, and how C4 logs in.

The listeners are scripted; the servers are real.
"""

import ssl
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from resources.errors import C4Error, ConfigurationError, Unavailable
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.connecting import Connecting
from testing.listeners import hang_up, listener, refuse_as_oracle, refuse_as_postgresql, say_nothing
from testing.postgresql import Server

POSTGRESQL = "postgresql+psycopg2://c4:hush@127.0.0.1:{}/lims"
ORACLE = "oracle+oracledb://c4:hush@127.0.0.1:{}/?service_name=lims"

pytestmark = pytest.mark.usefixtures("impatience")


def refusal(address: str, timeout_s: int = 1) -> C4Error:
    """What an operator reads when the database is asked."""
    database = ImagingDatabase(address, Connecting(timeout_s))
    with pytest.raises(C4Error) as error, database.reading() as connection:
        connection.execute(text("select barcode from plates"))
    database.engine.dispose()
    assert "hush" not in str(error.value)
    assert make_url(address).render_as_string(hide_password=True) in str(error.value)
    return error.value


@pytest.mark.parametrize("address", [POSTGRESQL, ORACLE])
@pytest.mark.parametrize(
    ("answer", "words"),
    [(say_nothing, "was silent for longer than C4_TIMEOUT_SECONDS"), (hang_up, "does not answer")],
)
def test_a_listener_that_says_nothing_or_hangs_up_is_not_waited_for(
    address: str, answer: Callable[[Any], None], words: str
) -> None:
    with listener(answer) as port:
        error = refusal(address.format(port))
    assert isinstance(error, Unavailable)
    assert words in str(error)
    assert "the next run carries on" in str(error)


@pytest.mark.parametrize("address", [POSTGRESQL, ORACLE])
def test_a_silent_listener_does_not_keep_a_process_from_ending(address: str) -> None:
    ask = (
        "import sys; from resources.imaging_database import ImagingDatabase, connecting; connecting.CONNECT_S = 2\n"
        "with ImagingDatabase(sys.argv[1]).reading(): pass"
    )
    with listener(say_nothing) as port:
        command = [sys.executable, "-c", ask, address.format(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "Unavailable" in done.stderr


@pytest.mark.parametrize("address", [POSTGRESQL, ORACLE])
def test_a_port_where_nobody_listens_is_an_outage(address: str) -> None:
    error = refusal(address.format(9))
    assert isinstance(error, Unavailable)
    assert "does not answer" in str(error)


@pytest.mark.parametrize("address", [POSTGRESQL, ORACLE])
def test_a_host_that_nobody_knows_is_a_wrong_setting(address: str) -> None:
    error = refusal(address.replace("127.0.0.1", "lims.invalid").format(9))
    assert isinstance(error, ConfigurationError)
    assert "is not where C4_DATABASE_URL says" in str(error)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (12514, ConfigurationError, "is not where C4_DATABASE_URL says"),
        (12505, ConfigurationError, "is not where C4_DATABASE_URL says"),
        (12516, Unavailable, "has no connection left"),
        (12528, Unavailable, "does not answer"),
    ],
)
def test_what_oracles_listener_refuses_with_decides_who_has_to_act(code: int, kind: type[C4Error], words: str) -> None:
    with listener(refuse_as_oracle(code)) as port:
        error = refusal(ORACLE.format(port))
    assert isinstance(error, kind)
    assert words in str(error)


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        ("28P01", "Passwort-Authentifizierung für Benutzer »c4« fehlgeschlagen", ConfigurationError, "C4's login"),
        ("28P01", 'пользователь "c4" не прошёл проверку подлинности (по паролю)', ConfigurationError, "C4's login"),
        ("28000", "pas d'entrée dans pg_hba.conf pour l'hôte « 10.0.0.1 »", ConfigurationError, "C4's login"),
        ("3D000", "Datenbank »lims« existiert nicht", ConfigurationError, "is not where C4_DATABASE_URL says"),
        ("57P03", "das Datenbanksystem startet", Unavailable, "does not answer"),
        ("53300", "残りの接続スロットは予約されています", Unavailable, "has no connection left"),
    ],
)
def test_what_postgresql_refuses_with_decides_who_has_to_act_whatever_its_language(
    code: str, message: str, kind: type[C4Error], words: str
) -> None:
    with listener(refuse_as_postgresql(code, message)) as port:
        error = refusal(POSTGRESQL.format(port))
    assert isinstance(error, kind)
    assert words in str(error)
    assert message in str(error), "and the administrator reads the server's own words"


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_a_wrong_password_is_a_wrong_setting(database_url: str) -> None:
    wrong = make_url(database_url).set(password="hush").render_as_string(hide_password=False)
    error = refusal(wrong, 30)
    assert isinstance(error, ConfigurationError)
    assert "refuses C4's login" in str(error)


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_the_password_may_come_apart_from_the_address(database_url: str) -> None:
    url = make_url(database_url)
    settings = Connecting(30, password=str(url.password))
    database = ImagingDatabase(url.set(password=None).render_as_string(), settings)
    with database.reading() as connection:
        assert connection.execute(text("select barcode from plates")).all() == []
    database.engine.dispose()
    assert str(url.password) not in repr(settings) + database.address


def certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key, as Oracle's wallets have it."""
    pem = folder / "ewallet.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*made, "-keyout", folder / "key", "-out", pem], check=True, stderr=subprocess.DEVNULL)
    return pem


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
def test_a_wallets_folder_has_the_name_of_the_service_and_the_certificates(
    mirrored_server: Server, tmp_path: Path, encrypted: bool
) -> None:
    from testing.oracle import PASSWORD, USER, mirror

    name = f"wallet-{uuid.uuid4().hex}"
    mirrored_server.address(name, "upgraded")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if encrypted else None
    if context:
        context.load_cert_chain(certificate(tmp_path), tmp_path / "key")
    with mirror(mirrored_server.conninfo(name), context) as address:
        protocol, port = "tcps" if encrypted else "tcp", make_url(address).port
        (tmp_path / "tnsnames.ora").write_text(
            f"LIMS_HIGH = (DESCRIPTION=(ADDRESS=(PROTOCOL={protocol})(HOST=127.0.0.1)(PORT={port}))"
            "(CONNECT_DATA=(SERVICE_NAME=lims)))\n"
        )
        settings = Connecting(30, password=PASSWORD)
        url = f"oracle+oracledb://{USER}@LIMS_HIGH?wallet_location={tmp_path}"
        database = ImagingDatabase(url, settings)
        with database.reading() as connection:
            assert connection.execute(text("select barcode from plates")).all() == []
        database.engine.dispose()
        if encrypted:
            (tmp_path / "ewallet.pem").write_text("no certificate")
            other = ImagingDatabase(url, settings)
            with pytest.raises(ConfigurationError, match="wallet_location"), other.reading():
                pass
            other.engine.dispose()


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_the_dba_sees_who_is_there_and_what_for(kind: str, database_url: str) -> None:
    database = ImagingDatabase(database_url, Connecting(30))
    query, expected = {
        "postgresql": ("select application_name from pg_stat_activity where pid = pg_backend_pid()", [("c4 poll",)]),
        "oracle-protocol": (
            "select sys_context('USERENV', 'MODULE'), sys_context('USERENV', 'ACTION') from dual",
            [("c4", "poll")],
        ),
    }[kind]
    with database.reading("poll") as connection:
        assert connection.execute(text(query)).all() == expected
    database.engine.dispose()
