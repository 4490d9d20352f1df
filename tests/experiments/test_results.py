"""From runs to what they say: records that grow, effects of pairs, networks and the front of those worth their cost."""

from __future__ import annotations

import statistics

import pytest
from scipy.stats import t

from fovea.errors import ModelError, UsageError
from fovea.experiments.ablation import Ablation
from fovea.experiments.arms import Label
from fovea.experiments.comparison import Comparison
from fovea.experiments.equal_cost import cost_of, nearest
from fovea.experiments.records import Epoch, Layer, Records, Row, load
from fovea.experiments.toys import batches, chain, chains

PLAN = {"kind": "ablation", "data": {"name": "digits"}}


def row(network="net", without="", seed=1, test=0.9, **more):
    values = {
        "setting": "", "diverged": "", "train_accuracy": 0.95, "train_loss": 0.2, "validation": 0.91, "epochs": 2,
        "best_epoch": 2, "parameters": 100, "multiply_adds": 1_000, "memory": 5_000, "seconds": 10.0,
        "precision": "float32", "threads": 1, "torch": "2",
    }  # fmt: skip
    return Row(network=network, without=without, seed=seed, test=test, **(values | more))


def epoch(without="", seed=1, number=1):
    return Epoch("net", without, "", seed, number, 0.5 / number, 0.8, 0.6, 0.7, 1.5, 2.0)


def test_an_effect_is_the_mean_of_the_pairs_differences_with_students_interval():
    whole, lacking = [0.90, 0.92, 0.88], [0.80, 0.85, 0.79]
    rows = [row(seed=s, test=v) for s, v in enumerate(whole)]
    rows += [row(without="relu:tanh", seed=s, test=v, seconds=20.0) for s, v in enumerate(lacking)]
    rows += [row(without="relu:tanh", seed=7, test=0.1)]  # without a partner
    rows += [row(without="lrn", seed=0, test=None, diverged="step 3 is not finite")]
    ablation = Ablation(Records(PLAN, rows))
    effect, lost = ablation.effects
    differences = [a - b for a, b in zip(whole, lacking, strict=True)]
    half = t.ppf(0.975, 2) * statistics.stdev(differences) / 3**0.5
    assert effect.label == Label("net", "relu:tanh")
    assert effect.differences == pytest.approx(differences)
    assert (effect.mean, effect.half) == pytest.approx((statistics.mean(differences), half))
    assert (lost.mean, lost.half, lost.diverged) == (None, None, 1)
    table = str(ablation).splitlines()
    assert table[0].split() == ["accuracy", "effect", "of", "the", "idea", "parameters", "multiply-adds", "time"]
    assert f"+8.67 [{8.6667 - 100 * half:+.2f}, {8.6667 + 100 * half:+.2f}]" in table[2]
    assert table[2].endswith("2.00")
    assert "1 of 1 diverged" in table[3]
    assert ablation.as_json()["effects"][0]["label"]["without"] == "relu:tanh"


def test_of_one_pair_there_is_an_effect_and_no_interval():
    (effect,) = Ablation(Records(PLAN, [row(), row(without="lrn", test=0.85)])).effects
    assert (effect.mean, effect.half) == (pytest.approx(0.05), None)


def test_records_are_read_as_they_were_written_and_later_runs_are_added(tmp_path):
    first = Records(PLAN, [row(seed=1), row(without="lrn", seed=1, test=None, diverged="yes", memory=None)], [epoch()])
    assert first.save(tmp_path).rows == first.rows
    assert load(tmp_path) == Records(PLAN, first.rows, first.epochs, ())
    layer = Layer("net", "", "", 2, 1, "conv1", 0.5, 1.25, None)
    more = Records(PLAN, [row(seed=2, test=0.93), row(seed=1, test=0.94)], [epoch(seed=2)], [layer])
    whole = more.save(tmp_path)
    assert [(each.without, each.seed, each.test) for each in whole.rows] == [
        ("", 1, 0.94),
        ("", 2, 0.93),
        ("lrn", 1, None),
    ]
    assert load(tmp_path) == whole
    assert [each.seed for each in whole.epochs] == [2]  # those of the run that was made anew are gone
    assert whole.layers == [layer]


def test_records_of_another_experiment_and_damaged_ones_are_refused(tmp_path):
    Records(PLAN, [row()]).save(tmp_path / "a")
    with pytest.raises(UsageError, match=r"another experiment: data, name was 'digits' and is 'mnist' now"):
        Records(PLAN | {"data": {"name": "mnist"}}, [row()]).save(tmp_path / "a")
    (tmp_path / "a/runs.csv").write_text("network,seed\nnet,one\n")
    with pytest.raises(ModelError, match=r"runs.csv: cannot be read as an experiment's results"):
        load(tmp_path / "a")
    with pytest.raises(ModelError, match="holds no results of an experiment"):
        load(tmp_path / "b")


