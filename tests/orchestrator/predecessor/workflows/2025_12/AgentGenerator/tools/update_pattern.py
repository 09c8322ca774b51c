"""Adds the patterns to a prompt."""

from autogen import ConversableAgent


def inject_patterns(agent: ConversableAgent, messages: list[dict]) -> None:
    agent.update_system_message(agent.system_message + "\nPatterns: Pipeline, Star.")
