"""Who speaks next, by rules and by pattern."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from contracts.events.turn import SELECTOR, ModelResponded, VariablesChanged
from contracts.ids import AgentName
from services.orchestrator.patterns import (
    SELECTION_TRIES,
    Circle,
    Finish,
    Next,
    Speaker,
    next_speaker,
)
from services.orchestrator.state import Said, pending
from services.orchestrator.turns import Spoke
from services.orchestrator.workflows.expressions import parse
from services.orchestrator.workflows.spec import TERMINATE, USER, Agent, Pattern, Rule, Workflow
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
    say,
    speaks,
    start,
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


# -- rules with conditions ------------------------------------------------------------------------

CRITIC = AgentName("Critic")


def when(condition: str, target: AgentName) -> Rule:
    return Rule(target, parse(condition))


def trio(pattern: Pattern = "DefaultPattern", **more: Any) -> Workflow:
    """Writer, editor and critic, none of whom has a rule."""
    agents = {name: Agent(name, f"I am {name}.") for name in (WRITER, EDITOR, CRITIC)}
    return replace(NEWSROOM, agents=agents, pattern=pattern, **more)


def having(workflow: Workflow, name: AgentName, **rules_: Any) -> Workflow:
    """The workflow, with rules for one agent."""
    agents = {**workflow.agents, name: replace(workflow.agents[name], **rules_)}
    return replace(workflow, agents=agents)


def knowing(story: Story, **variables: Any) -> Story:
    return story.then(VariablesChanged(turn=1, agent=WRITER, changed=variables))


def test_conditional_rules_go_in_their_order_before_the_unconditional_one() -> None:
    workflow = having(
        trio(),
        WRITER,
        after_work_if=(when("${a}", CRITIC), when("${b}", USER)),
        after_work=EDITOR,
    )
    assert follows(WROTE, workflow) == Speaker(EDITOR, "after_work")
    assert follows(knowing(WROTE, b=1), workflow) == Speaker(USER, "after_work")
    assert follows(knowing(WROTE, a=1, b=1), workflow) == Speaker(CRITIC, "after_work")


def test_a_handoff_goes_before_conditional_rules() -> None:
    workflow = having(trio(), WRITER, after_work_if=(when("True", CRITIC),))
    story = given(STARTED, speaks(), done(handoff=EDITOR))
    assert follows(story, workflow) == Speaker(EDITOR, "handoff")


def test_a_conditional_rule_may_end_the_conversation() -> None:
    workflow = having(trio("RoundRobinPattern"), WRITER, after_work_if=(when("${ok}", TERMINATE),))
    assert follows(WROTE, workflow) == Speaker(EDITOR, "round_robin")
    assert follows(knowing(WROTE, ok=True), workflow) == Finish("terminate")


def test_before_its_reply_an_agent_may_give_the_word_on() -> None:
    workflow = having(trio(), WRITER, before_reply=(when("${done}", EDITOR),))
    assert follows(given(STARTED), workflow) == Speaker(WRITER, "initial")
    story = knowing(given(STARTED), done=True)
    assert follows(story, workflow) == Speaker(EDITOR, "before_reply")
    on = having(workflow, EDITOR, before_reply=(when("${done}", USER),))
    assert follows(story, on) == Speaker(USER, "before_reply")
    over = having(workflow, EDITOR, before_reply=(when("${done}", TERMINATE),))
    assert follows(story, over) == Finish("terminate")


def test_an_agent_that_gives_the_word_to_itself_keeps_it() -> None:
    workflow = having(trio(), WRITER, before_reply=(when("True", WRITER), when("True", EDITOR)))
    assert follows(given(STARTED), workflow) == Speaker(WRITER, "initial")


def test_agents_that_give_the_word_round_fail_the_chat_in_words() -> None:
    workflow = having(trio(), WRITER, before_reply=(when("True", EDITOR),))
    workflow = having(workflow, EDITOR, before_reply=(when("True", CRITIC),))
    workflow = having(workflow, CRITIC, before_reply=(when("True", EDITOR),))
    assert follows(given(STARTED), workflow) == Circle((WRITER, EDITOR, CRITIC, EDITOR))
    (*_, failed) = given().under(workflow).when(start())
    assert failed.type == "chat.failed"
    assert "Writer → Editor → Critic → Editor" in str(failed)


def test_after_the_person_conditional_rules_go_first() -> None:
    workflow = trio(after_user_if=(when("${edit}", EDITOR),), after_user=CRITIC)
    story = WROTE.then(listens(2), heard("Hm"))
    assert follows(story, workflow) == Speaker(CRITIC, "user_message")
    assert follows(knowing(story, edit=1), workflow) == Speaker(EDITOR, "user_message")


# -- in order and by lot --------------------------------------------------------------------------


def played(workflow: Workflow, turns: int, seed: int = 7) -> list[AgentName]:
    """Who speaks in the first turns, every one of them saying one thing."""
    story = given(STARTED.model_copy(update={"seed": seed}))
    spoke: list[AgentName] = []
    for turn in range(1, turns + 1):
        chosen = follows(story, workflow)
        assert isinstance(chosen, Speaker)
        spoke.append(chosen.agent)
        story = story.then(
            speaks(chosen.agent, turn, chosen.by), done(turn=turn, agent=chosen.agent)
        )
    return spoke


def test_in_round_robin_everyone_speaks_in_the_order_of_the_manifest() -> None:
    order = played(trio("RoundRobinPattern", initial_agent=EDITOR), 5)
    assert order == [EDITOR, CRITIC, WRITER, EDITOR, CRITIC]


def test_the_round_goes_on_after_the_person() -> None:
    story = WROTE.then(listens(2), heard("Hm"))
    assert follows(story, trio("RoundRobinPattern")) == Speaker(EDITOR, "round_robin")


def test_an_agent_that_the_round_lost_is_followed_by_the_first() -> None:
    lost = AgentName("Lost")
    story = given(STARTED, speaks(lost), done(agent=lost))
    assert follows(story, trio("RoundRobinPattern")) == Speaker(WRITER, "round_robin")


@settings(deadline=None, max_examples=25)
@for_all(st.integers(0, 2**32 - 1))
def test_by_lot_nobody_speaks_twice_running_and_every_replay_draws_the_same(seed: int) -> None:
    workflow = trio("RandomPattern")
    drawn = played(workflow, 12, seed)
    assert all(one != other for one, other in pairwise(drawn))
    assert drawn == played(workflow, 12, seed)


def test_by_lot_everyone_has_a_turn_and_seeds_differ() -> None:
    rounds = [played(trio("RandomPattern"), 12, seed) for seed in range(5)]
    assert all(set(drawn) == {WRITER, EDITOR, CRITIC} for drawn in rounds)
    assert len({tuple(drawn) for drawn in rounds}) > 1


@pytest.mark.parametrize("pattern", ["RoundRobinPattern", "RandomPattern", "AutoPattern"])
def test_who_is_alone_goes_on_alone(pattern: Pattern) -> None:
    alone = replace(trio(pattern), agents={WRITER: Agent(WRITER, "")})
    assert played(alone, 3) == [WRITER] * 3


@pytest.mark.parametrize("pattern", ["RoundRobinPattern", "RandomPattern", "AutoPattern"])
def test_rules_go_before_the_pattern(pattern: Pattern) -> None:
    assert follows(WROTE, having(trio(pattern), WRITER, after_work=TERMINATE)) == Finish(
        "terminate"
    )
    assert follows(WROTE, having(trio(pattern), WRITER, after_work=USER)) == Speaker(
        USER, "after_work"
    )


@pytest.mark.parametrize("pattern", ["RoundRobinPattern", "RandomPattern", "AutoPattern"])
def test_every_pattern_ends_at_max_turns(pattern: Pattern) -> None:
    assert follows(WROTE, trio(pattern, max_turns=1)) == Finish("max_turns")


# -- replies running ------------------------------------------------------------------------------


def test_an_agent_that_spoke_too_often_running_leaves_the_word_to_the_person() -> None:
    workflow = having(
        trio(human_in_the_loop=True), WRITER, after_work=WRITER, max_consecutive_auto_reply=2
    )
    assert follows(WROTE, workflow) == Speaker(WRITER, "after_work")
    twice = WROTE.then(speaks(turn=2, by="after_work"), done(turn=2))
    assert follows(twice, workflow) == Speaker(USER, "reply_limit")
    again = twice.then(listens(3), heard("Go on"))
    assert follows(again, workflow) == Speaker(WRITER, "user_message")


def test_without_a_person_the_chat_ends_there() -> None:
    workflow = having(trio(), WRITER, after_work=WRITER, max_consecutive_auto_reply=1)
    assert follows(WROTE, workflow) == Finish("max_consecutive_auto_reply")
    said_meanwhile = given(STARTED, speaks(), heard("Shorter!"), done())
    assert follows(said_meanwhile, workflow) == Speaker(WRITER, "after_work")


def test_who_speaks_in_turn_with_others_does_not_speak_running() -> None:
    workflow = trio("RoundRobinPattern")
    for name in workflow.agents:
        workflow = having(workflow, name, max_consecutive_auto_reply=1)
    assert len(played(workflow, 9)) == 9


# -- the selector ---------------------------------------------------------------------------------

AUTO = trio("AutoPattern")
ASKED = WROTE.under(AUTO).then(speaks(SELECTOR, 2, "auto"))


def answers(answer: str, story: Story = ASKED) -> Story:
    """The story with the selector's answer in it, and what follows."""
    turn = story.state.turns
    said = ModelResponded(turn=turn, call=0, agent=SELECTOR, text=answer)
    known = story.then(said)
    return known.then(*known.when(Spoke(answer, None)))


