"""Mails are sent to real mail servers on loopback, with and without TLS."""

import time

import pytest

from c4_assets.operations.alerts.records import MessagePostponed, Picture
from c4_assets.operations.channels.sending import MessageRefused
from c4_assets.operations.channels.smtp import Mailer
from testing.certificates import Certificate
from testing.http_receiver import (
    http_receiver,
)
from testing.smtp_server import smtp_server
from tests.receivers import PASSWORD, away, email_settings
from tests.receivers import certificate as certificate
from tests.receivers import trusted as trusted
from tests.test_channel_texts import PLACE, message


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_a_mail_arrives_over_each_kind_of_connection(security: str, certificate: Certificate, trusted: None) -> None:
    accounts = {} if security == "none" else {"c4": PASSWORD}
    with smtp_server(security, certificate.server_context(), accounts) as server:  # pyright: ignore[reportArgumentType]
        login = {"user": "c4", "password": PASSWORD} if accounts else {}
        Mailer("email", email_settings(server, security=security, **login), PLACE).send(message())
        (mail,) = server.received
    assert mail.sender == "c4@facility.org"
    assert mail.to == ("operators@facility.org", "night@facility.org")
    assert (mail.encrypted, mail.user) == ((False, "") if security == "none" else (True, "c4"))
    assert mail.message["To"] == "operators@facility.org, night@facility.org"
    assert mail.message["Subject"] == "C4 error: 3 runs failed"
    plain, html = mail.message.get_body(("plain",)), mail.message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "Look at the GPU node." in plain.get_content()
    assert "Look at the GPU node." in html.get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_no_mail_and_no_password_go_to_a_server_whose_certificate_is_wrong(
    security: str, certificate: Certificate
) -> None:
    with smtp_server(security, certificate.server_context(), {"c4": PASSWORD}) as server:  # pyright: ignore[reportArgumentType]
        settings = email_settings(server, security=security, user="c4", password=PASSWORD)
        assert "certificate is not trusted" in str(away(Mailer("email", settings)))
        assert not server.received


def test_a_password_is_sent_over_tls_alone() -> None:
    with smtp_server() as server:
        settings = email_settings(server, user="c4", password=PASSWORD)
        assert "no password is sent without TLS" in str(away(Mailer("email", settings)))
        settings = email_settings(server, user="c4", password=PASSWORD, security="starttls")
        assert "offers no STARTTLS" in str(away(Mailer("email", settings)))
        assert not server.received


def test_a_wrong_password_is_said_without_it(certificate: Certificate, trusted: None) -> None:
    with smtp_server("starttls", certificate.server_context(), {"c4": "another"}) as server:
        settings = email_settings(server, security="starttls", user="c4", password=PASSWORD)
        assert str(away(Mailer("email", settings))) == "email: user or password are refused (SMTP 535)."


def test_mails_to_subscribers_go_to_them_alone_and_they_do_not_see_each_other() -> None:
    with smtp_server() as server:
        mailer = Mailer("email", email_settings(server))
        mailer.send(message(recipients=("ann@uni.org",), pictures=(Picture("A1.jpg", b"jpeg"),)))
        mailer.send(message(recipients=("ann@uni.org", "bob@uni.org")))
        one, two = server.received
    assert (one.to, one.message["To"]) == (("ann@uni.org",), "ann@uni.org")
    assert two.to == ("ann@uni.org", "bob@uni.org")
    assert b"bob@uni.org" not in two.data
    assert [part.get_content() for part in one.message.walk() if part.get_content_type() == "image/jpeg"] == [b"jpeg"]


