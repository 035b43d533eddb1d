"""Hosts by their names in ~/.ssh/config: aliases with ports, jump hosts, and messages that name the right host."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from resources.errors import ConfigurationError, Unavailable
from resources.executors.slurm.transport import SshTransport
from resources.image_store import open_image_store
from resources.ssh import SshAccess
from resources.ssh_hosts import Asked, way_to
from testing.sshd import Sshd

WriteConfig = Callable[[str], None]


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ``.ssh`` of a home in which there is nothing else."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".ssh").mkdir(parents=True, mode=0o700)
    return tmp_path / "home" / ".ssh"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sshd, Sshd]]:
    """A host and a jump host, which the same key opens."""
    folder = tmp_path_factory.mktemp("hosts")
    with Sshd(folder / "host") as host, Sshd(folder / "jump") as jump:
        shutil.copy(host.key.with_suffix(".pub"), jump.folder / "authorized_keys")
        yield host, jump


def entry(name: str, host: Sshd, *lines: str) -> str:
    own = (f"HostName {host.host}", f"Port {host.port}", f"User {host.user}", f"IdentityFile {host.key}")
    return "\n ".join((f"Host {name}", *own, *lines)) + "\n"


def who(host: str, port: int | None, access: SshAccess) -> str:
    """Who C4 is on a host, by its login node's transport."""
    transport = SshTransport(host, None, port, access)
    try:
        return transport.run(["id", "-un"]).out.strip()
    finally:
        transport.close()


def test_the_port_of_an_alias_counts_for_login_node_and_image_store(
    user_folder: Path, hosts: tuple[Sshd, Sshd], tmp_path: Path
) -> None:
    host, _ = hosts
    (user_folder / "config").write_text(entry("Storage", host))
    access = SshAccess(None, host.known_hosts)
    assert who("Storage", None, access) == host.user
    assert who("Storage", host.port, access) == host.user
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"image")
    for scheme in ("ssh", "sftp"):
        with closing(open_image_store(f"{scheme}://Storage{tmp_path}/images", access)) as store:
            assert [image.data for image in store.fetch(["a.jpg"])] == [b"image"]


@pytest.mark.parametrize("place", ["setting", "own"])
def test_a_jump_hosts_key_may_stand_in_either_file(
    user_folder: Path, hosts: tuple[Sshd, Sshd], tmp_path: Path, place: str
) -> None:
    host, jump = hosts
    config = entry("storage", host, "ProxyJump jump").replace(f" IdentityFile {host.key}\n", "")
    # The jump host has no key of its own in the file: that of the setting is offered to it as well.
    (user_folder / "config").write_text(config + f"Host jump\n HostName {jump.host}\n Port {jump.port}\n")
    setting = tmp_path / "known_hosts"
    setting.write_text(host.known_as(host.port))
    with (setting if place == "setting" else user_folder / "known_hosts").open("a") as file:
        file.write(jump.known_as(jump.port))
    assert who("storage", None, SshAccess(host.key, setting)) == host.user


def test_an_unknown_jump_host_is_named_with_its_files_and_not_the_host_behind_it(
    user_folder: Path, hosts: tuple[Sshd, Sshd]
) -> None:
    host, jump = hosts
    (user_folder / "config").write_text(entry("storage", host, "ProxyJump jump") + entry("jump", jump))
    (user_folder / "known_hosts").touch()
    with pytest.raises(ConfigurationError) as refused:
        who("storage", None, SshAccess(host.key, host.known_hosts))
    said = str(refused.value)
    assert f"The host key of jump is not the one in {host.known_hosts} or {user_folder}/known_hosts" in said
    assert f"ssh-keyscan -p {jump.port} {jump.host}" in said
    assert "storage" not in said


