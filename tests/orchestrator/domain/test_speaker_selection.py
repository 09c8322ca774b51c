"""The next speaker, by rules and by pattern."""

import math
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
from services.orchestrator.domain.speaker_selection import (
    MAX_SELECTION_ATTEMPTS,
    Finish,
    HandoffCycle,
    Next,
    Speaker,
    TurnLimit,
    next_speaker,
    turn_limit,
)
from services.orchestrator.domain.state import pending
from services.orchestrator.domain.turn import UserInput
from services.orchestrator.domain.turn_steps import Completed
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


def test_the_user_begins_if_the_workflow_is_user_driven() -> None:
    workflow = replace(NEWSROOM, startup_mode="UserDriven")
    assert follows(given(STARTED), workflow) == Speaker(USER, "initial")


def test_the_users_first_message_is_followed_by_the_initial_agent() -> None:
    workflow = replace(NEWSROOM, startup_mode="UserDriven")
    story = given(STARTED, speaks(USER), heard("Hi"))
    assert follows(story, workflow) == Speaker(WRITER, "user_message")


def test_after_work_decides_who_follows() -> None:
    assert follows(WROTE) == Speaker(EDITOR, "after_work")


def test_a_handoff_takes_precedence_over_after_work() -> None:
    story = given(STARTED, speaks(), done(handoff=WRITER))
    assert follows(story) == Speaker(WRITER, "handoff")


def test_without_a_rule_the_conversation_ends() -> None:
    assert follows(WROTE, rules({})) == Finish("terminate")


def test_a_rule_may_end_the_conversation() -> None:
    assert follows(WROTE, rules({WRITER: TERMINATE})) == Finish("terminate")


def test_the_conversation_ends_after_an_agent_that_is_no_longer_in_the_workflow() -> None:
    gone = replace(NEWSROOM, agents={EDITOR: NEWSROOM.agents[EDITOR]}, initial_agent=EDITOR)
    assert follows(WROTE, gone) == Finish("terminate")


def test_a_rule_may_hand_over_to_the_user() -> None:
    assert follows(WROTE, rules({WRITER: USER})) == Speaker(USER, "after_work")


def test_a_handoff_may_hand_over_to_the_user() -> None:
    story = given(STARTED, speaks(), done(handoff=USER))
    assert follows(story) == Speaker(USER, "handoff")


def test_after_the_user_the_last_agent_continues() -> None:
    story = given(STARTED, speaks(EDITOR), done(agent=EDITOR), listens(2), heard("Hm"))
    assert follows(story) == Speaker(EDITOR, "user_message")


def test_after_the_user_the_rule_of_the_user_applies_first() -> None:
    story = given(STARTED, speaks(EDITOR), done(agent=EDITOR), listens(2), heard("Hm"))
    workflow = replace(NEWSROOM, after_user=WRITER)
    assert follows(story, workflow) == Speaker(WRITER, "user_message")


def test_a_rule_of_the_user_may_end_the_conversation() -> None:
    story = WROTE.then(listens(2), heard("Bye"))
    assert follows(story, replace(NEWSROOM, after_user=TERMINATE)) == Finish("terminate")


def test_a_message_during_a_turn_counts_as_the_users_turn() -> None:
    story = given(STARTED, speaks(), heard("Shorter!"), done())
    assert follows(story, rules({WRITER: USER})) == Speaker(WRITER, "user_message")


def test_a_message_during_a_turn_changes_no_other_rule() -> None:
    story = given(STARTED, speaks(), heard("Shorter!"), done())
    assert follows(story) == Speaker(EDITOR, "after_work")


def test_max_turns_counts_agents_turns_and_ends_the_chat() -> None:
    circle = rules({WRITER: EDITOR, EDITOR: WRITER}, max_turns=2)
    assert follows(WROTE, circle) == Speaker(EDITOR, "after_work")
    twice = WROTE.then(speaks(EDITOR, 2, "after_work"), done(turn=2, agent=EDITOR))
    assert follows(twice, circle) == Finish("max_turns")


def test_the_users_turns_do_not_count() -> None:
    chatty = rules({WRITER: USER}, max_turns=2)
    story = WROTE.then(listens(2), heard("More"))
    assert follows(story, chatty) == Speaker(WRITER, "user_message")


