"""Who speaks next, by the rules of DefaultPattern."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from contracts.ids import AgentName
from services.orchestrator.patterns import Finish, Next, Speaker, next_speaker
from services.orchestrator.workflows.spec import TERMINATE, USER, Agent, Workflow
from tests.story import (
    EDITOR,
    NEWSROOM,
    STARTED,
    WRITER,
    Story,
    done,
    given,
    heard,
    listens,
    speaks,
)

WROTE = given(STARTED, speaks(), done())


def rules(after: Mapping[AgentName, AgentName], **more: Any) -> Workflow:
    """The newsroom with these after-work rules."""
    agents = {name: Agent(name, "", after_work=after.get(name)) for name in (WRITER, EDITOR)}
    return replace(NEWSROOM, agents=agents, **more)


def follows(story: Story, workflow: Workflow = NEWSROOM) -> Next:
    return next_speaker(workflow, story.state)


def test_the_initial_agent_begins() -> None:
    assert follows(given(STARTED)) == Speaker(WRITER, "initial")
    assert follows(given(STARTED, heard("Hi"))) == Speaker(WRITER, "initial")


def test_the_person_begins_where_the_workflow_is_user_driven() -> None:
    workflow = replace(NEWSROOM, startup_mode="UserDriven")
    assert follows(given(STARTED), workflow) == Speaker(USER, "initial")


def test_who_was_waited_for_and_spoke_is_followed_by_the_initial_agent() -> None:
    workflow = replace(NEWSROOM, startup_mode="UserDriven")
    story = given(STARTED, speaks(USER), heard("Hi"))
    assert follows(story, workflow) == Speaker(WRITER, "user_message")


def test_after_work_says_who_follows() -> None:
    assert follows(WROTE) == Speaker(EDITOR, "after_work")


def test_a_handoff_goes_before_after_work() -> None:
    story = given(STARTED, speaks(), done(handoff=WRITER))
    assert follows(story) == Speaker(WRITER, "handoff")


def test_without_a_rule_the_conversation_ends() -> None:
    assert follows(WROTE, rules({})) == Finish("terminate")


def test_a_rule_may_say_that_it_ends() -> None:
    assert follows(WROTE, rules({WRITER: TERMINATE})) == Finish("terminate")


def test_an_agent_that_the_workflow_lost_is_followed_by_the_end() -> None:
    gone = replace(NEWSROOM, agents={EDITOR: NEWSROOM.agents[EDITOR]}, initial_agent=EDITOR)
    assert follows(WROTE, gone) == Finish("terminate")


def test_a_rule_may_give_the_person_the_word() -> None:
    assert follows(WROTE, rules({WRITER: USER})) == Speaker(USER, "after_work")


def test_a_handoff_may_give_the_person_the_word() -> None:
    story = given(STARTED, speaks(), done(handoff=USER))
    assert follows(story) == Speaker(USER, "handoff")


def test_after_the_person_whoever_they_spoke_with_goes_on() -> None:
    story = given(STARTED, speaks(EDITOR), done(agent=EDITOR), listens(2), heard("Hm"))
    assert follows(story) == Speaker(EDITOR, "user_message")


def test_after_the_person_their_own_rule_goes_first() -> None:
    story = given(STARTED, speaks(EDITOR), done(agent=EDITOR), listens(2), heard("Hm"))
    workflow = replace(NEWSROOM, after_user=WRITER)
    assert follows(story, workflow) == Speaker(WRITER, "user_message")


def test_the_persons_rule_may_end_it() -> None:
    story = WROTE.then(listens(2), heard("Bye"))
    assert follows(story, replace(NEWSROOM, after_user=TERMINATE)) == Finish("terminate")


def test_a_message_thrown_in_mid_turn_is_the_persons_turn() -> None:
    story = given(STARTED, speaks(), heard("Shorter!"), done())
    assert follows(story, rules({WRITER: USER})) == Speaker(WRITER, "user_message")


def test_a_message_thrown_in_mid_turn_changes_no_other_rule() -> None:
    story = given(STARTED, speaks(), heard("Shorter!"), done())
    assert follows(story) == Speaker(EDITOR, "after_work")


def test_max_turns_counts_agents_turns_and_ends_the_chat() -> None:
    circle = rules({WRITER: EDITOR, EDITOR: WRITER}, max_turns=2)
    assert follows(WROTE, circle) == Speaker(EDITOR, "after_work")
    twice = WROTE.then(speaks(EDITOR, 2, "after_work"), done(turn=2, agent=EDITOR))
    assert follows(twice, circle) == Finish("max_turns")


def test_the_persons_turns_do_not_count() -> None:
    chatty = rules({WRITER: USER}, max_turns=2)
    story = WROTE.then(listens(2), heard("More"))
    assert follows(story, chatty) == Speaker(WRITER, "user_message")


def test_at_max_turns_the_person_may_still_be_given_the_word_but_nobody_answers() -> None:
    chatty = rules({WRITER: USER}, max_turns=1)
    assert follows(WROTE, chatty) == Speaker(USER, "after_work")
    assert follows(WROTE.then(listens(2), heard("More")), chatty) == Finish("max_turns")


def test_a_conversation_that_ends_at_max_turns_ended_as_it_was_meant_to() -> None:
    assert follows(WROTE, rules({}, max_turns=1)) == Finish("terminate")
