"""What a signal leaves behind that comes in the middle of something, and raises."""

import socket

from gevent import get_hub

from manyhands.engines.fibers.poller import Channel, Poller
from tests.support import run_python


def test_a_listener_is_waited_for_again_though_a_signal_kept_its_channel_from_closing() -> None:
    reader, writer = socket.socketpair()
    poller = Poller(get_hub())
    with reader, writer:
        left_behind = Channel(poller, reader.fileno())
        anew = Channel(poller, reader.fileno())
        for channel in (left_behind, anew):
            channel.give_up()
        assert poller.wait_any([left_behind], 0) == []
        writer.send(b"hello")
        assert poller.wait_any([anew], 5) == [reader.fileno()]
        anew.close()
    poller.close()


def test_a_hub_thread_ends_though_a_signal_comes_as_it_clears_away() -> None:
    assert run_python(
        """
        from gevent import monkey
        monkey.patch_all()
        from manyhands.engines.fibers.hub_thread import HubThread

        import signal

        class Interrupted:
            count = 0
            def close(self):
                self.count += 1
                signal.raise_signal(signal.SIGINT)

        interrupted = Interrupted()
        hub_thread = HubThread(lambda hub_thread: interrupted)
        try:
            hub_thread.release()
            hub_thread.end_if_unused()
        except KeyboardInterrupt:
            print("interrupted")
        hub_thread.end_if_unused()
        print("ended", interrupted.count, hub_thread.poller.is_open)
        """
    ).split("\n")[:2] == ["interrupted", "ended 1 False"]