def test_after_max_turns_the_user_may_still_have_a_turn_but_no_agent_answers() -> None:
    chatty = rules({WRITER: USER}, max_turns=1)
    assert follows(WROTE, chatty) == Speaker(USER, "after_work")
    assert follows(WROTE.then(listens(2), heard("More")), chatty) == Finish("max_turns")


def turns_of_agents(count: int) -> Story:
    """The writer and the editor have taken turns."""
    story = given(STARTED)
    for number in range(1, count + 1):
        agent = WRITER if number % 2 else EDITOR
        story = story.then(speaks(agent, number, "after_work"), done(turn=number, agent=agent))
    return story


def circle(max_turns: int) -> Workflow:
    """Two agents that hand over to each other, with a user."""
    return rules({WRITER: EDITOR, EDITOR: WRITER}, max_turns=max_turns, human_in_the_loop=True)


def test_with_a_user_the_chat_waits_at_max_turns_for_a_message_and_goes_on_as_long_again() -> None:
    workflow = circle(max_turns=2)
    waiting = turns_of_agents(2)
    assert follows(waiting, workflow) == Speaker(USER, "max_turns")
    answered = waiting.then(listens(3), heard("Go on"))
    assert follows(answered, workflow) == Speaker(EDITOR, "user_message")
    once = answered.then(speaks(EDITOR, 4), done(turn=4, agent=EDITOR))
    assert follows(once, workflow) == Speaker(WRITER, "after_work")
    twice = once.then(speaks(WRITER, 5), done(turn=5, agent=WRITER))
    assert follows(twice, workflow) == Speaker(USER, "max_turns")


def test_a_message_during_the_last_turn_lets_the_chat_go_on() -> None:
    workflow = circle(max_turns=1)
    story = given(STARTED, speaks(), heard("And shorter!"), done())
    assert follows(story, workflow) == Speaker(EDITOR, "after_work")


@pytest.mark.parametrize("pattern", ["AutoPattern", "RandomPattern", "RoundRobinPattern"])
def test_no_pattern_ends_a_chat_with_a_user_at_max_turns(pattern: Pattern) -> None:
    workflow = replace(circle(max_turns=1), pattern=pattern, agents=rules({}).agents)
    assert follows(WROTE, workflow) == Speaker(USER, "max_turns")
    answered = WROTE.then(listens(2), heard("Go on"))
    assert isinstance(speaker := follows(answered, workflow), Speaker)
    assert speaker.agent != USER


@for_all(st.integers(1, 60), st.integers(0, 130))
@settings(max_examples=60)
def test_a_user_is_warned_once_within_max_turns(limit: int, turns: int) -> None:
    workflow = circle(limit)
    state = replace(given(STARTED).state, agent_turns=turns)
    warned = turn_limit(workflow, state, Speaker(WRITER, "after_work"))
    is_due = (turns % limit) + 1 == math.ceil(limit * 0.8)
    assert warned == (TurnLimit(turns + 1, waits=False) if is_due else None)
    assert (
        turn_limit(replace(workflow, human_in_the_loop=False), state, Speaker(WRITER, "random"))
        is None
    )
    assert turn_limit(workflow, state, Speaker(USER, "after_work")) is None


def test_a_conversation_that_ends_by_a_rule_at_max_turns_has_the_rules_reason() -> None:
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


def test_conditional_rules_apply_in_order_before_the_unconditional_one() -> None:
    workflow = having(
        trio(),
        WRITER,
        after_work_if=(when("${a}", CRITIC), when("${b}", USER)),
        after_work=EDITOR,
    )
    assert follows(WROTE, workflow) == Speaker(EDITOR, "after_work")
    assert follows(knowing(WROTE, b=1), workflow) == Speaker(USER, "after_work")
    assert follows(knowing(WROTE, a=1, b=1), workflow) == Speaker(CRITIC, "after_work")


def test_a_handoff_takes_precedence_over_conditional_rules() -> None:
    workflow = having(trio(), WRITER, after_work_if=(when("True", CRITIC),))
    story = given(STARTED, speaks(), done(handoff=EDITOR))
    assert follows(story, workflow) == Speaker(EDITOR, "handoff")


