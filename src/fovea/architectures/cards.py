"""A card for every network: the nine questions that the lectures ask of each, answered in a line, each with its source.

The answers stand in `cards.json` by paper, that is by the file of `published/` in which the network stands; where a
variant differs from its paper's network, patterns of names override single answers. They follow the reference records:
what those have from memory, or not at all, says so here. Numbers of sections and figures are from memory throughout.
"""

from __future__ import annotations

import fnmatch
import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from fovea.architectures.catalogue import facts
from fovea.errors import UsageError

QUESTIONS = {
    "layers": "special layers?",
    "nonlinearity": "nonlinearity?",
    "loss": "loss?",
    "update": "update rule?",
    "speed": "what trains faster?",
    "parameters": "what reduces parameters?",
    "overfitting": "what reduces overfitting?",
    "seeing": "what helps to see?",
    "today": "what of it is still used today?",
}


class Answer(NamedTuple):
    """A line, and where it comes from: a section of the paper unless it says otherwise."""

    text: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """What there is to ask about one network; prints itself."""

    name: str
    title: str
    year: int
    paper: str
    idea: str
    idea_source: str
    answers: dict[str, Answer]  # by the short name of the question, in the order of QUESTIONS

    def __str__(self) -> str:
        lines = {"paper": self.paper, "idea": f"{self.idea} [{self.idea_source}]"}
        lines |= {QUESTIONS[asked]: f"{answer.text} [{answer.source}]" for asked, answer in self.answers.items()}
        width = max(map(len, lines))
        return "\n".join(
            [f"{self.name}: {self.title}, {self.year}", *(f"  {ask:<{width}}  {said}" for ask, said in lines.items())]
        )


def card(name: str) -> Card:
    """The card of one network of the catalogue.

    Raises:
        UsageError: no network is called so, or nobody has written a card for its paper yet.
    """
    known = facts(name)
    written = cards().get(known.family)
    if written is None:
        raise UsageError(f"{name} has no card; there are cards for the networks of {', '.join(cards())}")
    answers = dict(written["answers"])
    for pattern, others in written.get("networks", {}).items():
        if fnmatch.fnmatchcase(name, pattern):
            answers |= others
    return Card(
        name=name,
        title=known.title,
        year=known.year,
        paper=written["paper"],
        idea=known.idea,
        idea_source=known.source,
        answers={asked: Answer(*answers[asked]) for asked in QUESTIONS},
    )


@functools.cache
def cards() -> dict[str, dict[str, Any]]:
    """What is written, by paper: the paper, the answers, and the answers of variants by pattern of name."""
    text = resources.files("fovea.architectures").joinpath("cards.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found
