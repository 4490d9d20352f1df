"""Ensembles against sums by hand, another optimiser and what must hold of any members."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fovea.errors import DataError, NumbersError, ShapeError, UsageError
from fovea.evaluation.ensembles import aligned, averaged, contributions, fitted_weights, greedy
from fovea.evaluation.metrics import negative_log_likelihood


def of(*chances):
    """Logits that have these probabilities."""
    return torch.tensor(chances, dtype=torch.float64).log()


def drawn(seed, members=3, images=40, classes=4, sharpness=2.0):
    """Members that are each right more often than by chance, of different sureness, and the labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=random)
    some = torch.randn(members, images, classes, generator=random) * sharpness
    some[:, torch.arange(images), labels] += torch.rand(members, 1, generator=random) * 3
    return list(some * (0.2 + torch.rand(members, 1, 1, generator=random))), labels


any_members = st.builds(
    drawn, st.integers(0, 10**6), members=st.integers(1, 5), images=st.integers(1, 60), sharpness=st.floats(0.1, 30)
)


class TestAligned:
    @given(order=st.permutations(range(6)), seed=st.integers(0, 100))
    @settings(max_examples=50, deadline=None)
    def test_it_inverts_any_permutation(self, order, seed):
        logits = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed))
        names = tuple("abcdef")
        shuffled = tuple(names[place] for place in order)
        assert torch.equal(aligned(logits[:, list(order)], shuffled, names), logits)

    def test_a_column_follows_its_name(self):
        found = aligned(torch.tensor([[1.0, 2.0, 3.0]]), ("cat", "dog", "eel"), ("eel", "cat", "dog"))
        assert found.tolist() == [[3.0, 1.0, 2.0]]

    def test_other_classes_are_refused_by_name(self):
        with pytest.raises(DataError, match=r"1 missing \(ape\) and 2 surplus \(dog, eel\)"):
            aligned(torch.zeros(1, 3), ("cat", "dog", "eel"), ("ape", "cat"))

    def test_only_what_is_wrong_is_said(self):
        with pytest.raises(DataError, match=r"here 1 missing \(ape\):"):
            aligned(torch.zeros(1, 1), ("cat",), ("ape", "cat"))

    def test_many_names_are_cut_short(self):
        names = tuple("abcdefgh")
        with pytest.raises(DataError, match=r"7 surplus \(b, c, d, e, f, …\)"):
            aligned(torch.zeros(1, 8), names, ("a",))

    def test_a_name_that_stands_twice_is_refused(self):
        with pytest.raises(DataError, match="'cat' stands twice"):
            aligned(torch.zeros(1, 2), ("cat", "cat"), ("cat", "dog"))

    def test_columns_without_names_are_refused(self):
        with pytest.raises(ShapeError, match=r"3 columns .* not 2"):
            aligned(torch.zeros(1, 3), ("cat", "dog"), ("dog", "cat"))


