"""``--json`` of a real domain says what the tables say."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import Bench, Writer

pytestmark = pytest.mark.libvirt


def test_json_and_the_tables_agree(bench: Bench, pv: Writer) -> None:
    pv(vif=["mac=00:16:3e:01:02:03,bridge=xenbr0"])
    assert bench.xm("create", "-p", "-q", "web1.cfg").status == 0

    def said(*words: str) -> dict[str, list[dict[str, object]]]:
        outcome = bench.xm(*words, "--json")
        assert (outcome.stderr, outcome.status) == ("", 0)
        document: dict[str, list[dict[str, object]]] = json.loads(outcome.stdout)
        return document

    row = bench.xm("list", "web1").stdout.splitlines()[1].split()
    (domain,) = said("list", "web1")["domains"]
    assert [domain["name"], str(domain["id"]), domain["vcpus"], domain["letters"]] == [row[0], row[1], int(row[3]), row[4]]
    assert isinstance(domain["memory_kib"], int)
    assert domain["memory_kib"] // 1024 == int(row[2])
    assert domain["state"] == "paused"
    numbers = [line.split()[0] for line in bench.xm("block-list", "web1").stdout.splitlines()[1:]]
    assert numbers
    assert [str(device["number"]) for device in said("block-list", "web1")["devices"]] == numbers
    assert [device["mac"] for device in said("network-list", "web1")["devices"]] == ["00:16:3e:01:02:03"]
    weights = bench.xm("sched-credit", "-d", "web1").stdout.splitlines()[1].split()
    assert str(said("sched-credit", "-d", "web1")["domains"][0]["weight"]) == weights[2]
