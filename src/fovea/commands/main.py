"""The command fovea: finds the verb, turns errors into one sentence and an exit code. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import errno
import importlib
import keyword
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from fovea import __version__
from fovea.errors import FoveaError, UsageError, suggestion

# group -> verb -> what it does; each verb is a module of this package with run(arguments).
VERBS = {
    "know": {
        "list": "the networks: year, parameters, multiply-adds, published errors, source",
        "shape": "the arithmetic of layers: sizes, memory, parameters, multiply-adds; and backwards",
        "inspect": "shapes, parameters, multiply-adds, memory, time of a network, layer by layer",
        "verify": "recount what the papers say of their networks",
    },
    "data": {"check": "examine images: unreadable and odd files, classes, duplicates; what a network will see of them"},
    "train": {
        "train": "train a network on images; with no arguments LeNet-5 on handwritten digits",
        "recipes": "the experiments there are, paper by paper, and what each costs on your data",
        "compare": "several networks at the same budget: accuracy against cost, with the Pareto front",
        "ablate": "what an idea is worth: the network with and without it, everything else equal",
        "runs": "the runs there are: how far they came, what they reached, in what they differ",
    },
    "judge": {
        "evaluate": "accuracy of a model, with its interval",
        "predict": "the class of an image, or of every image in a folder",
    },
    "reuse": {
        "import": "weights of torchvision, timm, Keras or a file become a model of ours, every tensor accounted for",
        "transfer": "from published weights to your own classes: probe, SVM, fine-tuning and scratch, compared",
    },
    "look": {
        "explain": "which pixels made a model say this of an image; what its layers have learned",
        "stylise": "one picture's content in the style of others, by search or by a network taught the style",
    },
}
EXAMPLES = """examples:
  fovea train                             LeNet-5 on the digits that come with scikit-learn, in a minute
  fovea check ./photos                    what is wrong with the images, before an hour is spent on them
  fovea train ./photos                    your own images: photos/<class>/* or photos/{train,val,test}/<class>/*
  fovea train lenet5 mnist                a network by name, a data set by name
  fovea evaluate runs/latest              the run just made, on its test images
  fovea predict runs/latest photo.jpg     one image, or a folder
  fovea explain runs/latest photo.jpg     where the network looked"""
# GNU OpenMP's threads spin for milliseconds before they sleep, and starve each other where other programs run too: ten
# times slower on busy cores, nothing gained on idle ones (docs/log.md). It reads this when torch is loaded.
SPIN = ("GOMP_SPINCOUNT", "20000")
FULL = (errno.ENOSPC, errno.EDQUOT)
FIRST_TELLS = 20.0  # seconds that the first of several processes has to tell what is wrong with a command
BUG = "fovea: this is a bug of ours, not of yours; please report it with the lines above"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows the word fovea; the process's own where None.

    Returns:
        The exit code: 0 done, 1 a bug of ours, 2 usage, 3 data, 4 model, 5 machine, 6 numbers, 7 run in use,
        8 finished with allowed failures, 130 or 143 stopped and saved.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault(*SPIN)
    with contextlib.suppress(AttributeError):  # a replaced stdout may lack it
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # a file's name may be any bytes
    try:
        code = _dispatch(given)
        sys.stdout.flush()  # here, where a closed pipe is answered, not at exit
        return code
    except FoveaError as error:
        if type(error) is FoveaError:
            traceback.print_exc()
        _tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("fovea: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in FULL:
            traceback.print_exc()
            print(BUG, file=sys.stderr)
            return 1
        where = error.filename or "what was to be printed"
        print(f"fovea: {where}: cannot be written: {error.strerror}; free some space, then try again", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 5
    except MemoryError:
        print("fovea: out of memory; choose a smaller --batch-size or --image-size", file=sys.stderr)
        return 5
    except Exception:
        traceback.print_exc()
        print(BUG, file=sys.stderr)
        return 1


def _tell(error: FoveaError) -> None:
    """Tell what is wrong; what is wrong with a command, of several processes, the first one alone.

    torchrun ends all of them as soon as one has failed. The others wait for that, lest the first be ended before it
    has told, and tell themselves where it had nothing to tell.
    """
    rank = os.environ.get("RANK", "0") if os.environ.get("WORLD_SIZE", "1") != "1" else "0"
    if rank == "0":
        print(f"fovea: {error}", file=sys.stderr)
        return
    if isinstance(error, UsageError):
        time.sleep(FIRST_TELLS)
    print(f"fovea, process {rank}: {error}", file=sys.stderr)


def help_text() -> str:
    """What fovea --help says."""
    lines = ["usage: fovea VERB ...", "", "The workbench for convolutional image recognition.", ""]
    for group, verbs in VERBS.items():
        lines += [f"{group}:"] + [f"  {verb:<10} {what}" for verb, what in verbs.items()]
    return "\n".join(
        [*lines, "", EXAMPLES, "", "fovea VERB --help explains a verb; fovea --version gives the version."]
    )


def _dispatch(given: list[str]) -> int:
    verbs = {verb for group in VERBS.values() for verb in group}
    if not given or given[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if given[0] == "--version":
        print(f"fovea {__version__}")
        return 0
    if given[0] not in verbs:
        known = ", ".join(sorted(verbs))
        raise UsageError(f"no verb is called {given[0]!r}; there are {known}.{suggestion(given[0], verbs)}")
    module = f"{given[0]}_" if keyword.iskeyword(given[0]) else given[0]
    run: Callable[[list[str]], int] = importlib.import_module(f"fovea.commands.{module}").run
    return run(given[1:])