def test_an_unknown_host_behind_a_jump_host_is_named_by_its_address_as_the_jump_host_sees_it(
    user_folder: Path, hosts: tuple[Sshd, Sshd]
) -> None:
    host, jump = hosts
    (user_folder / "config").write_text(
        entry("storage", host, "ProxyJump jump") + entry("jump", jump).replace(str(jump.key), str(host.key))
    )
    (user_folder / "known_hosts").write_text(jump.known_as(jump.port))
    with pytest.raises(ConfigurationError) as refused:
        who("storage", None, SshAccess())
    assert f"The host key of storage is not the one in {user_folder}/known_hosts" in str(refused.value)
    assert f"(on jump: ssh-keyscan -p {host.port} {host.host})" in str(refused.value)


def test_a_jump_host_that_refuses_the_login_or_is_away_is_named(
    user_folder: Path, hosts: tuple[Sshd, Sshd], tmp_path: Path
) -> None:
    host, jump = hosts
    known = tmp_path / "known_hosts"
    known.write_text(host.known_as(host.port) + jump.known_as(jump.port))
    access = SshAccess(host.key, known)
    # Its own key is not among its authorized keys, which are the host's.
    (user_folder / "config").write_text(entry("storage", host, "ProxyJump jump") + entry("jump", jump))
    with pytest.raises(ConfigurationError, match=r"jump refused the login.*\(Host jump\)"):
        who("storage", None, access)
    (user_folder / "config").write_text(
        entry("storage", host, "ProxyJump jump") + f"Host jump\n HostName {jump.host}\n Port 1\n"
    )
    with pytest.raises(Unavailable, match=r"jump cannot be reached by ssh"):
        who("storage", None, access)


def test_a_name_of_its_own_for_the_host_key_is_looked_up_and_said(
    user_folder: Path, hosts: tuple[Sshd, Sshd], tmp_path: Path
) -> None:
    host, other = hosts
    (user_folder / "config").write_text(entry("storage", host, "HostKeyAlias the-store"))
    known = tmp_path / "known_hosts"
    known.write_text(other.known_as(other.port))
    with pytest.raises(ConfigurationError, match="add it, under the name the-store"):
        who("storage", None, SshAccess(None, known))
    known.write_text(f"the-store {(host.folder / 'host_key.pub').read_text()}")
    assert who("storage", None, SshAccess(None, known)) == host.user


def test_the_users_own_configuration_cannot_switch_the_check_of_host_keys_off(
    user_folder: Path, hosts: tuple[Sshd, Sshd]
) -> None:
    host, _ = hosts
    (user_folder / "config").write_text(entry("storage", host, "UserKnownHostsFile none", "StrictHostKeyChecking no"))
    with pytest.raises(ConfigurationError, match="The host key of storage is not the one in"):
        who("storage", None, SshAccess())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("Host *\n ProxyJump jump\n", "more than 8 jump hosts"),
        ("Host storage\n ProxyJump jump:many\n", "ProxyJump of storage in ~/.ssh/config cannot be used"),
        ("Host storage\n Port many\n", "~/.ssh/config cannot be used for storage"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(user_folder: Path, config: str, said: str) -> None:
    (user_folder / "config").write_text(config)
    with pytest.raises(ConfigurationError, match=said):
        way_to(Asked("storage"))


def test_a_file_of_host_keys_that_cannot_be_read_is_named(
    user_folder: Path, hosts: tuple[Sshd, Sshd], tmp_path: Path
) -> None:
    host, _ = hosts
    known = tmp_path / "known_hosts"
    known.write_text("one-word\n")
    with pytest.raises(ConfigurationError, match=f"The host keys in {known} cannot be read"):
        who(host.host, host.port, SshAccess(host.key, known))


def test_several_jump_hosts_come_one_after_the_other(user_folder: Path) -> None:
    (user_folder / "config").write_text(
        "Host storage\n ProxyJump me@a:2222,[::1]:22\nHost a\n ProxyJump outer\n HostName a.example.org\n"
    )
    way = way_to(Asked("storage"))
    assert [(hop.asked.name, hop.address, hop.port, hop.behind) for hop in way] == [
        ("outer", "outer", 22, ""),
        ("me@a", "a.example.org", 2222, "outer"),
        ("::1", "::1", 22, "me@a"),
        ("storage", "storage", 22, "::1"),
    ]
