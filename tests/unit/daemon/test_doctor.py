"""What the doctor takes for open to others."""

import grp
import os
import pwd
import stat
from collections.abc import Callable
from typing import NamedTuple

import pytest

from meterline_sidecar.daemon.doctor import is_ours_alone

GROUP = 10_001


class User(NamedTuple):
    pw_uid: int
    pw_gid: int


class Group(NamedTuple):
    gr_mem: list[str]


def known(members: list[str]) -> Callable[[int], Group]:
    return lambda _gid: Group(members)


def a_volume(*, owner: int = 0, group: int = GROUP) -> os.stat_result:
    return os.stat_result((stat.S_IFDIR | 0o2775, 0, 0, 1, owner, group, 0, 0, 0, 0))


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: GROUP)
    monkeypatch.setattr(os, "getegid", lambda: GROUP)
    users = [User(0, 0), User(GROUP, GROUP)]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(grp, "getgrgid", known([]))


def test_a_volume_of_roots_is_ours_alone_where_nobody_else_is_of_its_group() -> None:
    assert is_ours_alone(a_volume())


def test_it_is_also_where_the_group_has_no_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_name(gid: int) -> Group:
        raise KeyError(gid)

    monkeypatch.setattr(grp, "getgrgid", no_name)

    assert is_ours_alone(a_volume())


def test_it_is_not_where_others_are_of_the_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grp, "getgrgid", known(["www-data"]))
    of_a_member = is_ours_alone(a_volume())
    monkeypatch.setattr(grp, "getgrgid", known([]))
    monkeypatch.setattr(pwd, "getpwall", lambda: [User(33, GROUP)])

    assert not of_a_member
    assert not is_ours_alone(a_volume())


def test_what_is_another_users_or_of_another_group_is_not() -> None:
    assert not is_ours_alone(a_volume(owner=33))
    assert not is_ours_alone(a_volume(group=33))