class TestAveraged:
    def test_the_softmax_is_the_mean_probability(self):
        found = averaged([of([0.9, 0.1]), of([0.2, 0.8])])
        torch.testing.assert_close(found.softmax(1), torch.tensor([[0.55, 0.45]], dtype=torch.float64))
        torch.testing.assert_close(found.exp(), found.softmax(1))

    def test_weights_are_scaled_to_sum_to_one(self):
        found = averaged([of([0.9, 0.1]), of([0.2, 0.8])], [6.0, 2.0])
        torch.testing.assert_close(found.exp(), torch.tensor([[0.725, 0.275]], dtype=torch.float64))

    def test_one_member_is_itself(self):
        logits = torch.randn(4, 3)
        torch.testing.assert_close(averaged([logits]).softmax(1), logits.double().softmax(1))

    def test_improbable_classes_keep_finite_logits(self):
        sure = torch.tensor([[0.0, 2000.0]])
        found = averaged([sure, sure])
        torch.testing.assert_close(found, torch.tensor([[-2000.0, 0.0]], dtype=torch.float64))

    def test_half_precision_is_averaged_in_double(self):
        assert averaged([torch.zeros(1, 2, dtype=torch.float16)]).dtype == torch.float64

    def test_a_member_of_weight_zero_is_not_looked_at(self):
        found = averaged([of([0.9, 0.1]), torch.full((1, 2), torch.nan)], [1.0, 0.0])
        torch.testing.assert_close(found.exp(), torch.tensor([[0.9, 0.1]], dtype=torch.float64))

    @pytest.mark.parametrize("weights", [[1.0, -0.5], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
    def test_weights_that_are_none_are_refused(self, weights):
        with pytest.raises(UsageError, match=r"weights .* must be 0 or more each"):
            averaged([torch.zeros(1, 2)] * 2, weights)

    def test_too_few_weights_are_refused(self):
        with pytest.raises(ShapeError, match="2 members need as many weights, not 1"):
            averaged([torch.zeros(1, 2)] * 2, [1.0])


class TestFittedWeights:
    @given(any_members)
    @settings(max_examples=60, deadline=None)
    def test_they_lie_on_the_simplex_and_beat_every_member_and_the_plain_mean(self, judged):
        members, labels = judged
        weights = fitted_weights(members, labels)
        assert weights.shape == (len(members),)
        assert (weights >= 0).all()
        assert weights.sum() == pytest.approx(1, abs=1e-12)
        found = negative_log_likelihood(averaged(members, weights), labels)
        rivals = [negative_log_likelihood(each, labels) for each in [*members, averaged(members)]]
        assert found <= min(rivals) + 2e-9

    def test_two_members_by_hand(self):
        # 3 images that the first has 0.8 of and 1 that it has 0.2 of, the second the reverse: the likelihood
        # (0.2 + 0.6 w)^3 (0.8 - 0.6 w) is largest where 1.8 (0.8 - 0.6 w) = 0.6 (0.2 + 0.6 w).
        first = of([0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.2, 0.8])
        second = of([0.2, 0.8], [0.2, 0.8], [0.2, 0.8], [0.8, 0.2])
        weights = fitted_weights([first, second], torch.zeros(4, dtype=torch.int64))
        assert weights == pytest.approx([11 / 12, 1 / 12], abs=1e-4)

    def test_another_optimiser_finds_no_better(self):
        members, labels = drawn(3, members=4, images=200)
        weights = fitted_weights(members, labels)
        chances = np.stack([each.double().softmax(1)[range(200), labels].numpy() for each in members], axis=1)
        rival = minimize(
            lambda free: -np.log(chances @ (np.exp(free) / np.exp(free).sum())).mean(), np.zeros(4), tol=1e-12
        )
        assert -np.log(chances @ weights).mean() <= rival.fun + 1e-9
        assert weights == pytest.approx(np.exp(rival.x) / np.exp(rival.x).sum(), abs=1e-3)

    def test_a_useless_member_gets_exactly_nothing(self):
        good, bad = of(*[[0.9, 0.1]] * 5), of(*[[0.1, 0.9]] * 5)
        assert fitted_weights([bad, good], torch.zeros(5, dtype=torch.int64)).tolist() == [0.0, 1.0]

    def test_members_that_hardly_differ_are_told_apart_too(self):
        better, worse = of([0.5 + 1e-6, 0.5 - 1e-6]), of([0.5, 0.5])
        labels = torch.zeros(1, dtype=torch.int64)
        assert fitted_weights([worse, better], labels)[1] > 0.99

    def test_the_same_member_twice_shares_alike(self):
        members, labels = drawn(1, members=2)
        weights = fitted_weights([members[0], members[1], members[0]], labels)
        assert weights[0] == weights[2]

    def test_labels_of_probability_zero_do_not_break_it(self):
        sure = torch.tensor([[0.0, 5000.0], [5000.0, 0.0]])
        weights = fitted_weights([sure, sure * 0.5], torch.tensor([0, 0]))
        assert np.isfinite(weights).all()
        assert weights.sum() == pytest.approx(1)

    def test_a_single_member_has_all(self):
        members, labels = drawn(0, members=1)
        assert fitted_weights(members, labels).tolist() == [1.0]


class TestGreedy:
    def test_the_most_accurate_comes_first_then_what_mends_it(self):
        # The first has 3 of 4 right, the second 2; only the second is sure where the first fails.
        first = of([0.6, 0.4], [0.6, 0.4], [0.6, 0.4], [0.4, 0.6])
        second = of([0.45, 0.55], [0.45, 0.55], [0.6, 0.4], [0.9, 0.1])
        picks = greedy([second, first], torch.zeros(4, dtype=torch.int64), size=2)
        assert picks == (1, 0)

    def test_of_equal_accuracy_the_likelier_is_picked(self):
        less, more = of([0.6, 0.4]), of([0.7, 0.3])
        assert greedy([less, more, less], torch.tensor([0])) == (1,)

    def test_of_equals_the_first_and_it_once(self):
        same = of([0.6, 0.4])
        assert greedy([same, same.clone()], torch.tensor([0])) == (0,)

    def test_a_member_may_be_picked_repeatedly(self):
        # Every image stays wrong, so likelihood alone decides: (0.1 + 0.3 w)^3 (0.4 - 0.3 w)^2 is largest at w = 2/3.
        first = of(*[[0.4, 0.6]] * 3, *[[0.1, 0.9]] * 2)
        second = of(*[[0.1, 0.9]] * 3, *[[0.4, 0.6]] * 2)
        assert greedy([first, second], torch.zeros(5, dtype=torch.int64)) == (0, 1, 0)

    def test_it_picks_no_more_than_asked(self):
        members, labels = drawn(5, members=4, images=100)
        assert len(greedy(members, labels, size=1)) == 1
        assert len(greedy(members, labels, size=3)) <= 3

    @given(any_members)
    @settings(max_examples=25, deadline=None)
    def test_on_these_images_it_is_no_less_accurate_than_any_member(self, judged):
        members, labels = judged
        picks = greedy(members, labels, size=8)
        together = averaged([members[place] for place in picks])
        right = (together.argmax(1) == labels).sum()
        assert right >= max((each.argmax(1) == labels).sum() for each in members)

    def test_no_pick_is_no_ensemble(self):
        with pytest.raises(UsageError, match=r"size \(=0\)"):
            greedy([torch.zeros(1, 2)], torch.tensor([0]), size=0)


class TestContributions:
    def test_three_members_by_hand(self):
        # Two agree and are right of image 0 only; the third is sure of image 1 and turns the sum.
        weak, strong = of([0.6, 0.4], [0.4, 0.6]), of([0.6, 0.4], [0.9, 0.1])
        found = contributions([weak, weak, strong], torch.tensor([0, 0]))
        assert [each.member for each in found] == [0, 1, 2]
        assert [each.top1 for each in found] == [0.5, 0.5, 1.0]
        assert [each.top1_with for each in found] == [1.0] * 3
        assert [each.top1_without for each in found] == [1.0, 1.0, 0.5]
        assert found[2].comparison.difference == 0.5
        assert (found[2].comparison.second_only, found[2].comparison.first_only) == (1, 0)
        assert found[0].comparison.difference == 0.0

    def test_a_harmful_member_has_a_negative_difference(self):
        good, bad = of([0.6, 0.4]), of([0.1, 0.9])
        found = contributions([good, bad], torch.tensor([0]))
        assert found[1].comparison.difference == -1.0
        assert found[0].comparison.difference == 0.0

    def test_a_single_member_says_that_it_is_all(self):
        (found,) = contributions([of([0.6, 0.4], [0.6, 0.4])], torch.tensor([0, 1]))
        assert (found.top1, found.top1_with, found.top1_without, found.comparison) == (0.5, 0.5, None, None)
        assert found.sentence("a") == "a is the only member (50.00%), so the ensemble is a itself"

    def test_the_sentence_names_the_member(self):
        members, labels = drawn(2, members=2)
        said = contributions(members, labels)[0].sentence("vgg16")
        assert said.startswith("vgg16 alone ")
        assert "to the others (95 % interval" in said


FITTING = [fitted_weights, greedy, contributions]


class TestRefusals:
    @pytest.mark.parametrize("function", FITTING)
    def test_members_of_other_images(self, function):
        with pytest.raises(ShapeError, match="member 1 has logits of 4 images and 2 classes, member 0 of 3 and 2"):
            function([torch.zeros(3, 2), torch.zeros(4, 2)], torch.zeros(3, dtype=torch.int64))

    def test_averaging_members_of_other_classes(self):
        with pytest.raises(ShapeError, match="3 classes"):
            averaged([torch.zeros(3, 2), torch.zeros(3, 3)])

    @pytest.mark.parametrize("function", FITTING)
    def test_labels_of_other_images(self, function):
        with pytest.raises(ShapeError, match="logits of 3 images and 2 labels"):
            function([torch.zeros(3, 2)], torch.zeros(2, dtype=torch.int64))

    @pytest.mark.parametrize("function", FITTING)
    def test_labels_beyond_the_classes(self, function):
        with pytest.raises(ShapeError, match="labels from 0 to 2"):
            function([torch.zeros(2, 2)], torch.tensor([0, 2]))

    @pytest.mark.parametrize("function", FITTING)
    def test_logits_that_are_no_numbers(self, function):
        broken = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])
        with pytest.raises(NumbersError, match=r"member 1 .* \(image 1\)"):
            function([torch.zeros(2, 2), broken], torch.tensor([0, 1]))

    def test_no_members(self):
        with pytest.raises(UsageError, match=r"members \(=0\)"):
            averaged([])
