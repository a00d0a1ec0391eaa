"""How often the server is asked for its connections, by a clock of the test's."""

from typing import Any

from manyhands.web.lists import IN_USE, LONGEST, SHARE, SHORTEST, UNSETTLED, Lists


class Looks:
    """Looks at a server, which take it some time; all that browsers ask for goes by the test's clock."""

    def __init__(self, takes: float) -> None:
        self.now = 1000.0
        self.takes = takes
        self.made = 0
        self.lists = Lists(lambda: self.now)

    def look(self) -> int:
        self.now += self.takes
        self.made += 1
        return self.made

    def asked(self, run: str = "a", **params: Any) -> int:
        answer: int = self.lists.get(run, params, self.look)
        return answer

    def over(self, seconds: float, *views: dict[str, Any]) -> int:
        """Have browsers ask for each of some views, again and again; return how many looks were made."""
        before, end = self.made, self.now + seconds
        while self.now < end:
            for view in views:
                self.asked(**view)
            self.now += 0.5
        return self.made - before


def test_browsers_that_show_the_same_have_one_look() -> None:
    looks = Looks(takes=0.0)
    assert [looks.asked(sort="id"), looks.asked(sort="id")] == [1, 1]
    assert looks.asked(sort="-id") == 2
    looks.now += SHORTEST
    assert looks.asked(sort="id") == 3


def test_the_looks_for_few_lists_take_the_server_half_a_hundredth_of_its_time() -> None:
    looks = Looks(takes=0.02)
    views: list[dict[str, Any]] = [{"sort": "id"}, {"sort": "-id"}, {"sort": "in"}]
    looks.over(60, *views)
    for shown in (views[:1], views):
        share = looks.over(600, *shown) * looks.takes / 600
        assert 0.8 / SHARE < share < 1.1 / SHARE


def test_many_lists_that_differ_cost_a_look_each_in_the_longest_time() -> None:
    looks = Looks(takes=0.033)
    views: list[dict[str, Any]] = [{"room": str(number)} for number in range(30)]
    looks.over(60, *views)
    assert 0.8 < looks.over(600, *views) / (30 * 600 / LONGEST) < 1.1


def test_a_list_is_never_very_old() -> None:
    looks = Looks(takes=5.0)
    looks.asked()
    looks.now += LONGEST
    assert looks.asked() == 2


def test_a_look_that_a_busy_machine_held_up_counts_for_little() -> None:
    looks = Looks(takes=0.0)
    looks.over(10, {})
    looks.takes = 1.0
    looks.over(3, {})
    looks.takes = 0.0
    assert looks.over(10, {}) >= 5


def test_a_view_that_no_browser_shows_any_more_counts_no_longer() -> None:
    looks = Looks(takes=0.05)
    looks.asked(sort="peer")
    looks.now += IN_USE + 1
    looks.asked(sort="id")
    looks.now += SHARE * looks.takes
    assert looks.asked(sort="id") == 3


def test_after_a_change_and_at_another_server_nothing_is_kept() -> None:
    looks = Looks(takes=0.05)
    assert looks.asked() == 1
    assert looks.asked(run="b") == 2
    looks.lists.forget()
    assert looks.asked() == 3
    # What was closed may still be there at the first look.
    looks.now += SHORTEST
    assert looks.asked() == 4
    looks.now += UNSETTLED
    assert looks.asked() == 5
    looks.now += SHORTEST
    assert looks.asked() == 5