def chosen(story: Story) -> tuple[AgentName, str]:
    turn = story.state.open
    assert turn is not None
    return turn.agent, turn.by


def test_where_no_rule_says_who_a_selector_is_asked() -> None:
    assert follows(WROTE, AUTO) == Speaker(SELECTOR, "auto")
    assert follows(given(STARTED), AUTO) == Speaker(WRITER, "initial")
    assert pending(ASKED.state) is not None


@pytest.mark.parametrize(
    "answer",
    [
        "Critic",
        " critic\n",
        '{"next": "Critic"}',
        '"Critic"',
        "**Critic**",
        "[Critic]",
        "I think that Critic should go next.",
    ],
)
def test_the_selector_may_say_a_name_in_many_ways(answer: str) -> None:
    assert chosen(answers(answer)) == (CRITIC, "auto")


@pytest.mark.parametrize(
    "answer",
    ["", "Nobody", "Writer or Editor", '{"next": 1}', '{"who": "Critic"}', "Critics", "[" * 9999],
)
def test_an_answer_that_names_nobody_is_asked_for_again_and_then_the_order_decides(
    answer: str,
) -> None:
    story = ASKED
    for _ in range(SELECTION_TRIES - 1):
        story = answers(answer, story)
        assert chosen(story) == (SELECTOR, "auto")
    assert chosen(answers(answer, story)) == (EDITOR, "fallback")