def test_the_front_holds_what_nothing_beats_at_its_price():
    rows = [
        row("small", test=0.80, parameters=10, multiply_adds=100),
        row("middle", test=0.85, parameters=50, multiply_adds=900),
        row("clumsy", test=0.84, parameters=60, multiply_adds=200),
        row("large", test=0.90, parameters=99, multiply_adds=None),
        row("lost", test=None, diverged="yes"),
    ]
    comparison = Comparison(Records(PLAN, rows), images=1_000)
    fronts = {each.label.network: each.front for each in comparison.standings}
    assert list(fronts) == ["large", "middle", "clumsy", "small"]
    assert {name for name, front in fronts.items() if "parameters" in front} == {"small", "middle", "large"}
    assert {name for name, front in fronts.items() if "multiply_adds" in front} == {"small", "middle", "clumsy"}
    assert "diverged with every seed: lost" in str(comparison)


def test_the_interval_is_of_the_seeds_or_of_one_seed_of_the_images():
    seeds = [row("many", seed=s, test=v) for s, v in enumerate([0.8, 0.9, 0.85])]
    comparison = Comparison(Records(PLAN, [*seeds, row("one", test=0.5)]), images=100)
    many, one = comparison.standings
    half = t.ppf(0.975, 2) * 0.05 / 3**0.5
    assert (many.low, many.high) == pytest.approx((0.85 - half, 0.85 + half))
    assert (one.low, one.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)  # Wilson's, of 50 in 100


def test_pictures_of_both_are_drawn(tmp_path):
    rows = [row(seed=s, without=w, test=0.9 - 0.1 * len(w) / 4) for s in (1, 2) for w in ("", "lrn")]
    epochs = [epoch(w, s, n) for s in (1, 2) for w in ("", "lrn") for n in (1, 2)]
    layers = [Layer("net", w, "", 1, n, name, 0.1 * n, 1.0, 0.01) for w in ("", "lrn") for n in (1, 2) for name in "ab"]
    drawn = Ablation(Records(PLAN, rows, epochs, layers)).draw(tmp_path, title="t")
    assert [path.name for path in drawn] == ["curves.png", "effects.png", "gradients.png"]
    (tmp_path / "c").mkdir()
    drawn += Comparison(Records(PLAN, rows, epochs), images=10).draw(tmp_path / "c", title="t")
    assert [path.name for path in drawn[3:]] == ["curves.png", "pareto.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_a_free_option_is_found_that_costs_closest_to_what_is_wanted():
    from fovea.architectures.catalogue import build

    def deep(depth):
        return build("cifar_resnet20", depth=depth)

    wanted = 2 * cost_of(deep(20))
    value, found = nearest(deep, 20, wanted, name="depth")
    assert value == 38  # of 6n + 2
    assert found == cost_of(deep(38))
    width, cost = nearest(lambda width: build("cifar_resnet20", width=width), 1.0, wanted, name="width")
    assert cost == pytest.approx(wanted, rel=0.02)
    assert 1.3 < width < 1.5
    with pytest.raises(UsageError, match=r"shortcut \(='A'\) cannot be searched"):
        nearest(deep, "A", wanted, name="shortcut")
    with pytest.raises(UsageError, match="no value makes this network cost about 100 multiply-adds"):
        nearest(deep, 20, 100, name="depth")


def test_four_nodes_pass_on_what_their_slopes_and_weights_allow():
    assert chain("relu", 2.0).gradients == (16.0, 8.0, 4.0, 2.0)
    sigmoid = chain("sigmoid", 1.0)
    assert all(a < b <= 1 / 4 for a, b in zip(sigmoid.gradients, sigmoid.gradients[1:], strict=False))
    assert sigmoid.gradients[0] < (1 / 4) ** 4 * 1.001
    import torch

    node = first = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    for _ in range(4):
        node = torch.tanh(2.0 * node)
    node.backward()
    assert chain("tanh", 2.0).gradients[0] == pytest.approx(float(first.grad))
    assert len(chains().splitlines()) == 14


def test_in_training_mode_the_others_of_a_batch_decide():
    logits = [tuple(line.split()[-3:]) for line in batches().splitlines()[1:7]]
    assert len(set(logits[:3])) == 3
    assert len(set(logits[3:])) == 1