def test_a_conditional_rule_may_end_the_conversation() -> None:
    workflow = having(trio("RoundRobinPattern"), WRITER, after_work_if=(when("${ok}", TERMINATE),))
    assert follows(WROTE, workflow) == Speaker(EDITOR, "round_robin")
    assert follows(knowing(WROTE, ok=True), workflow) == Finish("terminate")


def test_a_before_reply_rule_redirects_the_turn() -> None:
    workflow = having(trio(), WRITER, before_reply=(when("${done}", EDITOR),))
    assert follows(given(STARTED), workflow) == Speaker(WRITER, "initial")
    story = knowing(given(STARTED), done=True)
    assert follows(story, workflow) == Speaker(EDITOR, "before_reply")
    on = having(workflow, EDITOR, before_reply=(when("${done}", USER),))
    assert follows(story, on) == Speaker(USER, "before_reply")
    over = having(workflow, EDITOR, before_reply=(when("${done}", TERMINATE),))
    assert follows(story, over) == Finish("terminate")


def test_a_before_reply_rule_to_the_same_agent_has_no_effect() -> None:
    workflow = having(trio(), WRITER, before_reply=(when("True", WRITER), when("True", EDITOR)))
    assert follows(given(STARTED), workflow) == Speaker(WRITER, "initial")


def test_a_cycle_of_before_reply_rules_fails_the_chat() -> None:
    workflow = having(trio(), WRITER, before_reply=(when("True", EDITOR),))
    workflow = having(workflow, EDITOR, before_reply=(when("True", CRITIC),))
    workflow = having(workflow, CRITIC, before_reply=(when("True", EDITOR),))
    assert follows(given(STARTED), workflow) == HandoffCycle((WRITER, EDITOR, CRITIC, EDITOR))
    (*_, failed) = given().under(workflow).when(start())
    assert failed.type == "chat.failed"
    assert "Writer → Editor → Critic → Editor" in str(failed)


def test_after_the_user_conditional_rules_apply_first() -> None:
    workflow = trio(after_user_if=(when("${edit}", EDITOR),), after_user=CRITIC)
    story = WROTE.then(listens(2), heard("Hm"))
    assert follows(story, workflow) == Speaker(CRITIC, "user_message")
    assert follows(knowing(story, edit=1), workflow) == Speaker(EDITOR, "user_message")


# -- round robin and random --------------------------------------------------------------------------


def played(workflow: Workflow, turns: int, seed: int = 7) -> list[AgentName]:
    """The speakers of the first turns, each with one reply."""
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


def test_round_robin_follows_the_order_of_the_manifest() -> None:
    order = played(trio("RoundRobinPattern", initial_agent=EDITOR), 5)
    assert order == [EDITOR, CRITIC, WRITER, EDITOR, CRITIC]


def test_round_robin_continues_after_the_user() -> None:
    story = WROTE.then(listens(2), heard("Hm"))
    assert follows(story, trio("RoundRobinPattern")) == Speaker(EDITOR, "round_robin")


def test_round_robin_starts_again_after_an_agent_that_is_no_longer_in_the_workflow() -> None:
    lost = AgentName("Lost")
    story = given(STARTED, speaks(lost), done(agent=lost))
    assert follows(story, trio("RoundRobinPattern")) == Speaker(WRITER, "round_robin")


@settings(deadline=None, max_examples=25)
@for_all(st.integers(0, 2**32 - 1))
def test_random_never_picks_the_same_agent_twice_in_a_row_and_a_replay_picks_the_same(
    seed: int,
) -> None:
    workflow = trio("RandomPattern")
    drawn = played(workflow, 12, seed)
    assert all(one != other for one, other in pairwise(drawn))
    assert drawn == played(workflow, 12, seed)


def test_random_picks_every_agent_and_depends_on_the_seed() -> None:
    rounds = [played(trio("RandomPattern"), 12, seed) for seed in range(5)]
    assert all(set(drawn) == {WRITER, EDITOR, CRITIC} for drawn in rounds)
    assert len({tuple(drawn) for drawn in rounds}) > 1


@pytest.mark.parametrize("pattern", ["RoundRobinPattern", "RandomPattern", "AutoPattern"])
def test_a_single_agent_continues(pattern: Pattern) -> None:
    alone = replace(trio(pattern), agents={WRITER: Agent(WRITER, "")})
    assert played(alone, 3) == [WRITER] * 3