@pytest.mark.parametrize("name", ["Mr.", "editor", "[Editor]", "*", "Ed Itor", "Éd", "5"])
def test_a_name_of_any_kind_is_found_as_it_is_written(name: str) -> None:
    odd = AgentName(name)
    agents = {**AUTO.agents, odd: Agent(odd, "")}
    assert chosen(answers(name, ASKED.under(replace(AUTO, agents=agents)))) == (odd, "auto")


def test_the_person_can_be_chosen_only_where_they_take_part() -> None:
    assert chosen(answers("user")) == (SELECTOR, "auto")
    assert chosen(answers("user", ASKED.under(replace(AUTO, human_in_the_loop=True)))) == (
        USER,
        "auto",
    )


def test_a_person_who_spoke_during_the_choice_has_had_their_turn() -> None:
    story = ASKED.under(replace(AUTO, human_in_the_loop=True)).then(heard("Me first!"))
    assert chosen(answers("user", story)) == (SELECTOR, "auto")
    assert chosen(answers("Critic", story)) == (CRITIC, "auto")
    assert answers("Critic", story).state.lines[-1] == Said("Me first!")


def test_a_selector_that_always_names_the_person_still_waits_for_them() -> None:
    with_ana = ASKED.under(replace(AUTO, human_in_the_loop=True))
    after = answers("user", with_ana).then(say("Hm"))
    assert chosen(after) == (SELECTOR, "auto")
    assert chosen(answers("user", after)) == (USER, "auto")


def test_a_choice_counts_as_nobodys_turn() -> None:
    once = replace(AUTO, max_turns=2)
    story = answers("Critic", ASKED.under(once))
    assert story.state.agent_turns == 2
    assert chosen(story) == (CRITIC, "auto")
    over = story.then(done(turn=3, agent=CRITIC))
    assert next_speaker(once, over.state) == Finish("max_turns")


def test_limits_and_rules_hold_for_who_was_chosen() -> None:
    limited = having(AUTO, WRITER, max_consecutive_auto_reply=1)
    story = ASKED.under(limited).then(ModelResponded(turn=2, call=0, agent=SELECTOR, text="Writer"))
    (ended,) = story.when(Spoke("Writer", None))
    assert ended.type == "chat.completed"
    redirected = ASKED.under(having(AUTO, WRITER, before_reply=(when("True", CRITIC),)))
    assert chosen(answers("Writer", redirected)) == (CRITIC, "before_reply")


def test_a_selection_whose_workflow_is_gone_fails_the_chat() -> None:
    (failed,) = ASKED.under(None).when(Spoke("Critic", None))
    assert failed.type == "chat.failed"
