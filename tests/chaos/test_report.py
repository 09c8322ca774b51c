from tests.chaos.audit import Violation
from tests.chaos.facts import Collected, Done
from tests.chaos.report import details, not_done, table, violations_by_kind
from tests.chaos.schedule import Fault

KILL, STORM = Fault(1, 0.5, "kill service", "metrics"), Fault(2, 1.5, "viewer storm", "transport-1")
DONE = (
    Done(KILL, "metrics", 7, 100.0, 100.1, chats=4),
    Done(STORM, "transport-1", 0, 101.0, 101.1, chats=2, trouble="nobody listens"),
)


def test_the_table_has_the_planned_and_done_faults_and_the_seed() -> None:
    lines = table(42, [KILL, STORM], Collected(done=DONE)).splitlines()
    assert lines[0] == "seed 42"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:6]]
    assert cells == [
        ["kill service", "1", "1", "4.0"],
        ["viewer storm", "1", "0", "0.0"],
        ["all", "2", "1", "4.0"],
    ]


def test_violations_are_counted_by_kind_and_the_first_of_each_are_shown() -> None:
    found = [Violation("pending chat", f"a/{n}", "RunTurn") for n in range(25)]
    found.append(Violation("dead letter", "b", "given up"))
    assert violations_by_kind(found).split() == [
        *("violations:", "26", "pending", "chat", "25", "dead", "letter", "1")
    ]
    assert len(details(found).splitlines()) == 11
    assert "dead letter: b: given up" in details(found)
    assert violations_by_kind([]) == "violations: 0"


def test_faults_that_could_not_be_made_are_named_with_their_reason() -> None:
    assert not_done(DONE) == "not done: fault 2 (viewer storm, transport-1): nobody listens"