@pytest.mark.parametrize("pattern", ["RoundRobinPattern", "RandomPattern", "AutoPattern"])
def test_rules_take_precedence_over_the_pattern(pattern: Pattern) -> None:
    assert follows(WROTE, having(trio(pattern), WRITER, after_work=TERMINATE)) == Finish(
        "terminate"
    )
    assert follows(WROTE, having(trio(pattern), WRITER, after_work=USER)) == Speaker(
        USER, "after_work"
    )


@pytest.mark.parametrize("pattern", ["RoundRobinPattern", "RandomPattern", "AutoPattern"])
def test_every_pattern_ends_at_max_turns(pattern: Pattern) -> None:
    assert follows(WROTE, trio(pattern, max_turns=1)) == Finish("max_turns")


# -- consecutive turns ------------------------------------------------------------------------------


def test_after_too_many_consecutive_turns_of_an_agent_it_is_the_users_turn() -> None:
    workflow = having(
        trio(human_in_the_loop=True), WRITER, after_work=WRITER, max_consecutive_auto_reply=2
    )
    assert follows(WROTE, workflow) == Speaker(WRITER, "after_work")
    twice = WROTE.then(speaks(turn=2, by="after_work"), done(turn=2))
    assert follows(twice, workflow) == Speaker(USER, "reply_limit")
    again = twice.then(listens(3), heard("Go on"))
    assert follows(again, workflow) == Speaker(WRITER, "user_message")


def test_without_human_in_the_loop_the_chat_ends_at_the_reply_limit() -> None:
    workflow = having(trio(), WRITER, after_work=WRITER, max_consecutive_auto_reply=1)
    assert follows(WROTE, workflow) == Finish("max_consecutive_auto_reply")
    said_meanwhile = given(STARTED, speaks(), heard("Shorter!"), done())
    assert follows(said_meanwhile, workflow) == Speaker(WRITER, "after_work")


def test_alternating_turns_are_not_consecutive() -> None:
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
    return known.then(*known.when(Completed(answer, None)))


def chosen(story: Story) -> tuple[AgentName, str]:
    turn = story.state.open_turn
    assert turn is not None
    return turn.agent, turn.by


def test_without_a_rule_the_selector_is_asked() -> None:
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
        '{"speaker": "Critic", "reason": "Writer has spoken"}',
        '{"who": "Critic"}',
        'The next one:\n```json\n{"next": "Critic"}\n```',
        "<think>Writer? No, Editor.</think> Critic",
        "Writer is not it.</think>\nCritic",
        "\ufeffCritic",
        "「Critic」",
        "下一个是Critic。",
        "\uff23ritic",
        "Critic\n\nThe Writer has finished, so the Editor can wait.",
        "The Writer has finished.\n\n**Critic**",
        "Next speaker: Critic\nReason: the Writer has finished",
        "Role = `Critic`\nWhy: Writer or Editor would repeat themselves.",
        '["Critic"]',
        '{"Next": "Critic", "Reason": "the Writer has finished"}',
        '{"selected_agent": "Critic", "reason": "Writer and Editor have spoken"}',
        '{"next_speaker": {"name": "Critic"}}',
        '{"result": {"choice": "critic", "confidence": 0.9, "notes": ["Writer is done"]}}',
        "@Critic",
        "Critic<|im_end|>",
        '<reasoning>Writer or Editor?</reasoning>\n{"next": "Critic"}',
    ],
)
def test_the_selector_may_write_a_name_in_many_ways(answer: str) -> None:
    assert chosen(answers(answer)) == (CRITIC, "auto")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Nobody",
        "Writer or Editor",
        '{"next": 1}',
        '{"a": "Critic", "b": "Writer"}',
        "Critic\nWriter",
        '["Critic", "Writer"]',
        '{"next": ["Nobody", {"reason": "Critic is tired"}]}',
        "Critics",
        "<think>Critic",
        "[" * 9999,
    ],
)
def test_an_answer_that_names_no_candidate_is_repeated_and_then_the_order_decides(
    answer: str,
) -> None:
    story = ASKED
    for _ in range(MAX_SELECTION_ATTEMPTS - 1):
        story = answers(answer, story)
        assert chosen(story) == (SELECTOR, "auto")
    assert chosen(answers(answer, story)) == (EDITOR, "fallback")


