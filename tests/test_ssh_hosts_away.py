"""Storage hosts that are away, refuse or are no longer themselves, and the asset graph over ssh."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import dagster as dg
import pytest

from resources.errors import ConfigurationError, Unavailable
from resources.image_store import SshStore, ssh_store
from resources.ssh import SshAccess
from testing.delaying_proxy import DelayingProxy
from testing.sshd import Sshd, make_key
from tests.conftest import Facility, noon, photograph
from tests.storage_hosts import MEGABYTE, TEN, is_as_on_disk

pytest_plugins = ["tests.storage_hosts"]


class TestHosts:
    """What happens with hosts that are not well, or not ours."""

    @pytest.mark.parametrize("kind", ["sftp_host", "bare_host"])
    def test_where_no_tar_runs_files_come_by_sftp_and_that_is_said_once(
        self,
        kind: str,
        request: pytest.FixtureRequest,
        store_at: Callable[..., SshStore],
        folder: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        store = store_at(folder, request.getfixturevalue(kind))
        for _ in range(2):
            assert is_as_on_disk(list(store.fetch(TEN)), folder)
        said = [record for record in caplog.records if "runs no tar for this account" in record.message]
        assert [(record.name, record.levelno) for record in said] == [("c4.fetch", logging.WARNING)]

    def test_an_account_that_may_do_nothing_is_a_matter_of_configuration(
        self, closed_host: Sshd, store_at: Callable[..., SshStore], folder: Path
    ) -> None:
        with pytest.raises(ConfigurationError, match="use neither tar nor sftp"):
            list(store_at(folder, closed_host).fetch(TEN))

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_a_root_that_is_not_there_is_not_blamed_on_the_images(
        self, store_at: Callable[..., SshStore], folder: Path, scheme: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(Unavailable, match=r"has no folder .*unmounted.*No image was marked as failed"):
            list(store_at(folder / "unmounted", scheme=scheme).fetch(TEN))
        assert "runs no tar" not in caplog.text

    def test_a_host_that_accepts_and_says_nothing_is_named_with_what_to_do(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path
    ) -> None:
        proxy.hang_after = 0
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1 does not answer.* within 1 s.*C4_TIMEOUT_SECONDS"):
            list(store_at(folder, port=proxy.port, timeout=1).fetch(TEN))

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_a_host_that_stops_in_the_middle_of_a_file_is_given_up_in_the_end(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path, scheme: str, short_reconnects: None
    ) -> None:
        proxy.hang_after = 100_000
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1 does not answer.*No image was marked as failed"):
            list(store_at(folder, port=proxy.port, scheme=scheme, timeout=1).fetch(TEN))

    def test_a_line_that_goes_dead_in_mid_stream_is_replaced_and_the_rest_asked_for(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path, short_reconnects: None
    ) -> None:
        proxy.hang_after = 2 * MEGABYTE
        # Long enough for a busy machine: the login of the second line must come within it.
        assert is_as_on_disk(list(store_at(folder, port=proxy.port, timeout=4).fetch(TEN)), folder)
        assert len(proxy.lines) == 2
        assert proxy.lines[1].to_client < 2 * MEGABYTE

    def test_a_host_that_is_down_is_unavailable_after_some_tries(
        self, ssh_host: Sshd, opened: ExitStack, folder: Path, short_reconnects: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        store = opened.enter_context(closing(SshStore(f"ssh://127.0.0.1:{port}{folder}", ssh_host.behind(port))))
        with pytest.raises(Unavailable, match=r"does not answer.*Connect call failed"):
            list(store.fetch(TEN))
        assert caplog.text.count("trying again") == ssh_store.MAX_RECONNECTS

    def test_a_host_key_that_changed_is_refused_with_what_to_do(
        self, opened: ExitStack, store_at: Callable[..., SshStore], folder: Path, tmp_path: Path
    ) -> None:
        host = opened.enter_context(Sshd(tmp_path / "host"))
        store = store_at(folder, host)
        host.stop()
        host.new_host_key()
        host.start()
        with pytest.raises(ConfigurationError, match=r"The host key of .*127\.0\.0\.1 is not the one in .*ssh-keyscan"):
            list(store.fetch(TEN))

    def test_a_host_that_nobody_knows_is_refused_and_not_remembered(
        self, ssh_host: Sshd, opened: ExitStack, folder: Path, tmp_path: Path
    ) -> None:
        nobody = SshAccess(ssh_host.key, tmp_path / "none")
        url = f"ssh://{ssh_host.user}@127.0.0.1:{ssh_host.port}{folder}"
        store = opened.enter_context(closing(SshStore(url, nobody)))
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="host key"):
                list(store.fetch(TEN))
            (tmp_path / "none").touch()
        assert not (tmp_path / "none").read_text()

    def test_a_refused_login_names_the_account_and_the_setting(
        self, ssh_host: Sshd, opened: ExitStack, folder: Path, tmp_path: Path
    ) -> None:
        make_key(tmp_path / "other_key")
        other = SshAccess(tmp_path / "other_key", ssh_host.known_hosts)
        store = SshStore(f"ssh://somebody@127.0.0.1:{ssh_host.port}{folder}", other)
        with pytest.raises(ConfigurationError, match=r"somebody@127\.0\.0\.1 refused the login.*C4_STORE_SSH_KEY"):
            list(opened.enter_context(closing(store)).fetch(TEN))

    def test_a_key_that_is_missing_or_none_is_a_matter_of_configuration(
        self, ssh_host: Sshd, opened: ExitStack, folder: Path, tmp_path: Path
    ) -> None:
        access = SshAccess(tmp_path / "key", ssh_host.known_hosts)
        url = f"ssh://{ssh_host.user}@127.0.0.1:{ssh_host.port}{folder}"
        store = opened.enter_context(closing(SshStore(url, access)))
        with pytest.raises(ConfigurationError, match="There is no key"):
            list(store.fetch(TEN))
        (tmp_path / "key").write_text("no key")
        with pytest.raises(ConfigurationError, match="cannot be used as a key"):
            list(store.fetch(TEN))

    @pytest.mark.parametrize(
        "url",
        ["ssh://host", "ssh://host/", "ssh:///images", "ssh://host:x/images", "ssh://c4:hunter2@host/i", "ssh://h/i?x"],
    )
    def test_an_address_that_cannot_be_used_is_refused_without_showing_it(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"C4_STORE_URL.*ssh://\[user@\]host") as refused:
            SshStore(url, SshAccess())
        assert "hunter2" not in str(refused.value)


class TestGraph:
    """The asset graph over ssh."""

    def test_a_day_is_scored_over_ssh_and_the_connection_ends_with_its_step(
        self, facility: Facility, store_at: Callable[..., SshStore], proxy: DelayingProxy
    ) -> None:
        for plate in ("P1", "P2"):
            facility.add_plate(plate, {f"{seed}.jpg": photograph(seed) for seed in range(4)} | {"none.jpg": None})
        facility.resources["image_store"] = store_at(facility.images, port=proxy.port)
        facility.score()
        progress = facility.progress()
        assert (progress.scored, progress.retrying) == (8, 2)
        assert [line.ended for line in proxy.lines] == [True]

    def test_steps_of_many_runs_never_have_more_connections_than_the_pool_allows(
        self, facility: Facility, ssh_host: Sshd, proxy: DelayingProxy, tmp_path: Path
    ) -> None:
        """Three runs, a process each, share a pool of two; each takes long enough to meet the others."""
        days = [noon(number).date().isoformat() for number in range(1, 4)]
        for number in range(1, 4):
            name = f"{number}.jpg"
            facility.add_plate(f"P{number}", {name: photograph(number, (600, 500), "BMP")}, noon(number))
        proxy.bytes_a_second = 0.25 * MEGABYTE
        access = ssh_host.behind(proxy.port)
        environment = {
            **os.environ,
            "C4_HOME": str(facility.settings.home),
            "C4_STORE_URL": f"ssh://{ssh_host.user}@127.0.0.1:{proxy.port}{facility.images}",
            "C4_STORE_SSH_KEY": str(access.key),
            "C4_STORE_KNOWN_HOSTS": str(access.known_hosts),
            "DAGSTER_HOME": str(tmp_path / "dagster"),
        }
        (tmp_path / "dagster").mkdir()
        (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
            instance.event_log_storage.set_concurrency_slots("image_store", 2)
        runs = [sys.executable, "-m", "tests.runs_at_once", *days]
        done = subprocess.run(runs, env=environment, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(list(facility.settings.staging.rglob("*.arrow"))) == 3
        assert (len(proxy.lines), proxy.most_at_once) == (3, 2)