@pytest.mark.parametrize(
    "name", ["=?utf-8?q?=0d=0aBcc:_mallory=40uni.org?=", "P1 =?utf-8?b?DQpCY2M6IG1AdW5pLm9yZw==?= x"]
)
def test_a_name_cannot_write_headers_of_its_own_by_the_words_in_which_headers_are_encoded(name: str) -> None:
    with smtp_server() as server:
        picture = Picture(name, b"jpeg", caption=name)
        Mailer("email", email_settings(server)).send(message(title=name, pictures=(picture,)))
        (mail,) = server.received
    parts = list(mail.message.walk())
    assert not [header for part in parts for header in part if header.lower() == "bcc"]
    assert mail.message["Subject"] == f"C4 error: {name}".replace("=?", "= ?")
    assert [part.get_filename() for part in parts if part.get_filename()] == [name.replace("=?", "= ?")]


def test_a_recipient_who_is_unknown_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with smtp_server() as server:
        server.refused = {"night@facility.org", "gone@uni.org"}
        mailer = Mailer("email", email_settings(server))
        mailer.send(message())
        assert [mail.to for mail in server.received] == [("operators@facility.org",)]
        mailer.send(message(recipients=("gone@uni.org",)))
        assert len(server.received) == 1
        server.refused.add("operators@facility.org")
        assert "all recipients are refused (550 5.1.1 No such user here)" in str(away(mailer))
    assert "refuses 1 of 2 recipients" in caplog.text


def test_a_full_mailbox_of_a_subscriber_postpones_their_mail_and_a_server_that_goes_down_is_away() -> None:
    with smtp_server() as server:
        server.full = {"ann@uni.org": "452 4.2.2 Mailbox full", "bob@uni.org": "421 4.3.2 Shutting down"}
        mailer = Mailer("email", email_settings(server))
        with pytest.raises(MessagePostponed, match=r"452 .*Mailbox full"):
            mailer.send(message(recipients=("ann@uni.org",)))
        away(mailer, message(recipients=("bob@uni.org",)))
        server.full = dict.fromkeys(["operators@facility.org", "night@facility.org"], "450 Greylisted")
        assert "450 Greylisted" in str(away(mailer)), "operators' own mail goes to the next channel"


def test_a_mail_server_that_is_busy_silent_or_gone_is_away() -> None:
    with smtp_server() as server:
        server.refusal = "451 4.7.1 Greylisted, try later"
        reason = str(away(Mailer("email", email_settings(server))))
        assert reason == "email: it answered 451 4.7.1 Greylisted, try later."
    assert "nothing listens" in str(away(Mailer("email", email_settings())))
    with http_receiver() as silent:  # it waits for a request and says no word of SMTP
        begun = time.monotonic()
        mailer = Mailer("email", email_settings(port=silent.port), timeout=0.5, in_all=2)
        assert "did not answer in time" in str(away(mailer))
        assert time.monotonic() - begun < 4


def test_a_mail_server_that_says_nothing_to_the_farewell_has_the_mail_and_gets_no_second_one() -> None:
    with smtp_server() as server:
        server.silent_at_quit = True
        Mailer("email", email_settings(server), timeout=0.5).send(message())
        assert len(server.received) == 1


def test_a_mail_that_is_too_large_goes_out_without_its_pictures() -> None:
    with smtp_server(largest=30_000) as server:
        mailer = Mailer("email", email_settings(server))
        mailer.send(message(pictures=(Picture("A1.jpg", b"x" * 40_000),)))
        (mail,) = server.received
        assert "the pictures were left out" in mail.message.as_string()
        assert not [part for part in mail.message.walk() if part.get_content_maintype() == "image"]
        with pytest.raises(MessageRefused, match="too large"):
            mailer.send(message(lines=("words " * 9000,)))
        assert len(server.received) == 1


def test_a_mail_that_is_too_large_takes_no_longer_than_another_one() -> None:
    with smtp_server(largest=30_000) as server:
        server.thinks_s = 1
        mailer = Mailer("email", email_settings(server), in_all=1.5)
        assert "did not answer in time" in str(away(mailer, message(pictures=(Picture("A1.jpg", b"x" * 40_000),)))), (
            "each of its two sends takes a second"
        )


def test_nobody_to_write_to_is_said() -> None:
    with pytest.raises(MessageRefused, match=r"alerts\.email\.recipients"):
        Mailer("email", email_settings(recipients=[])).send(message())
