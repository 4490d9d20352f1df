"""The cards and the challenge's history: complete, sourced, in step with the catalogue."""

from __future__ import annotations

import fnmatch
import re

import pytest

from fovea.architectures.cards import QUESTIONS, card, cards
from fovea.architectures.catalogue import facts, list_architectures, published
from fovea.architectures.history import history

NAMES = list_architectures()


def of_family(family):
    return [known for known in published().values() if known.family == family]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_answers_the_nine_questions_in_a_line_each_with_its_source(name):
    found = card(name)
    assert list(found.answers) == list(QUESTIONS)
    assert len(QUESTIONS) == 9
    for answer in found.answers.values():
        for text in answer:
            assert text.strip() == text != ""
            assert "\n" not in text
            assert len(text) <= 250
    assert (found.idea, found.idea_source) == (facts(name).idea, facts(name).source)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_prints_a_line_for_each_question_with_idea_and_sources(name):
    found = card(name)
    lines = str(found).splitlines()
    assert lines[0].startswith(f"{name}: ")
    assert len(lines) == 3 + len(QUESTIONS)
    for line, (asked, answer) in zip(lines[3:], found.answers.items(), strict=True):
        assert line.startswith(f"  {QUESTIONS[asked]} ")
        assert line.endswith(f"{answer.text} [{answer.source}]")


@pytest.mark.parametrize("family", cards())
def test_there_is_no_card_and_no_variant_without_network(family):
    names = [known.name for known in of_family(family)]
    assert names
    for pattern, others in cards()[family].get("networks", {}).items():
        assert fnmatch.filter(names, pattern), f"{pattern} names no network of {family}"
        assert set(others) <= set(QUESTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_millions_on_a_card_are_counts_of_its_family(name):
    family = of_family(facts(name).family)
    counts = {n for known in family for n in (known.parameters, known.macs, *known.printed.values())}
    said = re.findall(r"\d{1,3}(?:,\d{3}){2,}", " ".join(answer.text for answer in card(name).answers.values()))
    assert {int(number.replace(",", "")) for number in said} <= counts


def test_variants_differ_where_they_must():
    assert "radial basis" in card("lenet5_1998").answers["layers"].text
    assert card("lenet5").answers["nonlinearity"].text.startswith("ReLU")
    assert card("lenet5_book").answers["nonlinearity"].text == "sigmoid"
    assert card("lenet5").answers["today"] == card("lenet5_1998").answers["today"]


def test_what_is_not_stated_or_from_memory_is_said_so():
    assert "not stated; Caffe's replication" in card("googlenet").answers["update"].text
    assert "from memory" in card("lenet5_1998").answers["update"].source
    assert "not stated" in card("zfnet").answers["update"].text


def test_the_history_has_every_year_and_its_errors_fall():
    years = history().years
    assert [each.year for each in years] == list(range(2010, 2018))
    errors = [each.error.value for each in years]
    assert errors == sorted(errors, reverse=True)
    assert all(each.error.value <= each.runner_up_error.value for each in years)


def test_every_figure_of_the_history_has_a_source_and_memory_is_marked():
    known = history()
    figures = [*known.data.values(), known.human_error]
    figures += [figure for each in known.years for figure in (each.error, each.runner_up_error)]
    words = [said for each in known.years for said in (each.hardware, each.duration) if said is not None]
    assert all(figure.value > 0 and figure.source for figure in figures)
    assert all(said.words and said.source for said in words)
    assert [each.year for each in known.years if each.error.mark] == [2011]
    assert "25.8†" in str(known)
    assert "15.3 " in str(known)


def test_the_history_says_what_the_lectures_say_and_names_their_slips():
    known = history()
    by_year = {each.year: each for each in known.years}
    assert (by_year[2012].error.value, by_year[2012].runner_up_error.value) == (15.3, 26.2)
    assert (by_year[2014].error.value, by_year[2014].runner_up_error.value) == (6.7, 7.3)
    assert by_year[2012].hardware.words.startswith("two GTX 580")
    assert by_year[2012].duration.words == "five to six days"
    assert by_year[2015].error.value == 3.57
    assert known.human_error.value == 5.1
    assert [known.data[what].value for what in ("classes", "training images", "validation images")] == [
        1000, 1_200_000, 50_000
    ]  # fmt: skip
    assert known.data["test images, 2010"].value == 150_000
    assert "40 million" in known.slips[0].said
    assert "14 million" in known.slips[0].truth