@pytest.mark.parametrize("name", ["Mr.", "editor", "[Editor]", "*", "Ed Itor", "Éd", "5"])
def test_any_name_is_recognised(name: str) -> None:
    odd = AgentName(name)
    agents = {**AUTO.agents, odd: Agent(odd, "")}
    assert chosen(answers(name, ASKED.under(replace(AUTO, agents=agents)))) == (odd, "auto")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("Senior_Engineer", r"Senior\_Engineer"),
        ("Senior_Engineer", "Next is the Senior Engineer."),
        ("Senior Engineer", "senior_engineer"),
        ("Senior Engineer", "SeniorEngineer"),
        ("Senior Engineer", "Next: senior-engineer"),
        ("Senior-Engineer", "Senior Engineer."),
        ("Senior-Engineer", "I pick the Senior\u2011Engineer."),
        ("Writer 2", "Writer 2"),
        ("Writer 2", "I choose Writer 2 now"),
        ("Writer 2", "writer2"),
        ("Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"),
        ("Gr\u00f6\u00dfe", "die GRO\u0308SSE, bitte"),
        ("\u5de5\u7a0b\u5e08", "\u4e0b\u4e00\u4e2a\u662f\u5de5\u7a0b\u5e08\u3002"),
    ],
)
def test_a_name_is_recognised_in_another_spelling_and_beside_a_shorter_one(
    name: str, answer: str
) -> None:
    odd = AgentName(name)
    agents = {**AUTO.agents, odd: Agent(odd, "")}
    assert chosen(answers(answer, ASKED.under(replace(AUTO, agents=agents)))) == (odd, "auto")


def test_a_name_with_two_possible_owners_is_nobodys() -> None:
    names = (AgentName("Dr_No"), AgentName("Dr No"))
    agents = {**AUTO.agents, **{name: Agent(name, "") for name in names}}
    story = ASKED.under(replace(AUTO, agents=agents))
    assert chosen(answers("I mean dr no.", story)) == (SELECTOR, "auto")
    assert chosen(answers("Dr No", story)) == (names[1], "auto")


def test_the_user_can_be_selected_only_with_human_in_the_loop() -> None:
    assert chosen(answers("user")) == (SELECTOR, "auto")
    assert chosen(answers("user", ASKED.under(replace(AUTO, human_in_the_loop=True)))) == (
        USER,
        "auto",
    )


def test_a_user_who_wrote_during_the_selection_has_had_the_turn() -> None:
    story = ASKED.under(replace(AUTO, human_in_the_loop=True)).then(heard("Me first!"))
    assert chosen(answers("user", story)) == (SELECTOR, "auto")
    assert chosen(answers("Critic", story)) == (CRITIC, "auto")
    assert answers("Critic", story).state.conversation[-1] == UserInput("Me first!")


def test_a_selector_that_always_names_the_user_still_waits_for_the_user() -> None:
    with_ana = ASKED.under(replace(AUTO, human_in_the_loop=True))
    after = answers("user", with_ana).then(say("Hm"))
    assert chosen(after) == (SELECTOR, "auto")
    assert chosen(answers("user", after)) == (USER, "auto")


def test_a_selection_does_not_count_as_a_turn() -> None:
    once = replace(AUTO, max_turns=2)
    story = answers("Critic", ASKED.under(once))
    assert story.state.agent_turns == 2
    assert chosen(story) == (CRITIC, "auto")
    over = story.then(done(turn=3, agent=CRITIC))
    assert next_speaker(once, over.state) == Finish("max_turns")


def test_limits_and_rules_apply_to_the_selected_agent() -> None:
    limited = having(AUTO, WRITER, max_consecutive_auto_reply=1)
    story = ASKED.under(limited).then(ModelResponded(turn=2, call=0, agent=SELECTOR, text="Writer"))
    (ended,) = story.when(Completed("Writer", None))
    assert ended.type == "chat.completed"
    redirected = ASKED.under(having(AUTO, WRITER, before_reply=(when("True", CRITIC),)))
    assert chosen(answers("Writer", redirected)) == (CRITIC, "before_reply")


def test_a_selection_fails_the_chat_if_the_workflow_is_not_available() -> None:
    (failed,) = ASKED.under(None).when(Completed("Critic", None))
    assert failed.type == "chat.failed"
