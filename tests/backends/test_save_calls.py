"""A save that is given up: whoever asks for its end waits until the call is over."""

from __future__ import annotations

import threading

import pytest

from xmcompat.backends.call_thread import Call
from xmcompat.backends.libvirt_save_calls import LibvirtSaveJob
from xmcompat.errors import ConnectionLost, HypervisorUnreachable


@pytest.mark.parametrize("failure", [HypervisorUnreachable("no libvirtd"), ConnectionLost("gone")], ids=["no", "lost"])
def test_one_that_cannot_be_given_up_is_waited_for(failure: HypervisorUnreachable) -> None:
    end, asked = threading.Event(), 0

    def give_up() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            end.set()
        raise failure

    def save() -> None:
        assert end.wait(30.0)
        raise ConnectionLost("the connection of the call itself")

    job = LibvirtSaveJob(Call(save), give_up)
    job.abort()
    assert asked == 2
    assert job.ended(0.0)
    with pytest.raises(ConnectionLost, match="of the call itself"):
        job.result()


def test_the_result_of_one_that_goes_on_is_not_taken_for_a_success() -> None:
    end = threading.Event()
    call = Call(lambda: end.wait(30.0))
    with pytest.raises(AssertionError, match="the call is not over"):
        call.result()
    end.set()
    assert call.ended(30.0)
    call.result()
